"""Annotate a few images once, then segment any number of others."""

import dataclasses
import functools
import os
import warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from panet_keras import presets
from panet_keras.data.records import digests
from panet_keras.errors import DataWarning, PANetError
from panet_keras.inference import adapt as adaptation
from panet_keras.inference.leave_one_out import SupportFeatures
from panet_keras.inference.presence import presence
from panet_keras.layers.prototypes import IGNORE
from panet_keras.metrics import MISS_DICE
from panet_keras.model import PANet
from panet_keras.pictures.decode import read_image
from panet_keras.pictures.masks import read_mask
from panet_keras.pictures.resize import resize_images, resize_mask, two_sides
from panet_keras.pictures.rules import rgb

FEWEST_TO_ADAPT = 4
"""Lesions: two for each fold."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer for one image.

    Attributes:
        mask: bool [H, W] at the image's own size for one way; for more, uint8 [H, W] with 0 = background,
            1..N.
        probability: float32 [H, W] of the foreground for one way; for more [H, W, N+1], background first.
        presence: float in [0, 1] for one way, else a list of N: the mean probability of the 0.1 % of the
            frame where it is highest. Low means "nothing here".
    """

    mask: np.ndarray
    probability: np.ndarray
    presence: float | list


@dataclasses.dataclass(frozen=True)
class Expected:
    """What to expect on the scanner of a support set: every number is of annotated frames that were left out
    of the support.

    Attributes:
        dice: mean Dice of the lesion frames, after the threshold. missed: share of them with a Dice below
            0.1.
        marked: share of the normal frames with any pixel marked; None without normal frames.
        threshold: the presence threshold in use. lesions, normals: numbers of frames.
        curve: list of (number of supports, Dice).
        more_helps: whether the curve still rises at its end by 0.01 or more; None where it has one point.
        each: Dice of each lesion frame after the threshold, in the order of the support.
    """

    dice: float
    missed: float
    marked: float | None
    threshold: float
    lesions: int
    normals: int
    curve: list
    more_helps: bool | None
    each: list


