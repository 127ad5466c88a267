"""What the exported graph answers: the rules of `panet_keras.FewShotSegmenter`, as operations of the
graph."""

import numpy as np
import tensorflow as tf

from panet_keras.presence_share import PRESENCE_SHARE


def ways_presence(probabilities):
    """Presence of each way, as `panet_keras.inference.presence.presence` has it.

    Args:
        probabilities: float32 [B, Q, H, W, N+1], background first, at model size.

    Returns:
        float32 [B, Q, N] in [0, 1]: the mean of the 0.1 % of the frame (at least one pixel) where the way is
        most probable.
    """
    shape = tf.shape(probabilities)
    pixels = shape[2] * shape[3]
    # Python and TensorFlow both round halves to even.
    count = tf.maximum(1, tf.cast(tf.round(PRESENCE_SHARE * tf.cast(pixels, tf.float64)), tf.int32))
    ways = tf.reshape(probabilities[..., 1:], [shape[0], shape[1], pixels, shape[4] - 1])
    return tf.reduce_mean(tf.math.top_k(tf.transpose(ways, [0, 1, 3, 2]), count).values, -1)


def least(threshold):
    """The smallest float32 that is not below a number: 0.7 is no float32, and the segmenter compares with it as
    a float64, which TensorFlow Lite does not."""
    near = np.float32(threshold)
    return near if float(near) >= threshold else np.nextafter(near, np.float32(np.inf))


def answer(logits, presence_threshold):
    """Outputs of a signature.

    Args:
        logits: float32 [B, Q, H, W, N+1], background first.
        presence_threshold: number in [0, 1]; a way whose presence is below it gets no pixel of the masks.

    Returns:
        Dictionary: `probabilities` float32 [B, Q, H, W, N+1]; `masks` uint8 [B, Q, H, W], 0 = background;
            `presence` float32
        [B, Q, N].
    """
    probabilities = tf.nn.softmax(logits)
    presence = ways_presence(probabilities)
    present = presence >= tf.constant(least(presence_threshold), tf.float32)
    seen = tf.concat([tf.fill(tf.shape(present[..., :1]), True), present], -1)[:, :, None, None]
    masks = tf.argmax(tf.where(seen, probabilities, -1.0), -1)
    return {"probabilities": probabilities, "masks": tf.cast(masks, tf.uint8), "presence": presence}
