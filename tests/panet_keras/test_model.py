import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from panet_keras import CrossEntropyDice, PANet

DECODERS = ("bilinear", "unet")


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_graph_serves_any_ways_shots_queries_and_size(tiny_encoder, episode, decoder):
    model = PANet(tiny_encoder(), decoder=decoder)
    spec = {
        "support_images": tf.TensorSpec([None] * 5 + [3]),
        "support_masks": tf.TensorSpec([None] * 5 + [1], tf.uint8),
        "query_images": tf.TensorSpec([None] * 4 + [3]),
    }
    graph = tf.function(lambda inputs: model(inputs), input_signature=[spec])
    for ways, shots, queries, size in ((1, 1, 1, (48, 48)), (2, 3, 2, (50, 77))):
        inputs, _ = episode(ways, shots, queries, size)
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        logits = graph(inputs)
        assert logits.shape == (1, queries, *size, ways + 1) and logits.dtype == tf.float32
        np.testing.assert_allclose(logits, model(inputs), atol=1e-4)
        state = model.encode_support(inputs["support_images"], inputs["support_masks"])
        np.testing.assert_allclose(model.segment(state, inputs["query_images"]), logits, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_gradients_reach_every_weight(tiny_encoder, episode, decoder):
    model = PANet(tiny_encoder(), decoder=decoder)
    model.compile()
    inputs, labels = episode(2, 2, 2)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    # The decoder's last convolution starts at zero, which holds back the gradient of those before it.
    for variable in model.trainable_variables:
        if "correction" in variable.path:
            variable.assign(tf.random.stateless_normal(variable.shape, [0, 1]) * 0.1)
    with tf.GradientTape() as tape:
        logits, losses = model._episode(inputs, True, tf.constant(labels))
        loss = model.loss(labels, logits) + sum(losses.values())
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
        # The deepest scales do not feed the paper's matching where it stops at stride 16.
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


def test_alignment_can_be_switched_off(tiny_encoder, episode):
    inputs, labels = episode()
    with_it, without = PANet(tiny_encoder()), PANet(tiny_encoder(), align_weight=0)
    for model in (with_it, without):
        model.compile()
    first, second = (m.evaluate(inputs, labels, verbose=0, return_dict=True) for m in (with_it, without))
    assert first["align_loss"] > 0 and second["align_loss"] == 0
    np.testing.assert_allclose(first["loss"], second["loss"] + first["align_loss"], rtol=1e-5)


def test_unet_alignment_is_the_loss_of_the_episode_read_backwards(model, episode):
    inputs, labels = episode(2, 3, 2, (48, 64))
    inputs["support_masks"][:, 1, 0, :8] = 255
    labels[labels == 2] = 0  # no query shows the second way: it adds nothing
    labels[:, :, 40:] = 255
    _, losses = model._episode(
        {name: tf.constant(x) for name, x in inputs.items()}, False, tf.constant(labels)
    )
    backwards = {
        "support_images": inputs["query_images"][:, None],
        "support_masks": labels[:, None],
        "query_images": inputs["support_images"][:, 0],
    }
    cross_entropy, dice = (CrossEntropyDice(*weights) for weights in ((1, 0), (0, 1)))
    truth, logits = inputs["support_masks"][:, 0], model(backwards)
    expected = cross_entropy(truth, logits) + dice(truth, logits) / 2
    np.testing.assert_allclose(losses["align_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("support_masks"), "expected a dictionary with exactly the keys"),
        (
            lambda x: x.update(query_images=x["query_images"][0]),
            r"query_images has shape .* expected \[B, Q, H, W, 3\]",
        ),
    ],
)
def test_wrong_inputs_are_refused_by_name(model, episode, change, message):
    inputs, _ = episode()
    change(inputs)
    with pytest.raises(ValueError, match=message):
        model(inputs)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("decoder", "fpn"),
        ("prototype", "median"),
        ("refine", 2),
        ("prior_masks", 2),
        ("align_weight", -1),
        ("contrast_weight", -1),
        ("temperature", 0),
    ],
)
def test_wrong_switches_are_refused_with_the_known_values(tiny_encoder, argument, value):
    with pytest.raises(ValueError, match=f"{argument}=.*expected"):
        PANet(tiny_encoder(), **{"decoder": "unet", argument: value})