class FewShotSegmenter:
    """Segments images like the annotated ones.

    Args:
        model: `PANet`, a `.keras` file, or the name or folder of a preset; the shipped preset without it.
        size: (height, width), or one number for a square, to which every image is brought for the model; the one
            it was trained with works best. None: a preset's own, else 256 x 256.
        mirror: whether the mirrored query is segmented too and the probabilities are averaged: twice the
            time.
        presence_threshold: from 0 to 1; a way whose presence is below it gets no pixel: "nothing here".
            Calibrate it on patients that the model was not trained on; 0 marks whatever is more probable than
            not. None: a preset's own, else 0.

    Attributes:
        calibrated: whether the threshold was set from annotated frames, by `calibrate` or `adapt`, here or
            before `save`.
        adaptation: `panet_keras.inference.adapt.Adaptation` of `adapt`; None where nothing was decided.

    Threads may call `predict` together, and while another sets a support. It can be copied and pickled, with its
    support.

    Raises:
        PANetError: a threshold outside [0, 1], another size, an unknown preset, or a model that is no `PANet`.

    Example:

    >>> import numpy as np
    >>> from panet_keras import PANet
    >>> segmenter = FewShotSegmenter(PANet("efficientnet_lite0", weights=None, decoder="unet"), size=(64, 64))
    >>> image, mask = np.zeros((90, 120), "uint8"), np.zeros((90, 120), bool)
    >>> mask[20:40, 30:60] = True
    >>> segmenter.set_support([image], [mask]).predict(image).mask.shape
    (90, 120)
    """

    def __init__(self, model=None, size=None, mirror=False, presence_threshold=None):
        model, preset = _opened(model)
        if presence_threshold is not None:
            preset = {**preset, "presence_threshold": presence_threshold}
        threshold, about = preset["presence_threshold"], preset.get("about", {})
        if not 0 <= threshold <= 1:
            raise PANetError(f"presence_threshold={threshold!r}; expected a probability from 0 to 1.")
        self.size = two_sides(preset["size"] if size is None else size)
        self.mirror = mirror
        self.presence_threshold = float(threshold)
        self.calibrated = bool(about.get("calibrated"))
        # What a threshold is fitted from; a fitted one is no beginning, or it would move with each fit.
        self._own_threshold = float(about.get("own_threshold", threshold))
        self._fitted = self.presence_threshold if presence_threshold is None else None
        self._support = self._state = None
        self.adaptation = None
        self.model = self._given = model
        self._tuned_on = ()
        self._encode, self._segment = _traced(model)

    def __getstate__(self):
        # A function that TensorFlow has traced goes into no pickle; its own process traces it anew.
        state = {name: value for name, value in vars(self).items() if name not in ("_encode", "_segment")}
        return {**state, "_state": self._state and self._state[0]}

    def __setstate__(self, state):
        vars(self).update(state)
        self._encode, self._segment = _traced(self.model)
        self._state = self._state and (self._state, self._segment)

    def set_support(self, images, masks, normals=()):
        """Takes the annotated images, in place of earlier ones.

        Args:
            images: list of K images for one way, or a list of N such lists. An image is a path, the bytes of
                a file, or an array [H, W] or [H, W, C] of bool, uint8, uint16 or float in [0, 1]. Sizes may
                differ.
            masks: of the same structure; an array (bool, or any number: not 0 is foreground) or a picture
                (not black is foreground), of its image's size. A picture with lesions of several ways is given
                to each of them, with that way's mask.
            normals: images without lesion, of the same scanner; they tell what normal tissue looks like
                there, and `calibrate` and `adapt` take them to keep normal frames empty.

        Returns:
            The segmenter itself.

        Raises:
            PANetError: no support, unequal numbers, a mask of another size, or a mask without foreground;
                names way and shot.
            ImageError: a picture that cannot be decoded.
        """
        images, masks = _by_way(images), _by_way(masks)
        if [len(way) for way in images] != [len(way) for way in masks]:
            raise PANetError(
                f"set_support got {[len(way) for way in images]} images and {[len(way) for way in masks]} masks for each way; "
                "expected one mask for each image."
            )
        shots = {len(way) for way in images}
        if len(shots) != 1 or shots == {0}:
            raise PANetError(
                f"set_support got {[len(way) for way in images]} images for each way; expected the same, at least 1."
            )
        if _is_one(normals):
            raise PANetError(
                "set_support expects a list of normals: set_support(images, masks, normals=[image])."
            )
        normals = () if normals is None else normals
        pairs = [
            [self.prepare_pair(image, mask, way, shot) for shot, (image, mask) in enumerate(zip(*pair))]
            for way, pair in enumerate(zip(images, masks))
        ]
        empty = [
            (self._scaled(read_image(image, f"normal {number}")), np.zeros(self.size, np.uint8))
            for number, image in enumerate(normals)
        ]
        stack = np.array([[image for image, _ in way + empty] for way in pairs])
        masks = np.array([[mask for _, mask in way + empty] for way in pairs])
        self._take(stack, _apart(stack, masks)[..., None])
        # What was decided on other frames says nothing of these.
        self.adaptation = None
        return self

    def _take(self, images, masks):
        """Encodes a support, and answers by it from then on: the state and the function that reads it change at
        once, for another thread may be segmenting."""
        state = self._encode(tf.constant(images[None]), tf.constant(masks[None]))
        self._support, self._state = (images, masks), (state, self._segment)

    def _frames(self, what):
        """Support images [F, H, W, 3] and masks [F, H, W] of a single way."""
        if self._support is None:
            raise PANetError(f"{what} was called before set_support; it needs annotated images.")
        images, masks = self._support
        if len(images) != 1:
            raise PANetError(f"{what} works with one way; the support has {len(images)}.")
        return images[0], masks[0, ..., 0]

    @property
    def state(self):
        """The support state: dictionary of float32 tensors, as `PANet.segment` takes it.

        Raises:
            PANetError: `set_support` was not called.
        """
        if self._state is None:
            raise PANetError("set_support was not called; the model needs annotated images first.")
        return dict(self._state[0])

    @property
    def support_images(self):
        """The annotated images and normal frames at model size, float32 [F, H, W, 3] in [0, 1], way by way.

        Raises:
            PANetError: `set_support` was not called.
        """
        if self._support is None:
            raise PANetError("set_support was not called; the model needs annotated images first.")
        return self._support[0].reshape(-1, *self._support[0].shape[2:])

    def calibrate(self):
        """Sets the presence threshold for this scanner, by leaving each annotated frame out of the support in
        turn.

        Uses lesion frames and `normals`; without normal frames, or with fewer than two lesions, it only ever
        lowers the threshold.

        It begins from the threshold that was given or set, never from one that it fitted before: to call it twice
        changes nothing.

        Returns:
            The segmenter itself.

        Raises:
            PANetError: `set_support` was not called, or with several ways.

        Warns:
            DataWarning: as `expected`.
        """
        self._fit(self._held_out(self._features("calibrate")))
        return self

    def _fit(self, held_out):
        self._own_threshold = self.own_threshold
        self.presence_threshold = self._fitted = held_out.threshold(self._own_threshold)
        self.calibrated = True

    @property
    def own_threshold(self):
        """The presence threshold that was given or set last and not fitted: what a fit begins from."""
        return self._own_threshold if self.presence_threshold == self._fitted else self.presence_threshold

    def _features(self, what):
        """`SupportFeatures` of the support; None where its frames were left out of the adaptation already."""
        images, masks = self._frames(what)
        if self.adaptation is not None and self.adaptation.steps > 0:
            return None
        seen = (
            sum(frame in self._tuned_on for frame in digests(images)) if self.model is not self._given else 0
        )
        if seen:
            warnings.warn(
                f"{what}: the model was adapted to {seen} of these {len(images)} frames, so that what it says of them is too good. Call "
                "adapt() again, which begins anew from the model that was given.",
                DataWarning,
                stacklevel=3,
            )
        return SupportFeatures(self.model, images, masks, self.mirror)

    def _held_out(self, features):
        return self.adaptation.held_out if features is None else features.leave_one_out()

    def expected(self):
        """What to expect on this scanner, from the annotated frames alone.

        Returns:
            `Expected`. Of a segmenter that was adapted, from frames that were left out of the adaptation.

        Raises:
            PANetError: `set_support` was not called, with several ways, or with fewer than two lesions.

        Warns:
            DataWarning: frames of the support are among those that the model was adapted to before.
        """
        images, masks = self._frames("expected")
        lesion = masks.any((1, 2))
        lesions, pictures = int(lesion.sum()), len(set(digests(images[lesion])))
        if pictures < 2:
            raise PANetError(
                f"expected() has {pictures} annotated lesion; it needs at least 2, to leave one out and support with the other."
            )
        features = self._features("expected")
        held_out = self._held_out(features)
        dice, marked = held_out.after(self.presence_threshold)
        curve = [] if features is None else features.curve()
        return Expected(
            dice=float(dice.mean()),
            missed=float((dice < MISS_DICE).mean()),
            marked=float(marked.mean()) if len(marked) else None,
            threshold=self.presence_threshold,
            lesions=lesions,
            normals=len(masks) - lesions,
            curve=curve,
            more_helps=bool(curve[-1][1] - curve[-2][1] >= 0.01) if len(curve) > 1 else None,
            each=[float(value) for value in dice],
        )

    def adapt(self, learning_rate=5e-4, seed=0, progress=None):
        """Fine-tunes a copy of the model on the annotated frames where that helps, and goes on with it; the
        model given stays as it was. To adapt again begins from the model given, too.

        How far, and whether at all, is decided on frames that are left out (`panet_keras.inference.adapt`),
        and the presence threshold is set for the result. About two minutes for 20 images and 10 normal frames
        on two cores.
        With fewer than 4 pictures of lesions nothing can be decided: the model stays.

        Args:
            learning_rate: peak, above 0. seed: integer; draws folds and episodes. progress: function of
                (steps done, steps in all).

        Returns:
            The segmenter itself; `adaptation` says what was decided.

        Raises:
            PANetError: `set_support` was not called, or with several ways.
        """
        images, masks = self._frames("adapt")
        if len(set(digests(images[masks.any((1, 2))]))) < FEWEST_TO_ADAPT:
            return self
        model, self.adaptation = adaptation.adapt(
            self._given, images, masks, learning_rate, seed, progress, self.own_threshold, self.mirror
        )
        if model is not self.model:
            self.model, self._tuned_on = model, digests(images)
            self._encode, self._segment = _traced(model)
            self._take(*self._support)
        self._fit(self.adaptation.held_out)
        return self

    def save(self, folder):
        """Writes model, size and threshold as a preset: `FewShotSegmenter(folder)`, `--model folder` and
        `export` take it.

        Raises:
            FileExistsError: the folder exists.
        """
        about = {
            "calibrated": self.calibrated,
            "own_threshold": float(self.own_threshold),
            "adaptation_steps": self.adaptation.steps if self.adaptation else 0,
        }
        presets.write(self.model, folder, self.size, float(self.presence_threshold), about)

    def predict(self, image):
        """Segments one image.

        Args:
            image: as in `set_support`, of any size.

        Returns:
            `Segmentation` at the image's own size.

        Raises:
            PANetError: `set_support` was not called.
            ImageError: the picture cannot be decoded.
        """
        if self._state is None:
            raise PANetError("predict was called before set_support; the model needs annotated images first.")
        state, segment = self._state
        picture = read_image(image, "image")
        scaled = self._scaled(picture)
        small = segment(state, tf.constant(scaled[None, None]))[0, 0]
        if self.mirror:
            mirrored = segment(state, tf.constant(scaled[None, None, :, ::-1]))[0, 0]
            small = (small + mirrored[:, ::-1]) / 2.0
        ways = small.shape[-1] - 1
        present = [presence(small[..., way]) for way in range(1, ways + 1)]
        full = np.asarray(restore(small, picture.shape[:2]))
        seen = np.array([value >= self.presence_threshold for value in present])
        if ways == 1:
            return Segmentation((full[..., 1] > 0.5) & seen[0], full[..., 1], present[0])
        mask = np.where(np.concatenate([[True], seen]), full, -1.0).argmax(-1)
        return Segmentation(mask.astype(np.uint8), full, present)

    def prepare_pair(self, image, mask, way, shot):
        """Brings one annotated image to model size.

        Args:
            image, mask: as in `set_support`.
            way, shot: for messages.

        Returns:
            float32 [H, W, 3] in [0, 1] and uint8 [H, W] (0 or 1, at least one 1).

        Raises:
            PANetError: as `set_support`.
        """
        where = f"way {way}, shot {shot}"
        picture = read_image(image, f"support image ({where})")
        mask = read_mask(mask, f"support mask ({where})")
        if mask.shape != picture.shape[:2]:
            raise PANetError(
                f"support {where}: image has shape {picture.shape[:2]}, mask {mask.shape}; expected the same height and width. "
                "Resize the mask to the image with nearest neighbour."
            )
        if not mask.any():
            raise PANetError(
                f"support mask ({where}) has no foreground pixel; a prototype needs at least one. Mark the lesion, or leave the "
                "image out."
            )
        small = resize_mask(mask, self.size)
        return self._scaled(picture), small.astype(np.uint8)

    def _scaled(self, picture):
        return resize_images(tf.constant(picture, tf.float32) / 255.0, self.size).numpy()


