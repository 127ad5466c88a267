"""What a Keras user does without reading: callbacks in mode auto, `export`, `plot_model`, pictures as they
come from disk."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from panet_keras import CrossEntropyDice, PANet, PANetError

callbacks = keras.callbacks


@pytest.fixture(scope="module")
def compiled(tiny_encoder):
    model = PANet(tiny_encoder())
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    return model


def times(factor):
    return lambda x: x * factor


def not_a_number(x):
    x = x.copy()
    x[0, 0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "query_images",
            lambda x: (x * 255).astype(np.uint8),
            r"query_images has dtype uint8; expected floats in \[0, 1\]. Divide",
        ),
        (
            "support_images",
            times(255),
            r"support_images has values from 0.* to 25.*, 0 of them NaN; expected floats in \[0, 1\]",
        ),
        ("query_images", lambda x: x - 0.5, r"query_images has values from -0.4"),
        ("query_images", not_a_number, r"query_images has values from .*, 3 of them NaN"),
        (
            "support_masks",
            times(np.uint8(255)),
            r"support_masks has values from 0 to 255, .* 0 pixels of 1; .*tf.cast\(masks > 0",
        ),
        ("support_masks", times(np.uint8(3)), r"support_masks has values from 0 to 3"),
        (
            "support_masks",
            lambda x: x > 0,
            r"support_masks has dtype bool; .* tf.cast\(support_masks, tf.uint8",
        ),
        ("support_masks", lambda x: x[..., :16, :], r"support_masks .*expected one mask for each image"),
        ("support_masks", lambda x: np.repeat(x, 3, -1), r"expected 1 on its last axis"),
    ],
)
def test_values_are_checked_at_every_door(compiled, episode, name, change, message):
    inputs, labels = episode()
    inputs[name] = change(inputs[name])
    for door in (
        lambda: compiled(inputs),
        lambda: compiled.fit(inputs, labels, verbose=0),
        lambda: compiled.evaluate(inputs, labels, verbose=0),
        lambda: compiled.train_on_batch(inputs, labels),
        lambda: compiled.predict(inputs, verbose=0),
    ):
        with pytest.raises(PANetError, match=message):
            door()


def test_labels_and_masks_that_mean_something_pass(compiled, episode):
    inputs, labels = episode(ways=2)
    inputs["support_masks"][:, 0, :, :8] = 255
    labels[:, :, :8] = 255
    compiled.evaluate(inputs, labels, verbose=0)
    inputs["support_masks"][:] = 0  # only frames without lesion
    compiled.evaluate(inputs, np.zeros_like(labels), verbose=0)
    with pytest.raises(
        PANetError, match=r"the labels y have values from 0 to 4, 0 of them NaN, for 2 way\(s\)"
    ):
        compiled.evaluate(inputs, labels % 255 * 2, verbose=0)


def test_the_checks_add_no_operation_to_an_exported_graph(compiled, episode):
    inputs, _ = episode()
    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    graph = tf.function(lambda x: compiled(x)).get_concrete_function(specs).graph
    inside = {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert not {"Assert", "StringFormat"} & ({node.type for node in graph.get_operations()} | inside)


def test_data_without_end_is_refused_unless_the_steps_are_given(compiled, episode, records):
    from panet_keras.data import episodes

    data = tf.data.Dataset.from_tensors(episode())
    endless = episodes(records, size=(32, 32), frozen=True)
    with pytest.raises(
        PANetError,
        match=r"validation_data is a dataset without end, and validation_steps.*episodes\(..., steps=N\)",
    ):
        compiled.fit(data, validation_data=endless, verbose=0)
    with pytest.raises(PANetError, match="x is a dataset without end, and steps_per_epoch"):
        compiled.fit(endless, verbose=0)
    with pytest.raises(PANetError, match="evaluate would never end"):
        compiled.evaluate(endless, verbose=0)
    history = compiled.fit(data, validation_data=endless, validation_steps=1, verbose=0).history
    assert "val_dice" in history


def test_callbacks_know_that_more_dice_is_better(compiled, episode, tmp_path):
    data = tf.data.Dataset.from_tensors(episode())
    watching = [
        callbacks.EarlyStopping("val_dice"),
        callbacks.ReduceLROnPlateau("val_dice"),
        callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_dice", save_best_only=True),
    ]
    compiled.fit(data, validation_data=data, verbose=0, callbacks=watching)
    assert [callback.monitor_op.__name__ for callback in watching] == ["greater"] * 3


def test_a_monitor_that_no_metric_has_is_said_after_the_first_batch(compiled, episode):
    data = tf.data.Dataset.from_tensors(episode()).repeat(3)
    seen = []

    class Counter(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    stop = callbacks.EarlyStopping("val_dise", mode="max")
    with pytest.raises(
        PANetError, match=r"EarlyStopping\(monitor='val_dise'\): no metric .* Did you mean 'val_dice'"
    ):
        compiled.fit(data, validation_data=data, verbose=0, callbacks=[stop])
    with pytest.raises(PANetError, match="monitor='val_dice'.* Give fit validation_data"):
        compiled.fit(data, verbose=0, callbacks=[callbacks.EarlyStopping("val_dice")])
    # Another callback might still put it into the logs.
    with (
        pytest.warns(UserWarning, match="Did you mean 'val_dice'"),
        pytest.warns(UserWarning, match="Early stopping conditioned on metric `val_dise`"),
    ):
        compiled.fit(data, validation_data=data, verbose=0, callbacks=[stop, Counter()])
    assert seen == [0, 1, 2]


def test_export_needs_no_call_before(tiny_encoder, episode, tmp_path):
    model = PANet(tiny_encoder(), decoder="unet")
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    for size in ((32, 32), (48, 40)):
        inputs = {name: tf.constant(value) for name, value in episode(1, 2, 3, size)[0].items()}
        np.testing.assert_allclose(served.serve(inputs), model(inputs), atol=1e-5)


def test_plot_model_lacks_graphviz_at_most(compiled, tmp_path):
    try:
        keras.utils.plot_model(compiled, tmp_path / "model.png", expand_nested=True, show_shapes=True)
    except ImportError as error:
        assert "install graphviz" in str(error)
    else:
        assert (tmp_path / "model.png").stat().st_size > 0


def test_seven_segmenters_trace_without_a_warning(tiny_encoder):
    from panet_keras import FewShotSegmenter

    image, mask = np.zeros((32, 32), np.uint8), np.zeros((32, 32), bool)
    mask[8:16, 8:16] = True
    model, heard = PANet(tiny_encoder()), logging.Handler()
    records = []
    heard.emit = records.append
    tf.get_logger().addHandler(heard)
    try:
        for _ in range(7):
            FewShotSegmenter(model, size=(32, 32)).set_support([image], [mask]).predict(image)
    finally:
        tf.get_logger().removeHandler(heard)
    assert not [record.getMessage() for record in records if "retracing" in record.getMessage()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[..., 0], r"the labels y have shape \(1, 1, 32, 32\).*Add the last axis: y\[..., None\]"),
        (
            lambda y: y[:, :, :16],
            r"the labels y have shape \(1, 1, 16, 32, 1\), query_images \(1, 1, 32, 32, 3\)",
        ),
    ],
)
def test_labels_of_another_shape_are_refused(compiled, episode, change, message):
    inputs, labels = episode(size=(32, 32))
    with pytest.raises(PANetError, match=message):
        compiled.evaluate(inputs, change(labels), verbose=0)


def test_layers_that_somebody_froze_stay_frozen(tiny_encoder, episode, tmp_path):
    encoder = tiny_encoder()
    encoder.layers[1].trainable = False
    model = PANet(encoder, decoder="unet")
    model.encoder.layers[2].trainable = False
    model.compile(run_eagerly=True)
    model.save(tmp_path / "partly.keras")
    loaded = keras.models.load_model(tmp_path / "partly.keras")
    for one in (model, loaded):
        assert [layer.trainable for layer in one.encoder.layers] == [True, False, False, True, True]
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    # As in Keras' own step, a model whose weights are all frozen is scored.
    model.trainable = False
    model.compile(run_eagerly=True)
    inputs, labels = episode(size=(32, 32))
    before = model.get_weights()
    assert np.isfinite(model.train_on_batch(inputs, labels)[0])
    for was, weight in zip(before, model.get_weights()):
        np.testing.assert_array_equal(weight, was)


def test_keras_own_loss_trains_and_one_of_probabilities_is_refused(tiny_encoder, episode):
    model = PANet(tiny_encoder(), decoder="unet")
    own = keras.losses.SparseCategoricalCrossentropy
    name = "sparse_categorical_crossentropy"
    for loss in (name, keras.losses.sparse_categorical_crossentropy, own(), [name], (own(),)):
        with pytest.raises(PANetError, match=r"PANet gives logits; expected .*from_logits=True"):
            model.compile(loss=loss)
    inputs, labels = episode(size=(32, 32))
    # A list judges the reversed episode as its one loss does.
    losses = [CrossEntropyDice(dice_weight=0)]
    model.compile(loss=losses)
    assert model._episode_criterion is losses[0]
    model.compile(loss=own(from_logits=True), run_eagerly=True)
    # No query shows the way: the reversed episode has labels of 255 alone, which this loss does not know.
    logs = model.train_on_batch(inputs, np.zeros_like(labels), return_dict=True)
    assert np.isfinite(logs["loss"]) and logs["align_loss"] == 0


def test_weights_of_classes_are_those_of_pixels_for_arrays_and_data_sets(tiny_encoder, episode):
    """255 has the weight 1; the loss of a constant answer is log 2 in each pixel."""
    inputs, labels = episode(size=(32, 32))
    labels[:] = 0
    labels[:, :, :8], labels[:, :, 8:16] = 255, 1
    model = PANet(tiny_encoder(), decoder="unet", align_weight=0, contrast_weight=0)
    for variable in model.decoder.coarse.weights:
        variable.assign(np.zeros(variable.shape))
    model.compile(keras.optimizers.SGD(0.0), CrossEntropyDice(dice_weight=0), run_eagerly=True)
    weights = {0: 1.0, 1: 10.0}
    losses = [
        model.fit(inputs, labels, class_weight=weights, verbose=0).history["loss"][0],
        model.fit(tf.data.Dataset.from_tensors((inputs, labels)), class_weight=weights, verbose=0).history[
            "loss"
        ][0],
        model.train_on_batch(inputs, labels, class_weight=weights)[0],
    ]
    # One third of the counted pixels is lesion: (10 + 2 x 1) / 3.
    np.testing.assert_allclose(losses, np.log(2) * 4, rtol=1e-5)
    with pytest.raises(PANetError, match="class_weight beside sample_weight"):
        model.fit(inputs, labels, sample_weight=np.ones(1), class_weight=weights)
