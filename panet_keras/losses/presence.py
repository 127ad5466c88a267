"""Presence as a loss: what decides whether a frame has a lesion is a handful of pixels, and they are asked directly."""

import tensorflow as tf

from panet_keras.presence_share import PRESENCE_SHARE

EPSILON = 1e-4


def presence_entropy(labels, probability, valid):
    """Cross-entropy of "this way is in this image", by the hottest 0.1 % of the pixels.

    -log(p) for images and ways with foreground, where p is the mean probability of the hottest pixels inside it
    (a hot pixel beside the lesion is no sign that it was found), and -log(1 - p) for those without, where they may
    be anywhere. Hard pixels alone count, as in online hard example mining (Shrivastava et al., CVPR 2016, arXiv
    1604.03540).

    Args:
        labels: int32 [B, Q, H, W], 0 = background, 1..N. probability: float32 [B, Q, H, W, N+1], background
            first. valid: bool [B, Q, H, W], False where a pixel counts nowhere.

    Returns:
        float32 scalar, at least 0: the mean over images and ways that have a valid pixel.
    """
    ways = tf.shape(probability)[-1] - 1
    inside = (labels[..., None] == tf.range(1, ways + 1)) & valid[..., None]
    shown = tf.reduce_any(inside, [2, 3])
    place = tf.where(shown[:, :, None, None], inside, valid[..., None])
    place = tf.cast(tf.transpose(place, [0, 1, 4, 2, 3]), tf.float32)
    heat = tf.transpose(probability[..., 1:], [0, 1, 4, 2, 3]) * place
    pixels = tf.reshape(heat, tf.concat([tf.shape(heat)[:3], [-1]], 0))
    count = tf.maximum(1.0, tf.round(PRESENCE_SHARE * tf.cast(tf.shape(pixels)[-1], tf.float32)))
    hottest = tf.reduce_sum(tf.math.top_k(pixels, tf.cast(count, tf.int32)).values, -1)
    # A lesion smaller than that is judged by all of it.
    size = tf.reduce_sum(place, [3, 4])
    presence = tf.clip_by_value(hottest / tf.clip_by_value(size, 1.0, count), EPSILON, 1 - EPSILON)
    entropy = -tf.math.log(tf.where(shown, presence, 1 - presence))
    asked = tf.cast(size > 0, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(entropy * asked), tf.reduce_sum(asked))