def open_segmenter(model=None, size=None):
    """`FewShotSegmenter` of a model on disk.

    Args:
        model: a `.keras` file, or a preset's name or folder; the shipped preset without it.
        size: as in `FewShotSegmenter`.

    Raises:
        PANetError: no such file or preset.
    """
    return FewShotSegmenter(model or presets.DEFAULT, size=size)


def _opened(model):
    """(`PANet`, what its preset says of it), of a model or of where it lies."""
    plain = {"size": (256, 256), "presence_threshold": 0.0}
    name = presets.DEFAULT if model is None else model
    if isinstance(name, (str, os.PathLike)):
        if os.path.isfile(name):
            model = keras.models.load_model(name, compile=False)
        elif os.fspath(name).endswith(".keras"):
            raise PANetError(
                f"model {name}: no such file; expected a .keras file, as `model.save` or the pipeline writes it."
            )
        else:
            return PANet.from_preset(name), presets.read(name)[0]
    if not isinstance(model, PANet):
        kind = f"{name}: a model" if isinstance(name, (str, os.PathLike)) else "model"
        raise PANetError(
            f"{kind} of class {type(model).__name__}; expected a PANet, a .keras file of one, or a preset's name."
        )
    return model, plain


def _traced(model):
    """Functions of `encode_support` and of the probabilities, for graphs."""
    # As in `fit` and `export`, no code is rewritten by AutoGraph, which takes longer than all the tracing.
    traced = functools.partial(tf.function, autograph=False, reduce_retracing=True)
    # TensorFlow counts traces by code, and would warn of the fifth segmenter; a partial counts for itself.
    probabilities = traced(functools.partial(_probabilities, model))
    return traced(functools.partial(model.encode_support)), lambda state, images: probabilities(
        state, images, model.temperature
    )


