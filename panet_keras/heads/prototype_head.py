"""The paper's way of matching, with each kind of prototype: what the bilinear decoder upsamples."""

import keras
import tensorflow as tf

from panet_keras.layers.attention import AttentionPooling, CrossAttention
from panet_keras.layers.prototypes import cell_average, episode_masks, fullest_shares, masked_average, mean_prototypes, shot_weights
from panet_keras.layers.similarity import SIMILARITY_SCALE, cosine, scaled_cosine

PROTOTYPES = ("mean", "attention", "local")
CELLS = 8
"""Cells to a side of the grid of local prototypes (Ouyang et al., ECCV 2020, section 3.2: a window of 4 on maps of 32)."""
CELL_SHARE = 0.95
"""A cell is of a class from this share of it on (their threshold)."""


@keras.saving.register_keras_serializable(package="panet_keras")
class Matcher(keras.layers.Layer):
    """Compares every query pixel with the background and each way.

    Args:
        prototype: `"mean"` (the paper), `"attention"` (weights learned, conditioned on the query: `AttentionPooling`), or
            `"local"` (the mean and a grid of local means, of which each pixel takes the most alike: ALPNet, Ouyang et al.,
            ECCV 2020, arXiv 2007.09886, section 3.2).
        refine: whether the query's features first attend to the support's (`CrossAttention`).
    """

    def __init__(self, prototype="mean", refine=False, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.prototype = prototype
        self.refine = refine
        self.pooling = AttentionPooling(name="pooling") if prototype == "attention" else None
        self.attention = CrossAttention(name="attention") if refine else None

    def build(self, channels):
        for layer in (self.pooling, self.attention):
            if layer is not None:
                layer.build(channels)
        self.built = True

    def encode_support(self, features, support_masks):
        """The support state.

        Args:
            features: [B, N, K, h, w, C]. support_masks: [B, N, K, H, W, 1].

        Returns:
            Dictionary of float32 tensors, each starting with B: `prototypes` [B, N+1, C]; what the kind of prototype adds
            (`keys` [B, N, K*h*w, C] and `foreground`, `background` [B, N, K*h*w]; or `cells` [B, N, K*66, C] and
            `cell_foreground`, `cell_background` [B, N, K*66]; and `marks` [B, N, K*h*w] where refined).
        """
        state = {"prototypes": mean_prototypes(features, support_masks)}
        foreground, background = episode_masks(support_masks)
        shape = tf.shape(features)
        pixels = tf.stack([shape[0], shape[1], -1])
        if self.prototype == "attention" or self.refine:
            state["keys"] = tf.reshape(tf.cast(features, tf.float32), tf.concat([pixels, shape[-1:]], 0))
        if self.prototype == "attention":
            state["foreground"] = tf.reshape(shot_weights(foreground, (shape[3], shape[4])), pixels)
            state["background"] = tf.reshape(shot_weights(background, (shape[3], shape[4])), pixels)
        if self.refine:
            state["marks"] = tf.reshape(fullest_shares(foreground, (shape[3], shape[4])), pixels)
        if self.prototype == "local":
            state |= local_prototypes(features, foreground, background)
        return state

    def match(self, features, state):
        """Scaled similarities [B, Q, h, w, N+1] of query features [B, Q, h, w, C]."""
        shape = tf.shape(features)
        if self.refine:
            features = self._refined(features, state)
        if self.prototype == "mean":
            return scaled_cosine(features, state["prototypes"])
        if self.prototype == "local":
            return SIMILARITY_SCALE * local_cosine(features, state)
        keys, batch = state["keys"], shape[0]
        everything = [batch, 1, -1]
        descriptor = tf.reduce_mean(tf.cast(features, tf.float32), [2, 3])
        ways = self.pooling(keys, state["foreground"], descriptor)
        rest = self.pooling(
            tf.reshape(keys, [*everything, keys.shape[-1]]), tf.reshape(state["background"], everything), descriptor
        )
        prototypes = tf.concat([rest, ways], 2)
        flat = tf.reshape(features, tf.concat([[-1], shape[2:]], 0))
        flat = scaled_cosine(flat, tf.reshape(prototypes, tf.concat([[-1], tf.shape(prototypes)[2:]], 0)))
        return tf.reshape(flat, tf.concat([shape[:-1], [-1]], 0))

    def _refined(self, features, state):
        shape = tf.shape(features)
        joint = [shape[0], -1]
        pixels = tf.reshape(features, [shape[0], -1, features.shape[-1]])
        keys = tf.reshape(state["keys"], [*joint, features.shape[-1]])
        return tf.reshape(self.attention(pixels, keys, tf.reshape(state["marks"], joint)), shape)

    def get_config(self):
        return {**super().get_config(), "prototype": self.prototype, "refine": self.refine}


def local_prototypes(features, foreground, background):
    """A grid of local means, and which of them are of a class.

    Each shot's mean over its whole foreground and over its whole background follow the grid, for a lesion smaller than a cell
    fills none.

    Args:
        features: [B, N, K, h, w, C]. foreground, background: [B, N, K, H, W].

    Returns:
        Dictionary: `cells` [B, N, K*66, C]; `cell_foreground` and `cell_background` [B, N, K*66], 1 where a cell is of it.
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
    """Cosine of each query pixel to the cells most like it: softmax(20 cos) as weights of cos (ALPNet, section 3.2, equation 3).

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
    member = tf.concat([tf.reshape(state["cell_background"], [batch, 1, -1]), tf.reshape(own, [batch, ways, -1])], 1)
    # All pixels in one axis: oneDNN's soft-max takes five axes at most.
    member = member[:, None]
    similarity = tf.reshape(similarity, [batch, -1, 1, shape[-1]])
    factor = tf.nn.softmax(SIMILARITY_SCALE * similarity - 1e9 * (1.0 - member))
    matched = tf.reduce_sum(factor * similarity * member, -1)
    return tf.reshape(matched, tf.concat([shape[:-1], [ways + 1]], 0))
