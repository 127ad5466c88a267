"""Augmentation in the TensorFlow graph, stateless: the same seed gives the same picture."""

import dataclasses
import math

import tensorflow as tf

from panet_keras.data.episodic.appearance import Appearance


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges from which each image of an episode draws its own change.

    Ultrasound frames have an up (the skin), so there is no vertical flip. Pixels from outside the frame are
    mirrored in, so no value is invented and no label lost.

    Attributes:
        rotation: degrees, to either side.
        zoom: factor is drawn from exp(-zoom) to exp(zoom): scanners are set to other depths, and pictures are
            cropped.
        stretch: width by height, likewise: probes differ in width.
        shear: of a row against the next, to either side.
        shift: share of height and width, to either side.
        flip: mirror left and right half of the time.
        tone: grey levels, see `Tone`.
        appearance: what scanner and tissue do to the picture, see `Appearance`; None leaves it.
    """

    rotation: float = 15.0
    zoom: float = 0.4
    stretch: float = 0.2
    shear: float = 0.12
    shift: float = 0.12
    flip: bool = True
    tone: "Tone" = dataclasses.field(default_factory=lambda: Tone())
    appearance: Appearance | None = dataclasses.field(default_factory=Appearance)

    def __call__(self, images, masks, seed):
        """Changes a stack of images.

        Args:
            images: uint8 [R, H, W, 3].
            masks: uint8 [R, H, W].
            seed: int64 [2].

        Returns:
            float32 [R, H, W, 3] in [0, 1] and uint8 [R, H, W]. An image whose lesion would leave the frame
            keeps its place.
        """
        count, size = tf.shape(images)[0], tf.shape(images)[1:3]
        draws = tf.random.stateless_uniform([12, count], seed, -1.0, 1.0)
        # One look-up for all of the tone: a power of every pixel would cost more than the rest together.
        bright = tf.gather(self.tone.curves(draws[8:]), tf.cast(images, tf.int32), batch_dims=1)
        transforms = self._transforms(draws, tf.cast(size, tf.float32))
        moved = _project(bright, transforms, size, "BILINEAR")
        moved_masks = _project(masks[..., None], transforms, size, "NEAREST")[..., 0]
        lost = tf.reduce_any(masks > 0, [1, 2]) & ~tf.reduce_any(moved_masks > 0, [1, 2])
        moved = tf.where(lost[:, None, None, None], bright, moved)
        moved = tf.ensure_shape(moved, images.shape)
        if self.appearance is not None:
            moved = self.appearance(moved, tf.random.experimental.stateless_fold_in(seed, 1))
        return moved, tf.where(lost[:, None, None], masks, moved_masks)

    def _transforms(self, draws, size):
        """[R, 8] projective transforms from output to input pixels, about the centre."""
        angle = draws[0] * self.rotation * math.pi / 180
        zoom, stretch = tf.exp(self.zoom * draws[1]), tf.exp(self.stretch * draws[5])
        across, down = 1 / (zoom * stretch), stretch / zoom
        mirror = tf.where((draws[6] < 0) & self.flip, -1.0, 1.0)
        a, b = mirror * tf.cos(angle) * across, -mirror * (tf.sin(angle) * across + self.shear * draws[7])
        d, e = tf.sin(angle) * down, tf.cos(angle) * down
        centre_y, centre_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        c = centre_x - a * centre_x - b * centre_y + self.shift * draws[2] * size[1]
        f = centre_y - d * centre_x - e * centre_y + self.shift * draws[3] * size[0]
        zero = tf.zeros_like(a)
        return tf.stack([a, b, c, d, e, f, zero, zero], -1)


@dataclasses.dataclass(frozen=True)
class Tone:
    """Grey levels: what the knobs of a scanner and its dynamic range do.

    Attributes:
        gamma: exponent is drawn from exp(-gamma) to exp(gamma).
        gain: factor is drawn from exp(-gain) to exp(gain).
        contrast: height of a sine over the grey levels, to either side.
        offset: added to what is not black (the noise floor), to either side.
    """

    gamma: float = 0.6
    gain: float = 0.35
    contrast: float = 0.12
    offset: float = 0.05

    def curves(self, draws):
        """[R, 256] float32: value of each grey level, from draws [4, R] in [-1, 1]."""
        grey = tf.range(256, dtype=tf.float32) / 255.0
        gamma, gain, contrast, offset = (draw[:, None] for draw in tf.unstack(draws))
        curve = grey ** tf.exp(self.gamma * gamma)
        curve += self.contrast * contrast * tf.sin(2 * math.pi * curve)
        lifted = tf.where(grey > 0.02, self.offset * offset, 0.0)
        return tf.clip_by_value(tf.exp(self.gain * gain) * curve + lifted, 0.0, 1.0)


def _project(images, transforms, size, interpolation):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=size,
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
