"""Cross-entropy and soft Dice over the foreground."""

import keras
import tensorflow as tf

from panet_keras.layers.prototypes import IGNORE
from panet_keras.losses.presence import presence_entropy

RANGES = dict.fromkeys(
    ("cross_entropy_weight", "dice_weight", "empty_weight", "presence_weight"), "a number of at least 0"
) | {
    "smooth": "a number of pixels above 0",
    "miss_weight": "a number from 0 to 1",
    "reduction": '"sum_over_batch_size": each term has its own mean',
}


@keras.saving.register_keras_serializable(package="panet_keras")
class CrossEntropyDice(keras.losses.Loss):
    """Pixel-wise cross-entropy plus soft Dice of the foreground, each query image and way on its own.

    Cross-entropy alone is content with an empty mask where a lesion fills one per cent of the frame; Dice is
    not. Dice of an image and way (Milletari et al., 3DV 2016, arXiv 1606.04797, with p and t not squared):

        1 - (2 sum(p t) + smooth) / (2 sum(p t) + 2 (1 - w) sum(p (1 - t)) + 2 w sum((1 - p) t) + smooth)

    With `miss_weight` w = 1/2 this is soft Dice, above it the Tversky index that prefers a pixel too many to
    one too few (Salehi et al., MLMI 2017, arXiv 1706.05721).
    An empty true mask therefore gives 0 for an empty prediction and tends to 1 with each falsely marked pixel
    over `smooth`. Keras' own `losses.Dice` sums the background in, too, and gives 0.01 for a wholly missed
    lesion of 1 %.

    Args:
        cross_entropy_weight: factor of the cross-entropy, at least 0.
        dice_weight: factor of the Dice term, at least 0; 0 gives the paper's loss.
        smooth: pixels, above 0.
        empty_weight: factor of the Dice term of an image and way without foreground, at least 0. At 1 one
            false pixel of such an image costs as much as half a missed lesion, and a model in doubt learns to
            mark nothing.
        miss_weight: w, from 0 to 1.
        presence_weight: factor of the presence term (`presence_entropy`), at least 0. A small false mark costs
            next to nothing as cross-entropy, which is a mean over all pixels; whether a frame shows a lesion at
            all is judged by its hottest pixels alone.
        ignore_class: label of pixels that count nowhere.

    Call arguments:
        y_true: [B, Q, H, W, 1] labels, 0 = background, 1..N, 255 = ignore.
        y_pred: [B, Q, H, W, N+1] logits.
        sample_weight: optional; [B] or [B, Q, H, W], or [B, Q, H, W, 1]. Weighs pixels in both terms.

    Output: scalar, the mean over valid pixels (cross-entropy) and over images and ways (Dice).

    Raises:
        ValueError: an argument outside its range, or a `reduction` of one's own.
    """

    def __init__(
        self,
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        smooth=1.0,
        empty_weight=1.0,
        miss_weight=0.5,
        presence_weight=0.0,
        ignore_class=IGNORE,
        name="cross_entropy_dice",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        for argument, value, right in (
            ("cross_entropy_weight", cross_entropy_weight, cross_entropy_weight >= 0),
            ("dice_weight", dice_weight, dice_weight >= 0),
            ("smooth", smooth, smooth > 0),
            ("empty_weight", empty_weight, empty_weight >= 0),
            ("miss_weight", miss_weight, 0 <= miss_weight <= 1),
            ("presence_weight", presence_weight, presence_weight >= 0),
            ("reduction", self.reduction, self.reduction == "sum_over_batch_size"),
        ):
            if not right:
                raise ValueError(f"{argument}={value!r}; expected {RANGES[argument]}.")
        self.cross_entropy_weight = cross_entropy_weight
        self.dice_weight = dice_weight
        self.smooth = smooth
        self.empty_weight = empty_weight
        self.miss_weight = miss_weight
        self.presence_weight = presence_weight
        self.ignore_class = ignore_class

    # Not `call`: the weights of pixels are part of both terms, and Keras would multiply the finished loss.
    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = tf.cast(y_pred, tf.float32)
        labels = tf.cast(y_true, tf.int32)[..., 0]
        valid = tf.not_equal(labels, self.ignore_class)
        labels = tf.where(valid, labels, 0)
        counted = tf.cast(valid, tf.float32)
        weights = counted
        if sample_weight is not None:
            weights = counted * self._pixel_weights(sample_weight, tf.shape(counted))

        loss = 0.0
        if self.cross_entropy_weight:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y_pred)
            entropy = tf.math.divide_no_nan(tf.reduce_sum(entropy * weights), tf.reduce_sum(counted))
            loss += self.cross_entropy_weight * entropy
        if self.dice_weight:
            probability = tf.nn.softmax(y_pred)[..., 1:] * weights[..., None]
            marked = tf.one_hot(labels, tf.shape(y_pred)[-1])[..., 1:]
            truth = marked * weights[..., None]
            overlap = tf.reduce_sum(probability * marked, [2, 3])
            wrong, missing = (tf.reduce_sum(part, [2, 3]) - overlap for part in (probability, truth))
            total = 2.0 * (overlap + (1.0 - self.miss_weight) * wrong + self.miss_weight * missing)
            missed = 1.0 - (2.0 * overlap + self.smooth) / (total + self.smooth)
            factor = tf.where(tf.reduce_any(truth > 0, [2, 3]), 1.0, self.empty_weight)
            loss += self.dice_weight * tf.reduce_mean(factor * missed)
        if self.presence_weight:
            loss += self.presence_weight * presence_entropy(labels, tf.nn.softmax(y_pred), valid)
        # As keras.losses.Loss does: under tf.distribute the replicas' gradients are summed.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def _pixel_weights(self, sample_weight, shape):
        weights = tf.cast(sample_weight, tf.float32)
        if weights.shape.rank == 5:
            weights = weights[..., 0]
        if weights.shape.rank not in (0, 1, 2, 4):
            raise ValueError(
                f"sample_weight has shape {weights.shape}; expected [B], [B, Q], [B, Q, H, W] or [B, Q, H, W, 1]."
            )
        weights = tf.reshape(
            weights, tf.concat([tf.shape(weights), tf.ones([4 - weights.shape.rank], tf.int32)], 0)
        )
        return tf.broadcast_to(weights, shape)

    def get_config(self):
        return {
            **super().get_config(),
            "cross_entropy_weight": self.cross_entropy_weight,
            "dice_weight": self.dice_weight,
            "smooth": self.smooth,
            "empty_weight": self.empty_weight,
            "miss_weight": self.miss_weight,
            "presence_weight": self.presence_weight,
            "ignore_class": self.ignore_class,
        }
