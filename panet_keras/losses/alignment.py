"""Prototype alignment regularisation, the paper's contribution."""

import tensorflow as tf

from panet_keras.layers.prototypes import EPSILON, episode_masks
from panet_keras.layers.similarity import scaled_cosine


def alignment_loss(query_features, similarities, support_features, support_masks):
    """Segments the support images with prototypes of the query's predicted mask (PANet, section 3.4,
    equations 6 to 8).

    The prediction is the arg-max at feature size, without a gradient; its prototypes are averages over all
    queries. A way of which no query pixel was predicted adds nothing. Each support image is segmented into
    background and its own way.

    Args:
        query_features: [B, Q, h, w, C].
        similarities: [B, Q, h, w, N+1], the matching whose arg-max is the predicted mask.
        support_features: [B, N, K, h', w', C].
        support_masks: [B, N, K, H, W, 1].

    Returns:
        [B] float32: for each episode, the mean over ways and shots of the cross-entropy over valid pixels.
    """
    shape = tf.shape(support_features)
    batch, ways, shots = shape[0], shape[1], shape[2]
    query_features = tf.cast(query_features, tf.float32)
    predicted = tf.one_hot(tf.argmax(similarities, -1), tf.shape(similarities)[-1])
    area = tf.reduce_sum(predicted, [1, 2, 3])
    prototypes = tf.einsum("bqhwm,bqhwc->bmc", predicted, query_features) / (area[..., None] + EPSILON)

    # One pair [background, way] for each way: [B, N, 2, C].
    pairs = tf.stack([tf.broadcast_to(prototypes[:, :1], tf.shape(prototypes[:, 1:])), prototypes[:, 1:]], 2)
    flat = [batch * ways]
    scores = scaled_cosine(
        tf.reshape(support_features, tf.concat([flat, shape[2:]], 0)),
        tf.reshape(pairs, tf.concat([flat, tf.shape(pairs)[2:]], 0)),
    )
    size = tf.shape(support_masks)[3:5]
    scores = tf.image.resize(tf.reshape(scores, tf.concat([flat * shots, shape[3:5], [2]], 0)), size)

    foreground, background = episode_masks(support_masks)
    labels = tf.reshape(tf.cast(foreground, tf.int32), [-1, size[0], size[1]])
    valid = tf.reshape(foreground + background, tf.shape(labels))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    entropy = tf.math.divide_no_nan(tf.reduce_sum(entropy * valid, [1, 2]), tf.reduce_sum(valid, [1, 2]))
    entropy = tf.reduce_mean(tf.reshape(entropy, [batch, ways, shots]), -1)
    return tf.reduce_mean(entropy * tf.cast(area[:, 1:] > 0, tf.float32), -1)


def reversed_episode(support_masks, labels):
    """The episode with the parts exchanged: the annotated queries support, and each way's support images are
    the queries.

    Args:
        support_masks: [B, N, K, H, W, 1].
        labels: [B, Q, H', W', 1] of the queries, 0 = background, 1..N, 255 = ignore.

    Returns:
        Masks int32 [B*N, 1, Q, H', W', 1] of one-way episodes and labels int32 [B*N, K, H, W, 1]; those of a
        way that no query shows, and of normal frames among the support, are 255 throughout.
    """
    shape = tf.shape(support_masks)
    batch, ways = shape[0], shape[1]
    labels = tf.cast(labels, tf.int32)[:, None]
    own = tf.range(1, ways + 1)[None, :, None, None, None, None]
    masks = tf.where(labels == own, 1, tf.where(labels == 0, 0, 255))
    shown = tf.reduce_any(masks == 1, [2, 3, 4, 5])
    annotated = tf.reduce_any(tf.equal(support_masks, 1), [3, 4, 5], keepdims=True)
    targets = tf.where(shown[:, :, None, None, None, None] & annotated, tf.cast(support_masks, tf.int32), 255)
    masks = tf.reshape(masks, tf.concat([[batch * ways, 1], tf.shape(masks)[2:]], 0))
    return masks, tf.reshape(targets, tf.concat([[batch * ways], shape[2:]], 0))
