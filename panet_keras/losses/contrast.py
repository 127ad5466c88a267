"""Contrast: the same pictures, but with the support's masks on tissue, must leave the lesion out. So the
support decides, not the query.

A decoder that is trained on lesions alone learns to find lesions whatever the support marks. Asked twice,
with the right and with a moved mask, it can only please both by looking at the support; and since every
episode still teaches its lesion, it does not learn to be shy, as it does when some episodes have moved masks
and nothing else.

Everywhere else nothing must be found either, or tissue may be that is like what the moved mask marks. The
first makes a model of lesions; the second leaves room for superpixel episodes, which teach that any region
can be marked.
"""

import tensorflow as tf

from panet_keras.layers.prototypes import IGNORE


def move_masks(support_masks, seed):
    """Moves the foreground of support masks onto tissue of the same frames.

    It is rolled by a quarter to three quarters of the frame's height and width, and leaves out the true
    foreground, which becomes background, and what is ignored.

    Args:
        support_masks: [B, N, K, H, W, 1]: 1, 0 or 255.
        seed: integer [2].

    Returns:
        Masks of the same shape and type, and bool [B]: whether each mask of the episode that had foreground
        still has some.
    """
    shape = tf.shape(support_masks)
    foreground, ignored = tf.equal(support_masks, 1), tf.equal(support_masks, IGNORE)
    flat = tf.reshape(foreground, [shape[0], -1, shape[3], shape[4]])
    draws = tf.random.stateless_uniform([2, shape[0]], seed, 0.25, 0.75)
    for axis, draw in ((2, draws[0]), (3, draws[1])):
        size = tf.shape(flat)[axis]
        shift = tf.cast(draw * tf.cast(size, tf.float32), tf.int32)
        flat = tf.gather(flat, (tf.range(size)[None] + shift[:, None]) % size, axis=axis, batch_dims=1)
    moved = tf.reshape(flat, shape) & ~foreground & ~ignored
    left = tf.reduce_any(moved, [3, 4, 5]) | ~tf.reduce_any(foreground, [3, 4, 5])
    possible = tf.reduce_all(left, [1, 2])
    return tf.where(ignored, support_masks, tf.cast(moved, support_masks.dtype)), possible


def contrast_loss(logits, labels, possible, elsewhere=True):
    """Cross-entropy against "background": over the true foreground, where a model that ignores its support
    would answer.

    Args:
        logits: [B, Q, H, W, N+1] with moved support masks. labels: [B, Q, H, W, 1], 255 = ignore. possible:
            bool [B].
        elsewhere: whether the mean over all pixels is added.

    Returns:
        float32 scalar; 0 where no episode could be moved.
    """
    labels = tf.cast(labels, tf.int32)[..., 0]
    entropy = tf.reduce_logsumexp(logits, -1) - logits[..., 0]
    counted = tf.cast(possible, tf.float32)[:, None, None, None]
    total = 0.0
    known = labels != IGNORE
    for pixels in [(labels > 0) & known] + [known] * elsewhere:
        weights = counted * tf.cast(pixels, tf.float32)
        total += tf.math.divide_no_nan(tf.reduce_sum(entropy * weights), tf.reduce_sum(weights))
    return total
