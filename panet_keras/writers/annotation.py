"""One annotated picture, as every writer takes it."""

import collections.abc
import dataclasses
import pathlib
import types

import numpy as np

from panet_keras.errors import PANetError

STATES = ("annotated", "normal", "unseen", "rejected")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A picture, its mask, and where the mask comes from.

    Attributes:
        name: the picture's place in its folder, with `/` and its ending, such as `ward/a.png`; with `frame`
            unique in what is written together.
        source: path of the picture's file, which writers read and never write.
        frame: number from 0 in a file of several frames; None for a file of one.
        image_size: (height, width) of the picture in pixels.
        mask: uint8 [H, W] of that size, 0 for background and i for `labels[i - 1]`; or a function without
            arguments that gives it, so that thousands of masks need not be in memory at once.
        labels: names of the labels, in the order of their numbers.
        state: `"annotated"`, `"normal"` (a person confirmed that there is no lesion), `"unseen"` (nobody has
            looked at it yet), or `"rejected"` (a person refused what was proposed).
        patient: identifier that all pictures of one patient share, or None.
        provenance: dictionary of texts, numbers and lists of texts; these keys are known to the writers, and
            all may be absent: `id` (of the mask), `model`, `model_version`, `supports` (list of names),
            `author` (the person's name as typed), `changed_pixels` (how many a person changed), `presence`
            (0 to 1), `time` (ISO 8601).

    Raises:
        PANetError: a mask of another shape, type or label, an unknown state, or a state that the mask
            contradicts; of a mask that a function gives, when it is read.
    """

    name: str
    source: pathlib.Path
    frame: int | None
    image_size: tuple[int, int]
    mask: np.ndarray | collections.abc.Callable
    labels: tuple[str, ...] = ("Lesion",)
    state: str = "annotated"
    patient: str | None = None
    provenance: collections.abc.Mapping = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.state not in STATES:
            raise PANetError(f"{self.name}: state {self.state!r}; expected one of {', '.join(STATES)}.")
        object.__setattr__(self, "source", pathlib.Path(self.source))
        object.__setattr__(self, "image_size", tuple(int(side) for side in self.image_size))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "provenance", types.MappingProxyType(dict(self.provenance)))
        if not callable(self.mask):
            self.read_mask()

    def read_mask(self):
        """uint8 [H, W], checked."""
        mask = np.asarray(self.mask() if callable(self.mask) else self.mask)
        if mask.dtype != np.uint8 or mask.shape != self.image_size:
            raise PANetError(
                f"{self.title}: mask {mask.dtype} {list(mask.shape)}; expected uint8 {list(self.image_size)}, "
                "the size of its picture. Bring it to that size first."
            )
        if mask.max(initial=0) > len(self.labels):
            raise PANetError(
                f"{self.title}: label number {mask.max()} in the mask; expected 0 to {len(self.labels)}, "
                f"for {', '.join(self.labels)}. Name the label."
            )
        if self.state == "normal" and mask.any():
            raise PANetError(
                f"{self.title}: confirmed to be without lesion, and {np.count_nonzero(mask)} pixels are "
                "marked; expected an empty mask. Choose one of the two."
            )
        return mask

    @property
    def title(self):
        """The picture's name, and its frame where it has several, for messages."""
        return self.name if self.frame is None else f"{self.name} (frame {self.frame})"
