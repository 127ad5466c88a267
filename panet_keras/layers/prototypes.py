"""Masked average pooling: one prototype for each way, and one for the background."""

from collections.abc import Sequence

import tensorflow as tf

IGNORE = 255
EPSILON = 1e-5
"""Added to a mask's area, as the reference implementation of PANet does."""


def bilinear_matrix(large: int | tf.Tensor, small: int | tf.Tensor) -> tf.Tensor:
    """The matrix U of 1-D bilinear upsampling from `small` to `large` samples, half-pixel centres.

    Args:
        large, small: integer scalars, may be tensors.

    Returns:
        [large, small] float32; each row sums to 1.
    """
    large, small = tf.cast(large, tf.float32), tf.cast(small, tf.float32)
    position = tf.clip_by_value((tf.range(large) + 0.5) * (small / large) - 0.5, 0.0, small - 1.0)
    return tf.nn.relu(1.0 - tf.abs(position[:, None] - tf.range(small)[None, :]))


def pooling_weights(masks: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Weights w on the feature grid for which sum(w * F) = sum(mask * upsampled F), exactly.

    The paper pools after upsampling the features to the mask's size (section 3.2, equation 1). Upsampling is
    linear, F_up = U_h F U_w', so the sum moves to the small grid: w = U_h' M U_w. No pixel of a tiny mask is
    lost, as it is when the mask is shrunk by nearest neighbour.

    Args:
        masks: [..., H, W] float.
        size: (h, w) of the feature grid.

    Returns:
        [..., h, w] float32.
    """
    shape = tf.shape(masks)
    rows = bilinear_matrix(shape[-2], size[0])
    columns = bilinear_matrix(shape[-1], size[1])
    return tf.einsum("...yx,yh,xw->...hw", tf.cast(masks, tf.float32), rows, columns)


def masked_average(features: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Masked average pooling (PANet, section 3.2, equation 1).

    Args:
        features: [..., h, w, C].
        masks: [..., H, W] float, the pixels to average.

    Returns:
        [..., C] float32; zeros for an empty mask.
    """
    shape = tf.shape(features)
    weights = pooling_weights(masks, (shape[-3], shape[-2]))
    total = tf.einsum("...hw,...hwc->...c", weights, tf.cast(features, tf.float32))
    area = tf.reduce_sum(tf.cast(masks, tf.float32), [-2, -1])
    return total / (area[..., None] + EPSILON)


def episode_masks(support_masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Foreground and background pixels of each support image.

    Args:
        support_masks: [B, N, K, H, W, 1]; 1 = that way's foreground, 0 = background, 255 = ignore. Pixels of
            another way of the episode must come as 255, for a background mask leaves out the pixels of every
            way.

    Returns:
        Two float32 tensors [B, N, K, H, W].
    """
    masks = support_masks[..., 0]
    return tf.cast(tf.equal(masks, 1), tf.float32), tf.cast(tf.equal(masks, 0), tf.float32)


def mean_prototypes(features: tf.Tensor, support_masks: tf.Tensor) -> tf.Tensor:
    """The prototypes of an episode: background first, then each way (PANet, section 3.2).

    Averaged over the shots of a way; the background also over the ways.

    Args:
        features: [B, N, K, h, w, C].
        support_masks: [B, N, K, H, W, 1].

    Returns:
        [B, N+1, C] float32.
    """
    foreground, background = episode_masks(support_masks)
    ways = tf.reduce_mean(masked_average(features, foreground), 2)
    rest = tf.reduce_mean(masked_average(features, background), [1, 2])
    return tf.concat([rest[:, None], ways], 1)


def cell_matrix(cells: int | tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """The matrix of 1-D average pooling of `size` samples into `cells` equal cells; a sample on an edge
    counts in part.

    Args:
        cells, size: integer scalars, may be tensors.

    Returns:
        [cells, size] float32; each row sums to 1.
    """
    width = tf.cast(size, tf.float32) / tf.cast(cells, tf.float32)
    left = tf.range(cells, dtype=tf.float32)[:, None] * width
    pixel = tf.range(tf.cast(size, tf.float32))[None]
    return tf.nn.relu(tf.minimum(left + width, pixel + 1.0) - tf.maximum(left, pixel)) / width


def cell_average(maps: tf.Tensor, cells: int | tf.Tensor) -> tf.Tensor:
    """Averages [..., h, w, C] over a grid of cells x cells: [..., cells * cells, C] float32."""
    shape = tf.shape(maps)
    rows, columns = cell_matrix(cells, shape[-3]), cell_matrix(cells, shape[-2])
    grid = tf.einsum("gh,...hwc,kw->...gkc", rows, tf.cast(maps, tf.float32), columns)
    return tf.reshape(grid, tf.concat([shape[:-3], [cells * cells], shape[-1:]], 0))


def shot_weights(masks: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Weights of feature pixels that average each shot's mask to 1: [..., h * w] from masks [..., H, W]; 0
    for an empty mask."""
    weights = pooling_weights(masks, size)
    weights /= tf.reduce_sum(tf.cast(masks, tf.float32), [-2, -1], keepdims=True) + EPSILON
    return tf.reshape(weights, tf.concat([tf.shape(weights)[:-2], [-1]], 0))


def fullest_shares(masks: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Each feature pixel's share of a mask, 1 at the fullest: [..., h, w] from masks [..., H, W]; 0 for an
    empty mask.

    A lesion of a few pixels fills no feature pixel; its best one must count in full all the same.
    """
    weights = pooling_weights(masks, size)
    return tf.math.divide_no_nan(weights, tf.reduce_max(weights, [-2, -1], keepdims=True))
