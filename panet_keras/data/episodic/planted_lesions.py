"""Planted lesions: a real one on another frame, or an invented one, so that thirty lesions are not all a
model ever sees."""

import math

import tensorflow as tf

from panet_keras.pictures.resize import resize_images


def paste_lesions(images, masks, backgrounds):
    """Moves lesions onto other frames, with a feathered rim and the brightness of their new surroundings.

    Copy and paste within a class of pictures (Ghiasi et al., CVPR 2021, arXiv 2012.07177).

    Args:
        images: float32 [R, H, W, 3] in [0, 1]. masks: uint8 [R, H, W] of class indices.
        backgrounds: float32 [R, H, W, 3], frames without lesion.

    Returns:
        float32 [R, H, W, 3] in [0, 1]; the masks stay as they are.
    """
    size = tf.shape(images)[1:3]
    lesion = tf.cast(masks > 0, tf.float32)[..., None]
    # Pooling at a quarter of the size: a large window over every pixel is the dearest thing one can do on a
    # CPU.
    grown = tf.nn.max_pool2d(tf.nn.max_pool2d(lesion, 4, 4, "SAME"), 3, 1, "SAME")
    soft = tf.image.resize(grown, size)
    ring = tf.nn.max_pool2d(grown, 5, 1, "SAME") - grown
    ratio = (_mean(backgrounds, ring) + 0.05) / (_mean(images, ring) + 0.05)
    return tf.clip_by_value(
        soft * images * tf.clip_by_value(ratio, 0.4, 2.0) + (1 - soft) * backgrounds, 0.0, 1.0
    )


def invent_lesions(backgrounds, seed):
    """Draws invented lesions: wobbly ellipses, darker than their surroundings (seldom brighter), with part of
    the texture.

    After Hu et al., CVPR 2023 (arXiv 2303.14869), who train tumour segmentation on invented tumours alone.

    Args:
        backgrounds: float32 [R, H, W, 3] in [0, 1], frames without lesion.
        seed: int64 [2].

    Returns:
        float32 [R, H, W, 3], bool [R, H, W] masks, and bool [R]: False where the place is too dark for a
        lesion to be seen.
    """
    shape = tf.shape(backgrounds)
    count, size = shape[0], shape[1:3]
    seeds = tf.unstack(tf.random.split(seed, 3))
    distance, edge = _wobbly_ellipses(count, size, seeds[0])
    soft = tf.sigmoid(-distance / edge)[..., None]

    keep, dark, bright = tf.unstack(tf.random.stateless_uniform([3, count, 1, 1, 1], seeds[1]))
    low, high = math.log(0.12), math.log(0.7)
    level = tf.where(bright < 0.06, 1.5, tf.exp(low + (high - low) * dark))
    keep = 0.2 + 0.8 * keep
    local = tf.image.resize(resize_images(backgrounds, tf.maximum(size // 16, 1)), size)
    mean = tf.reduce_sum(local * soft, [1, 2], True) / (tf.reduce_sum(soft, [1, 2], True) + 1)
    noise = 1 + 0.25 * tf.random.stateless_normal(tf.shape(soft), seeds[2])
    inside = level * (keep * backgrounds + (1 - keep) * 0.5 * (local + mean) * noise)
    visible = tf.reduce_mean(mean, [1, 2, 3]) > 0.08
    return tf.clip_by_value(soft * inside + (1 - soft) * backgrounds, 0.0, 1.0), distance < 0, visible


def _wobbly_ellipses(count, size, seed):
    """Signed distance [R, H, W] in pixels, about, negative inside; and the rim's width [R, 1, 1] in
    pixels."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([7, count, 1, 1], seeds[0])
    down = tf.linspace(0.0, 1.0, size[0])[None, :, None] - (0.2 + 0.55 * draws[0])
    across = tf.linspace(0.0, 1.0, size[1])[None, None, :] - (0.15 + 0.7 * draws[1])
    # Radii of 3.5 to 20 % of the frame, evenly in their logarithm; up to twice as wide as high.
    radius = tf.exp(math.log(0.035) + (math.log(0.2) - math.log(0.035)) * draws[2])
    stretch = tf.exp(0.4 * draws[3] - 0.05)
    angle = draws[4] - 0.5
    x = (across * tf.cos(angle) + down * tf.sin(angle)) / stretch
    y = (-across * tf.sin(angle) + down * tf.cos(angle)) * stretch
    direction, wobble = tf.atan2(y, x), 1.0
    waves = tf.random.stateless_uniform([6, 2, count, 1, 1], seeds[1])
    for order in range(2, 8):
        height, phase = 2 * waves[order - 2, 0] - 1, 2 * math.pi * waves[order - 2, 1]
        wobble += 0.16 * draws[5] * height * tf.cos(order * direction + phase) / order**0.5
    distance = (
        (tf.sqrt(tf.square(x) + tf.square(y)) / (radius * wobble) - 1) * radius * tf.cast(size[0], tf.float32)
    )
    return distance, 0.7 + 3.3 * draws[6]


def _mean(images, weights):
    """Mean grey level [R, 1, 1, 1] under weights [R, h, w, 1] at a quarter of the size."""
    small = resize_images(images, tf.shape(weights)[1:3])
    total = tf.reduce_sum(small * weights, [1, 2, 3], True)
    return total / (3 * tf.reduce_sum(weights, [1, 2, 3], True) + 1)
