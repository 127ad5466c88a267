"""Augmentation in the TensorFlow graph, stateless: the same seed gives the same picture."""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges from which each image of an episode draws its own change.

    Ultrasound frames have an up (the skin), so there is no vertical flip. Pixels from outside the frame are mirrored
    in, so no value is invented and no label lost.

    Attributes:
        rotation: degrees, to either side.
        zoom: factor is drawn from 1 - zoom to 1 + zoom.
        shift: share of height and width, to either side.
        gamma: exponent is drawn from 1 - gamma to 1 + gamma.
        gain: factor is drawn from 1 - gain to 1 + gain.
        flip: mirror left and right half of the time.
    """

    rotation: float = 15.0
    zoom: float = 0.25
    shift: float = 0.1
    gamma: float = 0.3
    gain: float = 0.2
    flip: bool = True

    def __call__(self, images, masks, seed):
        """Changes a stack of images.

        Args:
            images: uint8 [R, H, W, 3].
            masks: uint8 [R, H, W].
            seed: int64 [2].

        Returns:
            float32 [R, H, W, 3] in [0, 1] and uint8 [R, H, W]. An image whose lesion would leave the frame stays as it was.
        """
        count, size = tf.shape(images)[0], tf.shape(images)[1:3]
        draws = tf.random.stateless_uniform([7, count], seed, -1.0, 1.0)
        curves = self._curves(draws[4], draws[5])
        transforms = self._transforms(draws, tf.cast(size, tf.float32))
        # One look-up for gamma and gain: a power of every pixel would cost more than the rest together.
        bright = tf.gather(curves, tf.cast(images, tf.int32), batch_dims=1)
        moved = _project(bright, transforms, size, "BILINEAR")
        moved_masks = _project(masks[..., None], transforms, size, "NEAREST")[..., 0]
        lost = tf.reduce_any(masks > 0, [1, 2]) & ~tf.reduce_any(moved_masks > 0, [1, 2])
        moved = tf.where(lost[:, None, None, None], bright, moved)
        return moved, tf.where(lost[:, None, None], masks, moved_masks)

    def _curves(self, gamma, gain):
        """[R, 256] float32: value of each grey level after gamma and gain."""
        grey = tf.range(256, dtype=tf.float32) / 255.0
        return tf.clip_by_value((1 + self.gain * gain[:, None]) * grey ** (1 + self.gamma * gamma[:, None]), 0.0, 1.0)

    def _transforms(self, draws, size):
        """[R, 8] projective transforms from output to input pixels, about the centre."""
        angle = draws[0] * self.rotation * math.pi / 180
        scale = 1 / (1 + self.zoom * draws[1])
        mirror = tf.where((draws[6] < 0) & self.flip, -1.0, 1.0)
        cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
        a, b, d, e = mirror * cos, -mirror * sin, sin, cos
        centre_y, centre_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        c = centre_x - a * centre_x - b * centre_y + self.shift * draws[2] * size[1]
        f = centre_y - d * centre_x - e * centre_y + self.shift * draws[3] * size[0]
        zero = tf.zeros_like(a)
        return tf.stack([a, b, c, d, e, f, zero, zero], -1)


def _project(images, transforms, size, interpolation):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=transforms, output_shape=size, fill_value=0.0, interpolation=interpolation, fill_mode="REFLECT"
    )
