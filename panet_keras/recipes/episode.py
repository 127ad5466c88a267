"""What an episode is: frozen, documented settings; no picture and no TensorFlow here."""

import dataclasses
import types
import typing

from panet_keras.errors import PANetError

WAYS = types.MappingProxyType({"Lesion": (1, 2), "Benign": (1,), "Malignant": (2,)})
"""Name of a way and the mask classes that are its foreground."""
DEFAULT_CLASSES = types.MappingProxyType({1: ("Lesion",), 2: ("Benign", "Malignant")})
SUPPORT_FROM = ("cross-patient", "same-patient")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the episodes of one step are made up.

    Attributes:
        episodes: B, episodes of the step. shots: K, annotated support images. normals: M, normal frames
            beside them.
        share: how often a step is made so, against the other layouts.
    """

    episodes: int = 4
    shots: int = 1
    normals: int = 0
    share: float = 1.0

    def __post_init__(self):
        for name, lowest in (("episodes", 1), ("shots", 1), ("normals", 0)):
            _integer(name, getattr(self, name), lowest)
        if not self.share > 0:
            raise PANetError(f"share={self.share!r}; expected a number above 0.")


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """Which images make an episode and how they are changed; `panet_keras.data.episodes` draws by it.

    Attributes:
        ways: N; 1 (Lesion) or 2 (Benign, Malignant), unless `classes` says otherwise.
        shots: K, support images of each way.
        normals: M, normal frames that follow each way's shots as further support, with an empty mask.
        queries: Q.
        size: (height, width) of the model's images, in pixels; one number for a square.
        classes: names from `WAYS`, one for each way; empty for the usual ones.
        support_from: `"cross-patient"`: no support image shares a patient with a query; `"same-patient"`: all
            images of an episode are one patient's.
        normal_queries: probability, 0 to 1, that a query is a normal frame, whose true mask is empty.
        mirrored_normals: whether lesion images give further normal frames: the side without lesion, mirrored
            over the rest (`mirrored_normal`). For hospitals that publish lesions only.
        pasted_lesions: probability, 0 to 1, that an image's lesion is pasted onto a normal frame of its
            hospital (`paste_lesions`).
        invented_lesions: probability, 0 to 1, that an image is replaced by such a frame with an invented
            lesion of the same class (`invent_lesions`); the two together at most 1.
        superpixel_episodes: probability, 0 to 1, that an episode is self-supervised: support and query are
            views of one frame of any kind, and the foreground is one of its superpixels (SSL-ALPNet, Ouyang
            et al., ECCV 2020). Needs one way and `augment`, which makes the views. Costs about 0.1 s a frame
            at the start, for 512 frames at most. Several numbers are for one pass (epoch) each, of which the
            last holds on.
        balanced: whether each patient, rather than each image, is as likely to be drawn.
        source_shares: how often an episode is of each `Record.source` (hospital), by name; empty: all as
            often. An episode is always of one source.
        augment: True, False, or an `Augmentation`.

    Raises:
        PANetError: a value outside the ranges above; names it.
    """

    ways: int = 1
    shots: int = 1
    normals: int = 0
    queries: int = 1
    size: tuple[int, ...] = (256, 256)
    classes: tuple[str, ...] = ()
    support_from: str = "cross-patient"
    normal_queries: float = 0.0
    mirrored_normals: bool = False
    pasted_lesions: float = 0.0
    invented_lesions: float = 0.0
    superpixel_episodes: tuple[float, ...] = (0.0,)
    balanced: bool = False
    source_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    augment: typing.Any = False

    def __post_init__(self):
        sides = (self.size,) if isinstance(self.size, int) else tuple(self.size)
        regions = self.superpixel_episodes
        regions = tuple(map(float, regions)) if isinstance(regions, (list, tuple)) else (float(regions),)
        for name, value in {
            "size": sides * 2 if len(sides) == 1 else sides,
            "superpixel_episodes": regions or (0.0,),
            "classes": tuple(self.classes),
            "source_shares": dict(self.source_shares),
        }.items():
            object.__setattr__(self, name, value)
        if len(self.way_names) != self.ways or not set(self.way_names) <= set(WAYS):
            raise PANetError(
                f"ways={self.ways} with classes={self.way_names}; expected {self.ways} of {sorted(WAYS)}."
            )
        for name, lowest in (("shots", 1), ("queries", 1), ("normals", 0)):
            _integer(name, getattr(self, name), lowest)
        if len(self.size) != 2 or min(self.size) < 1:
            raise PANetError(f"size={self.size}; expected (height, width) in pixels, or one number.")
        if self.support_from not in SUPPORT_FROM:
            raise PANetError(
                f'support_from={self.support_from!r}; expected "cross-patient" or "same-patient".'
            )
        probabilities = {
            name: getattr(self, name) for name in ("normal_queries", "pasted_lesions", "invented_lesions")
        }
        probabilities["pasted_lesions + invented_lesions"] = self.pasted_lesions + self.invented_lesions
        for number, share in enumerate(self.superpixel_episodes):
            probabilities[f"superpixel_episodes[{number}]" if number else "superpixel_episodes"] = share
        for name, value in probabilities.items():
            if not 0 <= value <= 1:
                raise PANetError(f"{name}={value!r}; expected a probability from 0 to 1.")
        if any(self.superpixel_episodes) and (self.ways != 1 or not self.augment):
            raise PANetError(
                f"superpixel_episodes={max(self.superpixel_episodes)} with ways={self.ways}, augment={self.augment}; "
                "expected one way, augmented. Set superpixel_episodes to 0."
            )

    @property
    def way_names(self):
        """Name of each way."""
        return self.classes or DEFAULT_CLASSES.get(self.ways, ())


def _integer(name, value, lowest):
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < lowest:
        raise PANetError(f"{name}={value!r}; expected an integer of at least {lowest}.")
