"""The defaults are the paper's: features, logits, losses and a gradient of the original PyTorch code."""

import numpy as np
import pytest
import tensorflow as tf

from panet_keras import PANet


@pytest.fixture(scope="module")
def paper():
    model = PANet()
    model.compile()
    return model


@pytest.mark.parametrize("name", ["1way_1shot", "1way_5shot", "2way_2shot"])
def test_matches_the_original_code(paper, reference, name):
    expected = np.load(reference / f"panet_{name}.npz")
    inputs = {
        "support_images": expected["support_images"][None] / np.float32(255),
        "support_masks": expected["support_masks"][None, ..., None],
        "query_images": expected["query_image"][None, None] / np.float32(255),
    }
    inputs = {key: tf.constant(value) for key, value in inputs.items()}
    labels = expected["query_label"][None, None, ..., None]

    features = paper.features(inputs["query_images"])[-1][0, 0]
    # Values reach 800, and thirteen layers of float32 sums in another order (oneDNN on some processors)
    # differ by 2e-6 of that.
    np.testing.assert_allclose(
        features, expected["query_features"], atol=5e-6 * np.abs(expected["query_features"]).max()
    )
    with tf.GradientTape() as tape:
        logits, losses = paper._episode(inputs, training=True, labels=tf.constant(labels))
        query_loss = paper.loss(labels, logits)
        total = query_loss + paper.align_weight * losses["align_loss"]
    np.testing.assert_allclose(logits[0, 0], expected["logits"], atol=1e-4)  # values reach 20
    np.testing.assert_allclose(query_loss, expected["query_loss"], rtol=1e-4)
    np.testing.assert_allclose(losses["align_loss"], expected["align_loss"], rtol=1e-4)
    gradient = tape.gradient(total, paper.encoder.get_layer("block1_conv1").kernel.value)
    np.testing.assert_allclose(tf.norm(gradient), expected["grad_norm_block1_conv1_kernel"], rtol=1e-3)