def weight_change(policy, decoder, tiny_encoder, episode):
    keras.config.set_dtype_policy(policy)
    try:
        model = PANet(tiny_encoder(3), decoder=decoder)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.SGD(1.0)
    if policy == "mixed_float16":
        # Keras would begin at 32768, overflow here, skip the step and halve; a test of one step begins where
        # it would end.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=256)
    model.compile(optimizer=optimizer, run_eagerly=decoder == "unet")  # one step is not worth a trace
    inputs, labels = episode(1, 1, 2, (32, 32))
    before = [v.numpy() for v in model.trainable_variables]
    logs = model.train_on_batch(inputs, labels, return_dict=True)
    assert model(inputs).dtype == tf.float32
    return np.concatenate([(v.numpy() - b).ravel() for v, b in zip(model.trainable_variables, before)]), logs[
        "loss"
    ]


@pytest.mark.parametrize("decoder", DECODERS)
def test_mixed_precision_updates_are_not_scaled_away(tiny_encoder, episode, decoder):
    """Without `scale_loss` the float16 step would be 1/256 of the right one."""
    full, loss = weight_change("float32", decoder, tiny_encoder, episode)
    half, half_loss = weight_change("mixed_float16", decoder, tiny_encoder, episode)
    assert np.linalg.norm(half - full) < 0.05 * np.linalg.norm(full)
    np.testing.assert_allclose(half_loss, loss, rtol=0.02)  # logged unscaled


def batches(episode, count=4, weights=None):
    parts = [episode(seed=i) for i in range(count)]
    for number, (_, labels) in enumerate(parts):
        labels[:, :, number * 16 :] = 0  # clearly different losses
    inputs = {name: np.concatenate([p[0][name] for p in parts]) for name in parts[0][0]}
    labels = np.concatenate([p[1] for p in parts])
    data = (inputs, labels) if weights is None else (inputs, labels, np.full((count,), weights, "float32"))
    return tf.data.Dataset.from_tensor_slices(data).batch(1)


def test_history_holds_epoch_means_and_validation(tiny_encoder, episode):
    model = PANet(tiny_encoder())
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    data = batches(episode)
    history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
    names = {"loss", "align_loss", "contrast_loss", "dice"}
    assert set(history) == names | {f"val_{name}" for name in names}
    single = [model.evaluate(data.skip(i).take(1), verbose=0, return_dict=True) for i in range(4)]
    assert len({round(row["loss"], 4) for row in single}) == 4
    evaluated = model.evaluate(data, verbose=0, return_dict=True)
    for name in names:
        mean = np.mean([row[name] for row in single])
        np.testing.assert_allclose(history[name], [mean, mean], rtol=1e-5)
        np.testing.assert_allclose(history[f"val_{name}"][-1], evaluated[name], rtol=1e-5)


def test_class_and_sample_weights_are_honoured(tiny_encoder, episode):
    def first_loss(data, **kwargs):
        model = PANet(tiny_encoder(), align_weight=0)
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss=CrossEntropyDice(dice_weight=0))
        return model.fit(data, verbose=0, **kwargs).history["loss"][0]

    plain = first_loss(batches(episode))
    assert first_loss(batches(episode), class_weight={0: 1.0, 1: 10.0}) > 2 * plain
    assert first_loss(batches(episode, weights=0.0)) == 0.0
    np.testing.assert_allclose(first_loss(batches(episode, weights=3.0)), 3 * plain, rtol=1e-5)


def test_one_pixel_and_empty_masks_leave_finite_weights(tiny_encoder, episode):
    for decoder, pixels in itertools.product(DECODERS, (0, 1)):
        model = PANet(tiny_encoder(), decoder=decoder)
        model.compile(run_eagerly=True)
        inputs, labels = episode(1, 2, 1)
        inputs["support_masks"][:, :, 0] = 0
        inputs["support_masks"][:, :, 0, 31, 31] = pixels
        model.fit(inputs, labels, verbose=0)
        assert all(np.isfinite(v.numpy()).all() for v in model.variables)
        assert np.isfinite(model(inputs)).all()


