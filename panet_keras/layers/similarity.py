"""Scaled cosine similarity between pixels and prototypes."""

import tensorflow as tf

SIMILARITY_SCALE = 20.0
"""Alpha of equation 2; PANet, section 3.3, fixes it at 20."""


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Scales vectors along the last axis to length 1; a zero vector stays zero, with a zero gradient.

    Args:
        vectors: [..., C].

    Returns:
        [..., C], float32.
    """
    vectors = tf.cast(vectors, tf.float32)
    return vectors * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(vectors), -1, keepdims=True), 1e-16))


def scaled_cosine(features: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    """PANet's matching: alpha times the cosine of each pixel to each prototype (section 3.3, equation 2).

    Args:
        features: [B, ..., C], pixels of the episodes.
        prototypes: [B, M, C], background first, then the ways.

    Returns:
        [B, ..., M] float32 in [-20, 20]; a softmax over the last axis gives equation 2.

    A pixel is alike whatever its length, and has no likeness to its opposite:

    >>> pixels = tf.constant([[[3.0, 4.0], [6.0, 8.0], [-3.0, -4.0]]])
    >>> scaled_cosine(pixels, tf.constant([[[3.0, 4.0]]]))[0, :, 0].numpy().round(3).tolist()
    [20.0, 20.0, -20.0]
    """
    return SIMILARITY_SCALE * cosine(features, prototypes)


def cosine(features: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    """Cosine of each pixel [B, ..., C] to each prototype [B, M, C]: [B, ..., M] in [-1, 1]."""
    shape = tf.shape(features)
    # All pixels in one axis before they are scaled: TensorFlow Lite's L2_NORMALIZATION takes four axes at most.
    pixels = unit(tf.reshape(features, [shape[0], -1, shape[-1]]))
    similarity = tf.matmul(pixels, unit(prototypes), transpose_b=True)
    return tf.reshape(similarity, tf.concat([shape[:-1], tf.shape(prototypes)[1:2]], 0))


def group_cosine(features: tf.Tensor, prototypes: tf.Tensor, groups: int) -> tf.Tensor:
    """Cosine within each group of channels: many small opinions instead of one.

    Args:
        features: [B, P, C] pixels.
        prototypes: [B, M, C].
        groups: number G of groups; C must be a multiple of it.

    Returns:
        [B, P, M, G] float32 in [-1, 1].
    """
    features = tf.reshape(features, tf.concat([tf.shape(features)[:-1], [groups, -1]], 0))
    prototypes = tf.reshape(prototypes, tf.concat([tf.shape(prototypes)[:-1], [groups, -1]], 0))
    return tf.einsum("bpgc,bmgc->bpmg", unit(features), unit(prototypes))
