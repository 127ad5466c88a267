"""Streaming Keras metrics: what one passes to `compile`."""

import keras
import tensorflow as tf

from panet_keras.layers.prototypes import IGNORE

MISS_DICE = 0.1
"""A lesion with a Dice below this counts as missed."""


@keras.saving.register_keras_serializable(package="panet_keras")
class Dice(keras.metrics.Metric):
    """Mean Dice of the hard masks, each query image and way on its own: 2 |P T| / (|P| + |T|).

    The same rule as `panet_keras.evaluation.dice`: truth and prediction both empty is undefined and left out
    (count it with `undefined`); a truth with an empty prediction is 0, an empty truth with any prediction is
    0. NaN until a defined image has come.

    Args:
        ignore_class: label of pixels that count nowhere.
        name, dtype: as for any Keras metric.

    Call arguments:
        y_true: [B, Q, H, W, 1] labels. y_pred: [B, Q, H, W, N+1] logits or probabilities.
        sample_weight: ignored; a weighted hard Dice has no agreed definition.
    """

    def __init__(self, ignore_class=IGNORE, name="dice", dtype=None):
        super().__init__(name=name, dtype=dtype)
        # Where Keras' callbacks, in mode auto, look whether more is better.
        self._direction = "up"
        self.ignore_class = ignore_class
        self.total = self.add_weight(name="total", initializer="zeros")
        self.defined = self.add_weight(name="defined", initializer="zeros")
        self.undefined = self.add_weight(name="undefined", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = tf.cast(y_true, tf.int32)[..., 0]
        valid = tf.not_equal(labels, self.ignore_class)
        ways = tf.range(1, tf.shape(y_pred)[-1])
        truth = tf.equal(labels[..., None], ways) & valid[..., None]
        mask = tf.equal(tf.argmax(y_pred, -1, tf.int32)[..., None], ways) & valid[..., None]
        overlap = tf.reduce_sum(tf.cast(truth & mask, tf.float32), [2, 3])
        area = tf.reduce_sum(tf.cast(truth, tf.float32) + tf.cast(mask, tf.float32), [2, 3])
        self.total.assign_add(tf.reduce_sum(tf.math.divide_no_nan(2.0 * overlap, area)))
        self.defined.assign_add(tf.reduce_sum(tf.cast(area > 0, tf.float32)))
        self.undefined.assign_add(tf.reduce_sum(tf.cast(tf.equal(area, 0), tf.float32)))

    def result(self):
        # 0 / 0 is NaN on purpose: no defined image, no score.
        return self.total / self.defined

    def get_config(self):
        return {**super().get_config(), "ignore_class": self.ignore_class}
