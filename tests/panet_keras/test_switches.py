"""Each repair of the failed attempt is a switch; these hold for every combination."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from panet_keras import PANet
from panet_keras.heads.prototype_head import PROTOTYPES
from panet_keras.layers.attention import AttentionPooling
from panet_keras.layers.local_prototypes import local_cosine, local_prototypes
from panet_keras.layers.prototypes import cell_average

SWITCHES = [
    {"decoder": decoder, "prototype": prototype, "refine": refine}
    for decoder, prototype, refine in itertools.product(("bilinear", "unet"), PROTOTYPES, (False, True))
]
SWITCHES += [{"decoder": "unet", "prior_masks": False, "refine": refine} for refine in (False, True)]
SWITCHES += [{"decoder": "unet", "normal_evidence": True}]
SPEC = {
    "support_images": tf.TensorSpec([None] * 5 + [3]),
    "support_masks": tf.TensorSpec([None] * 5 + [1], tf.uint8),
    "query_images": tf.TensorSpec([None] * 4 + [3]),
}


def build(tiny_encoder, switches):
    model = PANet(tiny_encoder(), **switches)
    keras.utils.set_random_seed(3)
    for variable in model.trainable_variables:
        if not np.any(variable.numpy()):  # what begins at zero must not hide what it does
            variable.assign(np.random.default_rng(1).normal(0, 0.3, variable.shape))
    return model


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: "-".join(map(str, switches.values())))
def test_any_episode_goes_through_one_graph_and_gradients_flow(tiny_encoder, episode, switches):
    model = build(tiny_encoder, switches)
    graph = tf.function(lambda inputs: model(inputs), input_signature=[SPEC])
    for ways, shots, queries, size in ((1, 1, 1, (48, 48)), (2, 3, 2, (50, 77))):
        inputs, labels = episode(ways, shots, queries, size)
        if shots > 1:
            inputs["support_masks"][:, :, -1] = 0  # a normal frame
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        logits = graph(inputs)
        state = model.encode_support(inputs["support_images"], inputs["support_masks"])
        np.testing.assert_allclose(model.segment(state, inputs["query_images"]), logits, atol=1e-4)
        assert all(tensor.shape[0] == 1 and tensor.dtype == tf.float32 for tensor in state.values())
    model.compile()
    with tf.GradientTape() as tape:
        _, loss = model._episode_loss(inputs, tf.constant(labels), None, training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


SAVE = """
import sys, keras, numpy as np, panet_keras
data = np.load(sys.argv[1] + "/data.npz")
inputs = {k: data[k] for k in ("support_images", "support_masks", "query_images")}
for number in range(int(sys.argv[2])):
    model = keras.models.load_model(f"{sys.argv[1]}/{number}.keras")
    assert np.abs(model(inputs) - data[f"logits{number}"]).max() < 1e-5, number
"""


@pytest.mark.slow
def test_every_combination_is_saved_whole(tiny_encoder, episode, tmp_path, python):
    inputs, _ = episode(2, 2, 1, (32, 32))
    logits = {}
    for number, switches in enumerate(SWITCHES):
        model = build(tiny_encoder, switches)
        model.save(tmp_path / f"{number}.keras")
        logits[f"logits{number}"] = model(inputs)
    np.savez(tmp_path / "data.npz", **inputs, **logits)
    python(SAVE, tmp_path, len(SWITCHES))


@pytest.mark.parametrize("decoder", ["bilinear", "unet"])
def test_attention_and_refinement_begin_as_the_paper(tiny_encoder, episode, decoder):
    inputs, _ = episode(1, 2, 1)
    models = {}
    for prototype, refine in (("mean", False), ("attention", True)):
        models[prototype] = PANet(tiny_encoder(), decoder=decoder, prototype=prototype, refine=refine)
    if decoder == "unet":
        known = {variable.path: variable for variable in models["mean"].variables}
        for variable in models["attention"].variables:
            if variable.path in known:
                variable.assign(known[variable.path])
    np.testing.assert_allclose(models["mean"](inputs), models["attention"](inputs), atol=1e-4)


def test_attention_pools_what_the_query_asks_for():
    pooling = AttentionPooling(width=2)
    pooling.build(2)
    pooling.key.assign(np.eye(2) * 20)
    pooling.query.assign(np.eye(2))
    keys = tf.constant([[[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]]])
    pooled = pooling(keys, tf.constant([[[0.5, 0.5, 0.0]]]), tf.constant([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(pooled[0, :, 0], np.eye(2), atol=1e-4)  # and never what the mask leaves out
    np.testing.assert_array_equal(
        pooling(keys, tf.zeros((1, 1, 3)), tf.ones((1, 1, 2))), np.zeros((1, 1, 1, 2))
    )


def test_local_prototypes_find_each_half_of_a_two_coloured_lesion():
    """The mean of both halves is like neither; a local prototype is like each."""
    features = np.zeros((1, 1, 1, 16, 16, 3), "float32")
    features[..., 2] = 1
    features[:, :, :, 4:12, 4:8] = [1, 0, 0]
    features[:, :, :, 4:12, 8:12] = [0, 1, 0]
    mask = np.zeros((1, 1, 1, 16, 16), "float32")
    mask[..., 4:12, 4:12] = 1
    state = local_prototypes(tf.constant(features), tf.constant(mask), tf.constant(1 - mask))
    similarity = local_cosine(tf.constant(features[:, :, 0]), state)[0, 0]
    assert similarity[6, 5, 1] > 0.99 and similarity[6, 10, 1] > 0.99
    assert similarity[6, 5, 0] < 0.1 and similarity[0, 0, 0] > 0.99


def test_cell_average_is_exact_on_uneven_grids():
    maps = np.arange(10, dtype="float32").reshape(1, 10, 1, 1) * np.ones((1, 10, 6, 1), "float32")
    cells = cell_average(maps, 4).numpy().reshape(4, 4)
    np.testing.assert_allclose(
        cells[:, 0],
        [(0 + 1 + 2 * 0.5) / 2.5, (2 * 0.5 + 3 + 4) / 2.5, (5 + 6 + 7 * 0.5) / 2.5, 8.2],
        rtol=1e-5,
    )