SAVE = """
import math, sys, keras, numpy as np
folder, count = sys.argv[1], int(sys.argv[2])
try:
    keras.models.load_model(folder + "/0.keras")
    raise AssertionError("loaded without the library")
except TypeError as error:
    assert "make sure they are all imported" in str(error), error
import panet_keras
data = np.load(folder + "/data.npz")
inputs = {k: data[k] for k in ("support_images", "support_masks", "query_images")}
for number in range(count):
    model = keras.models.load_model(f"{folder}/{number}.keras")
    assert np.abs(model(inputs) - data[f"logits{number}"]).max() < 1e-6, number
    assert int(model.optimizer.iterations) == 1, model.optimizer.iterations
    logs = model.fit(inputs, data["labels"], verbose=0).history
    assert ("align_loss" in logs) and int(model.optimizer.iterations) == 2
    assert math.isfinite(logs["loss"][0])
"""


def test_saved_model_works_where_our_objects_never_were(tiny_encoder, episode, tmp_path, python):
    inputs, labels = episode(1, 2, 1, (32, 32))
    logits = {}
    for number, switches in enumerate(
        (
            {"decoder": "bilinear", "align_weight": 1.0},
            {"decoder": "bilinear", "align_weight": 0.0},
            {"decoder": "unet", "align_weight": 0.5},
        )
    ):
        model = PANet(tiny_encoder(), **switches)
        model.compile()
        model.fit(inputs, labels, verbose=0)
        model.save(tmp_path / f"{number}.keras")
        logits[f"logits{number}"] = model(inputs)
    np.savez(tmp_path / "data.npz", **inputs, labels=labels, **logits)
    python(SAVE, tmp_path, len(logits))


def test_pretrained_encoder_learns_more_slowly(tiny_encoder, episode):
    from panet_keras import PretrainedAdamW

    model = PANet(tiny_encoder(), decoder="unet", encoder_rate=0.0)
    model.compile(optimizer=PretrainedAdamW(1e-2, weight_decay=0.1), run_eagerly=True)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    inputs, labels = episode()
    model.fit(inputs, labels, epochs=2, verbose=0)
    for variable in model.encoder.trainable_variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    assert any(np.abs(v.numpy() - before[v.path]).max() > 1e-3 for v in model.decoder.trainable_variables)


@pytest.mark.parametrize("decoder", ["bilinear", "unet"])
def test_temperature_softens_probabilities_and_leaves_training_and_masks_alone(
    tiny_encoder, episode, decoder
):
    inputs, labels = episode(1, 1, 1)
    keras.utils.set_random_seed(0)
    plain = PANet(tiny_encoder(), decoder=decoder)
    softer = PANet(tiny_encoder(), decoder=decoder, temperature=4.0)
    softer.set_weights(plain.get_weights())
    np.testing.assert_allclose(softer(inputs) * 4.0, plain(inputs), rtol=1e-5)
    state = softer.encode_support(inputs["support_images"], inputs["support_masks"])
    np.testing.assert_allclose(
        softer.segment(state, inputs["query_images"]), softer(inputs), rtol=1e-4, atol=1e-5
    )
    for model in (plain, softer):
        model.compile(run_eagerly=decoder == "unet")
    assert softer.evaluate(inputs, labels, return_dict=True) == pytest.approx(
        plain.evaluate(inputs, labels, return_dict=True)
    )
    assert PANet.from_config(softer.get_config()).temperature == 4.0
    # One that is set between two calls is seen by the second, whose graph was traced with the first.
    before = softer.predict(inputs, verbose=0)
    softer.temperature = 2.0
    np.testing.assert_allclose(softer.predict(inputs, verbose=0), 2.0 * before, rtol=1e-5)
    with pytest.raises(ValueError, match="temperature=0"):
        softer.temperature = 0
