"""The one resizing rule: every door brings a picture to model size by it."""

import numpy as np
import tensorflow as tf

from panet_keras.errors import PANetError
from panet_keras.pictures.rules.regions import resize_mask

__all__ = ["resize_images", "resize_mask", "two_sides"]


def two_sides(size):
    """(height, width) as integers, from these or from one number.

    Raises:
        PANetError: anything but one or two integers of at least 1.
    """
    sides = tuple(size) if np.ndim(size) else (size, size)
    if len(sides) != 2 or not all(hasattr(side, "__index__") and side >= 1 for side in sides):
        raise PANetError(f"size={size!r}; expected (height, width) in pixels, or one number.")
    return tuple(int(side) for side in sides)


def resize_images(images, size):
    """Bilinear with antialiasing, half-pixel centres.

    Args:
        images: [..., H, W, 3] float in [0, 1].
        size: (height, width).

    Returns:
        [..., height, width, 3] float32 in [0, 1].
    """
    shape = tf.shape(images)
    flat = tf.image.resize(tf.reshape(images, tf.concat([[-1], shape[-3:]], 0)), size, antialias=True)
    # The antialiasing kernel overshoots by rounding errors only; a model may rely on [0, 1].
    flat = tf.clip_by_value(flat, 0.0, 1.0)
    return tf.reshape(flat, tf.concat([shape[:-3], size, shape[-1:]], 0))
