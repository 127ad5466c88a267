"""Annotate a few images once, then segment any number of others."""

import dataclasses
import functools
import os

import keras
import numpy as np
import tensorflow as tf

from panet_keras import presets
from panet_keras.data.episodic.augmentation import Augmentation
from panet_keras.errors import PANetError
from panet_keras.model import PANet
from panet_keras.pictures.decode import colours_to_classes, decode_image, resize_nearest, to_uint8_rgb
from panet_keras.pictures.resize import resize_images

PRESENCE_SHARE = 0.001
"""Presence is the mean probability over this share of the frame, where it is highest."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer for one image.

    Attributes:
        mask: bool [H, W] at the image's own size for one way; for more, uint8 [H, W] with 0 = background, 1..N.
        probability: float32 [H, W] of the foreground for one way; for more [H, W, N+1], background first.
        presence: float in [0, 1] for one way, else a list of N: the mean probability of the 0.1 % of the frame where it is
            highest. Low means "nothing here".
    """

    mask: np.ndarray
    probability: np.ndarray
    presence: float | list


class FewShotSegmenter:
    """Segments images like the annotated ones.

    Args:
        model: `PANet`, or the name or folder of a preset; the shipped preset without it.
        size: (height, width) to which every image is brought for the model; the one it was trained with works best. None: a
            preset's own, else 256 x 256.
        mirror: whether the mirrored query is segmented too and the probabilities are averaged: twice the time.
        presence_threshold: from 0 to 1; a way whose presence is below it gets no pixel: "nothing here". Calibrate it
            on patients that the model was not trained on; 0 marks whatever is more probable than not. None: a preset's own,
            else 0.

    Raises:
        PANetError: a threshold outside [0, 1], or an unknown preset.

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
        preset = {"size": (256, 256), "presence_threshold": 0.0}
        if not isinstance(model, PANet):
            name = presets.DEFAULT if model is None else model
            preset, _ = presets.read(name)
            model = PANet.from_preset(name)
        size = preset["size"] if size is None else size
        presence_threshold = preset["presence_threshold"] if presence_threshold is None else presence_threshold
        if not 0 <= presence_threshold <= 1:
            raise PANetError(f"presence_threshold={presence_threshold!r}; expected a probability from 0 to 1.")
        self.size = tuple(size)
        self.mirror = mirror
        self.presence_threshold = presence_threshold
        self._support = self._state = None
        self._use(model)

    def _use(self, model):
        self.model = model
        # TensorFlow counts traces by code, and would warn of the fifth segmenter; a partial counts for itself.
        self._encode = tf.function(functools.partial(model.encode_support), reduce_retracing=True)
        self._segment = tf.function(functools.partial(_probabilities, model), reduce_retracing=True)

    def set_support(self, images, masks):
        """Takes the annotated images, in place of earlier ones.

        Args:
            images: list of K images for one way, or a list of N such lists. An image is a path, the bytes of a file, or an
                array [H, W] or [H, W, C] of bool, uint8, uint16 or float in [0, 1]. Sizes may differ.
            masks: of the same structure; an array (bool, or any number: not 0 is foreground) or a picture (not black is
                foreground), of its image's size.

        Returns:
            The segmenter itself.

        Raises:
            PANetError: no support, unequal numbers, a mask of another size, or a mask without foreground; names way and
                shot.
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
            raise PANetError(f"set_support got {[len(way) for way in images]} images for each way; expected the same, at least 1.")
        pairs = [
            [self.prepare_pair(image, mask, way, shot) for shot, (image, mask) in enumerate(zip(*pair))]
            for way, pair in enumerate(zip(images, masks))
        ]
        stack = np.array([[image for image, _ in way] for way in pairs])
        masks = np.array([[mask for _, mask in way] for way in pairs])
        self._support = stack, masks[..., None]
        self._state = self._encoded()
        return self

    def _encoded(self):
        images, masks = self._support
        return self._encode(tf.constant(images[None]), tf.constant(masks[None]))

    def adapt(self, steps=20, learning_rate=1e-5, seed=0):
        """Fine-tunes a copy of the model on the annotated images, and goes on with it; the model given stays as it was.

        Each step is an episode of the support: one image is the query and another of its way supports it, both augmented
        (with one shot, two views of the same image). On BUS-UCLM it did not pay (BUILD_NOTES): compare before you rely on it.

        Args:
            steps: optimizer steps, at least 1.
            learning_rate: of AdamW, above 0. At 1e-4 a few steps can undo what the model knows (`benchmarks/adaptation.py`).
            seed: integer; draws the episodes.

        Returns:
            The segmenter itself.

        Raises:
            PANetError: `set_support` was not called.
        """
        if self._support is None:
            raise PANetError("adapt was called before set_support; there is nothing to adapt to.")
        copy = self.model.__class__.from_config(self.model.get_config())
        copy.set_weights(self.model.get_weights())
        copy.compile(optimizer=keras.optimizers.AdamW(learning_rate, clipnorm=1.0))
        for step in range(steps):
            copy.train_on_batch(*support_episode(*self._support, np.random.default_rng([seed, step])))
        self._use(copy)
        self._state = self._encoded()
        return self

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
        picture = read_image(image, "image")
        scaled = self._scaled(picture)
        small = self._segment(self._state, tf.constant(scaled[None, None]))[0, 0]
        if self.mirror:
            mirrored = self._segment(self._state, tf.constant(scaled[None, None, :, ::-1]))[0, 0]
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
        small = resize_nearest(mask, self.size)
        if not small.any():
            # A lesion of a few pixels between the sampled ones: keep the cell that holds it.
            y, x = np.argwhere(mask).mean(0)
            small[int(y * self.size[0] / mask.shape[0]), int(x * self.size[1] / mask.shape[1])] = True
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
    model = model or presets.DEFAULT
    if os.path.isfile(model):
        model = keras.models.load_model(model, compile=False)
    elif model.endswith(".keras"):
        raise PANetError(f"model {model}: no such file; expected a .keras file, as `model.save` or the pipeline writes it.")
    return FewShotSegmenter(model, size=size)


