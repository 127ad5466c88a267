"""Local prototypes: a grid of means over the support, of which each query pixel takes the most alike."""

import tensorflow as tf

from panet_keras.layers.prototypes import cell_average, masked_average
from panet_keras.layers.similarity import SIMILARITY_SCALE, cosine

CELLS = 8
"""Cells to a side of the grid of local prototypes (Ouyang et al., ECCV 2020, section 3.2: a window of 4 on
maps of 32)."""
CELL_SHARE = 0.95
"""A cell is of a class from this share of it on (their threshold)."""


def local_prototypes(features, foreground, background):
    """A grid of local means, and which of them are of a class.

    Each shot's mean over its whole foreground and over its whole background follow the grid, for a lesion
    smaller than a cell fills none.

    Args:
        features: [B, N, K, h, w, C]. foreground, background: [B, N, K, H, W].

    Returns:
        Dictionary: `cells` [B, N, K*66, C]; `cell_foreground` and `cell_background` [B, N, K*66], 1 where a
            cell is of it.
    """
    shape = tf.shape(features)
    flat = tf.stack([shape[0], shape[1], -1])
    grid = cell_average(features, CELLS)
    whole = tf.stack([masked_average(features, mask) for mask in (foreground, background)], 3)
    state = {"cells": tf.reshape(tf.concat([grid, whole], 3), tf.concat([flat, shape[-1:]], 0))}
    for place, (name, mask) in enumerate({"foreground": foreground, "background": background}.items()):
        filled = tf.cast(cell_average(mask[..., None], CELLS)[..., 0] >= CELL_SHARE, tf.float32)
        present = tf.cast(tf.reduce_any(mask > 0, [-2, -1]), tf.float32)[..., None] * tf.one_hot(place, 2)
        state[f"cell_{name}"] = tf.reshape(tf.concat([filled, present], -1), flat)
    return state


def local_cosine(features, state):
    """Cosine of each query pixel to the cells most like it: softmax(20 cos) as weights of cos (ALPNet,
    section 3.2, equation 3).

    Args:
        features: [B, Q, h, w, C]. state: from `local_prototypes`.

    Returns:
        [B, Q, h, w, N+1] float32 in [-1, 1], background first.
    """
    batch = tf.shape(features)[0]
    cells = tf.reshape(state["cells"], [batch, -1, state["cells"].shape[-1]])
    similarity = cosine(features, cells)
    shape, ways = tf.shape(similarity), tf.shape(state["cells"])[1]
    # [B, M, all cells]: whether a cell is of the background (of any way) or of way m.
    own = tf.eye(ways)[None, :, :, None] * state["cell_foreground"][:, None]
    member = tf.concat(
        [tf.reshape(state["cell_background"], [batch, 1, -1]), tf.reshape(own, [batch, ways, -1])], 1
    )
    # All pixels in one axis: oneDNN's soft-max takes five axes at most.
    member = member[:, None]
    similarity = tf.reshape(similarity, [batch, -1, 1, shape[-1]])
    factor = tf.nn.softmax(SIMILARITY_SCALE * similarity - 1e9 * (1.0 - member))
    matched = tf.reduce_sum(factor * similarity * member, -1)
    return tf.reshape(matched, tf.concat([shape[:-1], [ways + 1]], 0))