def _probabilities(model, state, images, temperature):
    del temperature  # of the model; as an argument here, another one is another graph
    return tf.nn.softmax(model.segment(state, images))


def restore(probabilities, size):
    """Brings probabilities [h, w, N+1] from model size to (H, W): bilinear, half-pixel centres."""
    return tf.image.resize(probabilities, size)


def _apart(images, masks):
    """Masks [N, F, H, W] in which a picture that several ways have shows each way's lesions to the others as 255: no
    way's lesion is background.

    Args:
        images: float32 [N, F, H, W, 3]. masks: uint8 [N, F, H, W], 0 or 1.
    """
    if len(masks) == 1:
        return masks
    pictures, ways = np.array([digests(way) for way in images]), np.arange(len(masks))[:, None]
    result = masks.copy()
    for way, shot in np.ndindex(pictures.shape):
        foreign = masks[(pictures == pictures[way, shot]) & (ways != way)].any(0)
        result[way, shot][foreign & (masks[way, shot] == 0)] = IGNORE
    return result


def _by_way(items):
    """Lists of lists from a list for one way or for several."""
    if _is_one(items):
        raise PANetError("set_support expects lists: set_support([image], [mask]) for one shot.")
    items = list(items)
    several = bool(items) and isinstance(items[0], (list, tuple))
    return [list(way) for way in items] if several else [items]


def _is_one(items):
    """Whether a single picture came in place of a list: the rows [W, 3] of an array would pass as grey pictures."""
    if isinstance(items, (str, *rgb.BYTES, os.PathLike, Image.Image)):
        return True
    shape = tuple(getattr(items, "shape", ()))
    return len(shape) == 2 or len(shape) == 3 and shape[-1] <= 4
