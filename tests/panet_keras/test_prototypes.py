import numpy as np
import tensorflow as tf

from panet_keras.layers.prototypes import masked_average, mean_prototypes
from panet_keras.layers.similarity import scaled_cosine
from panet_keras.losses.alignment import alignment_loss


def pooled_at_full_resolution(features, mask):
    """The definition: upsample the features, then average under the mask."""
    large = tf.image.resize(features[None], mask.shape)[0].numpy()
    return (large * mask[..., None]).sum((0, 1)) / (mask.sum() + 1e-5)


def test_masked_average_is_exact_down_to_one_pixel():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(8, 11, 5)).astype("float32")
    one = np.zeros((64, 90), "float32")
    one[31, 31] = 1
    blob = (rng.random((64, 90)) > 0.7).astype("float32")
    for mask in (one, blob, np.ones_like(one)):
        pooled = masked_average(tf.constant(features), tf.constant(mask))
        np.testing.assert_allclose(pooled, pooled_at_full_resolution(features, mask), atol=1e-4)
    assert np.abs(masked_average(tf.constant(features), tf.constant(one))).max() > 0.1


def test_background_leaves_out_ignored_pixels():
    features = tf.constant(np.random.default_rng(1).normal(size=(1, 1, 1, 4, 4, 3)).astype("float32"))
    masks = np.zeros((1, 1, 1, 4, 4, 1), "uint8")
    masks[..., 0, 0, :] = 1
    masks[..., 2:, :, :] = 255
    prototypes = mean_prototypes(features, tf.constant(masks))
    inside = features.numpy()[0, 0, 0]
    rest = np.concatenate([inside[0, 1:], inside[1]])
    np.testing.assert_allclose(prototypes[0, 1], inside[0, 0], rtol=1e-4)
    np.testing.assert_allclose(prototypes[0, 0], rest.mean(0), rtol=1e-3, atol=1e-5)


def test_alignment_trains_both_branches_and_skips_a_way_nobody_predicted():
    rng = np.random.default_rng(2)
    query = tf.constant(rng.normal(size=(1, 1, 6, 6, 4)).astype("float32"))
    support = tf.constant(rng.normal(size=(1, 2, 1, 6, 6, 4)).astype("float32"))
    masks = np.zeros((1, 2, 1, 24, 24, 1), "uint8")
    masks[:, :, :, 4:12, 4:12] = 1
    masks = tf.constant(masks)
    prototypes = mean_prototypes(support, masks)
    with tf.GradientTape() as tape:
        tape.watch([query, support])
        loss = alignment_loss(query, scaled_cosine(query, prototypes), support, masks)
    for gradient in tape.gradient(loss, [query, support]):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    only_background = tf.one_hot(tf.zeros((1, 1, 6, 6), tf.int32), 3)
    assert float(alignment_loss(query, only_background, support, masks)[0]) == 0.0
    first_way = tf.one_hot(tf.constant(rng.integers(0, 2, (1, 1, 6, 6))), 3)
    loss, rest = (
        alignment_loss(query, first_way, support, masks)[0],
        alignment_loss(query, first_way[..., :2], support[:, :1], masks[:, :1])[0],
    )
    np.testing.assert_allclose(loss, rest / 2, rtol=1e-5)  # the second of two ways adds 0