def support_episode(images, masks, rng):
    """An episode of the support itself, for `FewShotSegmenter.adapt`.

    Args:
        images: float32 [N, K, H, W, 3] in [0, 1]. masks: uint8 [N, K, H, W, 1]. rng: numpy Generator.

    Returns:
        inputs and labels as `PANet` takes them, with B = K = Q = 1.
    """
    ways, shots = images.shape[:2]
    way = int(rng.integers(ways))
    query = int(rng.integers(shots))
    chosen = rng.integers(shots, size=ways)
    if shots > 1:
        chosen[way] = (query + 1 + rng.integers(shots - 1)) % shots
    stack = np.concatenate([images[np.arange(ways), chosen], images[way, query][None]])
    labels = np.concatenate([masks[np.arange(ways), chosen], masks[way, query][None]])[..., 0]
    seed = tf.constant(rng.integers(0, 2**31, 2), tf.int64)
    stack, labels = Augmentation()(tf.cast(tf.round(stack * 255.0), tf.uint8), tf.constant(labels), seed)
    inputs = {
        "support_images": stack[:-1][None, :, None],
        "support_masks": labels[:-1][None, :, None, ..., None],
        "query_images": stack[-1:][None],
    }
    return inputs, (labels[-1:] * (way + 1))[None, ..., None]


def _probabilities(model, state, images):
    return tf.nn.softmax(model.segment(state, images))


def restore(probabilities, size):
    """Brings probabilities [h, w, N+1] from model size to (H, W): bilinear, half-pixel centres."""
    return tf.image.resize(probabilities, size)


def presence(probability):
    """Lesion presence from a foreground probability [h, w] at model size, see `Segmentation.presence`."""
    flat = tf.reshape(probability, [-1])
    count = max(1, int(round(PRESENCE_SHARE * flat.shape[0])))
    return float(tf.reduce_mean(tf.math.top_k(flat, count).values))


def read_image(source, name):
    """uint8 RGB from a path, bytes, array or PIL image."""
    if isinstance(source, (str, bytes, os.PathLike)):
        return decode_image(source, None if not isinstance(source, bytes) else name)
    return to_uint8_rgb(source, name)


def read_mask(source, name):
    """bool [H, W] from a path, bytes or array; not 0 (not black) is foreground."""
    if isinstance(source, (str, bytes, os.PathLike)):
        picture = decode_image(source, None if not isinstance(source, bytes) else name)
        if picture.max() <= 2:
            return picture.max(-1) > 0
        # Mixed colours along an edge go to the nearer side, as in the data set reader.
        return colours_to_classes(picture.max(-1, keepdims=True).repeat(3, -1), ((0, 0, 0), (255, 255, 255)), name)[0] > 0
    mask = np.asarray(source)
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype.kind not in "buif":
        raise PANetError(f"{name} has shape {mask.shape} and dtype {mask.dtype}; expected numbers or bool [H, W].")
    return mask != 0


def _by_way(items):
    """Lists of lists from a list for one way or for several."""
    if isinstance(items, (str, bytes, os.PathLike)):
        raise PANetError("set_support expects lists: set_support([image], [mask]) for one shot.")
    items = list(items)
    several = bool(items) and isinstance(items[0], (list, tuple))
    return [list(way) for way in items] if several else [items]
