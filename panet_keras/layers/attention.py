"""Attention between query and support: learned weights of support pixels, and refinement of the query's
features."""

from typing import Any

import keras
import tensorflow as tf


def times(vectors: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Vectors [..., C] times a matrix [C, D], as one plain product.

    `@` broadcasts the matrix over the leading axes, and TensorFlow 2.16's oneDNN kernel ends the process
    (SIGSEGV) at some shapes, such as [6, 1, 300, 64] @ [64, 32], on processors where oneDNN is on by default.
    """
    return tf.tensordot(vectors, matrix, 1)


@keras.saving.register_keras_serializable(package="panet_keras")
class AttentionPooling(keras.layers.Layer):
    """Pools support pixels into a prototype with learned weights, conditioned on the query image.

    A pixel's weight is its share of the mask times exp(k . q / sqrt(D)), with k and q projections of the
    pixel and of the query's mean feature. The query's projection begins at zero, so that training begins from
    masked average pooling.

    Args:
        width: D, size of the projections.

    Call arguments:
        keys: [B, M, S, C] support pixels of M sets.
        weights: [B, M, S], at least 0: each pixel's share of the mask.
        queries: [B, Q, C] mean feature of each query.

    Output: [B, Q, M, C] float32; zeros for a set without weight.
    """

    def __init__(self, width: int = 32, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.width = width

    def build(self, channels: int) -> None:
        self.key = self.add_weight(name="key", shape=(channels, self.width), initializer="glorot_uniform")
        self.query = self.add_weight(name="query", shape=(channels, self.width), initializer="zeros")
        self.built = True

    def call(self, keys: tf.Tensor, weights: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        keys = tf.cast(keys, tf.float32)
        scores = (
            tf.einsum(
                "bmsd,bqd->bqms", times(keys, self.key), times(tf.cast(queries, tf.float32), self.query)
            )
            / self.width**0.5
        )
        factor = weights[:, None] * tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
        factor = tf.math.divide_no_nan(factor, tf.reduce_sum(factor, -1, keepdims=True))
        return tf.einsum("bqms,bmsc->bqmc", factor, keys)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="panet_keras")
class CrossAttention(keras.layers.Layer):
    """Refines query pixels by what the support pixels they resemble are marked as.

    x + W_o softmax(q k' / sqrt(D)) [v, m], one head (Vaswani et al., NeurIPS 2017, arXiv 1706.03762, section
    3.2.1), with m the support pixel's mask. W_o begins at zero, so that training begins from the unrefined
    features.

    Args:
        width: D, size of the projections.

    Call arguments:
        pixels: [B, P, C] of the queries.
        keys: [B, S, C] support pixels.
        marks: [B, S] their share of foreground, 0 to 1.

    Output: [B, P, C] float32.
    """

    def __init__(self, width: int = 32, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.width = width

    def build(self, channels: int) -> None:
        for name in ("query", "key", "value"):
            setattr(
                self,
                name,
                self.add_weight(name=name, shape=(channels, self.width), initializer="glorot_uniform"),
            )
        self.output_weight = self.add_weight(
            name="output", shape=(self.width + 1, channels), initializer="zeros"
        )
        self.built = True

    def call(self, pixels: tf.Tensor, keys: tf.Tensor, marks: tf.Tensor) -> tf.Tensor:
        pixels, keys = tf.cast(pixels, tf.float32), tf.cast(keys, tf.float32)
        scores = (
            tf.matmul(times(pixels, self.query), times(keys, self.key), transpose_b=True) / self.width**0.5
        )
        values = tf.concat([times(keys, self.value), marks[..., None]], -1)
        return pixels + times(tf.nn.softmax(scores) @ values, self.output_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}
