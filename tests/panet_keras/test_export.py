import json
import math

import numpy as np
import pytest
import tensorflow as tf

from panet_keras import PANet, PANetError, export_saved_model
from panet_keras.pictures.decode import encode_png

STATE = {"prototypes_0", "prototypes_1", "keys_1", "masks_1", "model_version"}
SUPPORT = {"support_images", "support_masks"}
ANSWER = {"probabilities", "masks", "presence"}

FRESH = """
import sys, numpy as np, tensorflow as tf
assert "panet_keras" not in sys.modules
signatures = tf.saved_model.load(sys.argv[1]).signatures
for name, signature in sorted(signatures.items()):
    print(name, sorted(signature.structured_input_signature[1]), sorted(signature.structured_outputs))
for i in (0, 1):
    data = np.load(f"{sys.argv[2]}/{i}.npz")
    given = {k: tf.constant(data[k]) for k in ("support_images", "support_masks", "query_images")}
    answer = signatures["serving_default"](**given)
    np.testing.assert_allclose(answer["probabilities"], data["probabilities"], atol=1e-5)
    assert answer["masks"].dtype == tf.uint8
    assert (answer["masks"].numpy() == data["probabilities"].argmax(-1)).mean() > 0.999
    state = signatures["encode_support"](support_images=given["support_images"], support_masks=given["support_masks"])
    assert all(tensor.shape[0] == 1 for tensor in state.values())
    again = signatures["segment"](**state, query_images=given["query_images"])
    np.testing.assert_allclose(again["probabilities"], data["probabilities"], atol=1e-5)
"""


def test_signatures_in_a_process_that_never_saw_the_library(model, saved_model, episode, tmp_path, python):
    for i, sizes in enumerate(((1, 1, 1, (48, 48)), (2, 3, 2, (64, 96)))):
        inputs, _ = episode(*sizes)
        probabilities = tf.nn.softmax(model({k: tf.constant(v) for k, v in inputs.items()})).numpy()
        np.savez(tmp_path / f"{i}.npz", **inputs, probabilities=probabilities)
    lines = python(FRESH, saved_model, tmp_path, cwd=tmp_path).stdout.splitlines()
    assert lines == [
        f"encode_support {sorted(SUPPORT)} {sorted(STATE)}",
        f"segment {sorted(STATE | {'query_images'})} {sorted(ANSWER)}",
        f"segment_encoded {sorted(STATE | {'query_bytes'})} {sorted(ANSWER | {'presence_threshold'})}",
        f"serving_default {sorted(SUPPORT | {'query_images'})} {sorted(ANSWER)}",
    ]


@pytest.fixture(scope="module")
def signatures(saved_model):
    return tf.saved_model.load(str(saved_model)).signatures


def tensors(episode, *sizes):
    inputs, _ = episode(*sizes)
    return {name: tf.constant(value) for name, value in inputs.items()}


def test_bad_tensors_are_refused_in_the_graph(signatures, episode):
    call = signatures["serving_default"]
    inputs = tensors(episode, 1, 2)
    empty = inputs["support_masks"].numpy()
    empty[:] = 0
    for change, message in (
        (
            {"support_masks": tf.constant(empty)},
            r"no pixel of any shot equals 1 \(foreground\) at \[episode, way\]",
        ),
        ({"query_images": inputs["query_images"] * 255}, "expected finite values in"),
        ({"support_images": inputs["support_images"] * np.nan}, "expected finite values in"),
        ({"support_masks": inputs["support_masks"][..., :32, :32, :]}, "resize the masks"),
        ({"support_masks": inputs["support_masks"] * 255}, "255 means ignore here and 1 is foreground"),
        (
            {"support_masks": inputs["support_masks"] * 99 + 1},
            r"values from\] \[1\] \[to\] \[100\].*expected 0 \(background\), 1",
        ),
        (
            {
                "support_images": inputs["support_images"][:, :, :0],
                "support_masks": inputs["support_masks"][:, :, :0],
            },
            "one shot",
        ),
        ({"query_images": inputs["query_images"][:, :0]}, "at least one query"),
        (
            {"query_images": tf.repeat(inputs["query_images"], 3, 0)},
            r"has B =\] \[3\].*support_images B =\] \[1",
        ),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(**{**inputs, **change})


def test_a_state_of_another_model_is_refused(signatures, episode):
    inputs = tensors(episode)
    queries = inputs.pop("query_images")
    state = signatures["encode_support"](**inputs)
    state["model_version"] = tf.constant(["0123456789abcdef"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="support state is of model.*0123456789abcdef"):
        signatures["segment"](**state, query_images=queries)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state["keys_1"] * np.nan, r"NaN or infinity in\] \[keys_1\]"),
        (lambda state: state["keys_1"][:, :, :0], r"no value in\] \[keys_1\]"),
        (
            lambda state: tf.repeat(state["keys_1"], 2, 0),
            r"query_images has B =\] \[1\].*the support state B =\] \[2 1 1 1\]",
        ),
    ],
)
def test_a_damaged_state_is_refused_by_name(signatures, episode, spoil, message):
    inputs = tensors(episode)
    queries = inputs.pop("query_images")
    state = signatures["encode_support"](**inputs)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["segment"](**{**state, "keys_1": spoil(state)}, query_images=queries)


def test_the_threshold_and_what_else_the_answer_depends_on_travel_with_the_export(model, tmp_path, episode):
    """Two ways: the one below the threshold gets no pixel, and the frame's pixels go to the other or to the
    background."""
    inputs = tensors(episode, 2, 1, 3, (40, 56))
    probabilities = tf.nn.softmax(model(inputs)).numpy()
    flat = np.sort(probabilities.reshape(3, -1, 3), 1)
    presence = flat[:, -2:, 1:].mean(1)  # round(0.001 * 40 * 56) = 2 pixels
    threshold = float(presence.min() + presence.max()) / 2
    seen = np.concatenate([np.ones((3, 1), bool), presence >= threshold], 1)
    assert seen[:, 1:].any() and not seen[:, 1:].all()
    path = export_saved_model(model, tmp_path / "1", (32, 48), presence_threshold=threshold)
    loaded = tf.saved_model.load(str(path)).signatures
    answer = loaded["serving_default"](**inputs)
    np.testing.assert_allclose(answer["presence"][0], presence, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"][0], probabilities[0], atol=1e-5)
    expected = np.where(seen[:, None, None], probabilities[0], -1).argmax(-1)
    assert (answer["masks"][0].numpy() == expected).mean() > 0.999 and (
        probabilities[0].argmax(-1) != expected
    ).any()
    state = loaded["encode_support"](
        support_images=inputs["support_images"], support_masks=inputs["support_masks"]
    )
    pictures = tf.repeat([[encode_png(np.zeros((50, 70, 3), np.uint8))]], 2, 1)
    encoded = loaded["segment_encoded"](**state, query_bytes=pictures)
    assert encoded["presence"].shape == (1, 2, 2) and encoded["presence_threshold"].numpy() == [
        np.float32(threshold)
    ]
    assert loaded["segment_encoded"].structured_outputs["probabilities"].shape[2:4] == (32, 48)
    facts = json.loads((path / "assets.extra" / "panet.json").read_text())
    facts.pop("model_version")
    assert facts == {
        "image_size": [32, 48],
        "temperature": 1.0,
        "presence_threshold": threshold,
        "warm_up_requests": 4,
        "weights_dtype": "float32",
    }
    with pytest.raises(PANetError, match="presence_threshold=7; expected a probability"):
        export_saved_model(model, tmp_path / "2", presence_threshold=7)


def test_every_weight_is_stored_once(model, saved_model):
    stored = tf.train.list_variables(str(saved_model / "variables" / "variables"))
    numbers = [math.prod(shape) for name, shape in stored if name.endswith("VARIABLE_VALUE")]
    assert sum(numbers) == sum(math.prod(weight.shape) for weight in model.weights)


def test_no_python_and_no_custom_operation_is_inside(saved_model):
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    operations = {n.op for f in graph.library.function for n in f.node_def} | {n.op for n in graph.node}
    assert not {op for op in operations if "PyFunc" in op}
    known = {name for name in dir(tf.raw_ops)}
    functions = {f.signature.name for f in graph.library.function}
    assert not operations - known - functions


def test_bilinear_decoder_exports_its_prototypes(tiny_encoder, tmp_path, episode):
    path = export_saved_model(PANet(tiny_encoder()), tmp_path / "paper", (32, 32))
    inputs = tensors(episode)
    inputs.pop("query_images")
    state = tf.saved_model.load(str(path)).signatures["encode_support"](**inputs)
    assert set(state) == {"prototypes", "model_version"} and state["prototypes"].shape == (1, 2, 16)
    with pytest.raises(FileExistsError, match="paper exists"):
        export_saved_model(PANet(tiny_encoder()), path)
    assert [p.name for p in tmp_path.iterdir()] == ["paper"], "something half-written was left"


def test_float16_export_has_half_the_bytes_and_nearly_the_same_answer(
    model, saved_model, signatures, tmp_path, episode
):
    half = export_saved_model(model, tmp_path / "half", (32, 32), weights_dtype="float16")
    inputs, halved = tensors(episode), tf.saved_model.load(str(half)).signatures
    answers = [loaded["serving_default"](**inputs) for loaded in (signatures, halved)]
    difference = np.abs(answers[0]["probabilities"] - answers[1]["probabilities"]).max()
    assert 0 < difference < 0.01
    sizes = [
        (path / "variables" / "variables.data-00000-of-00001").stat().st_size for path in (saved_model, half)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    state = signatures["encode_support"](
        support_images=inputs["support_images"], support_masks=inputs["support_masks"]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="support state is of model"):
        halved["segment"](**state, query_images=inputs["query_images"])
    with pytest.raises(PANetError, match="int8"):
        export_saved_model(model, tmp_path / "other", weights_dtype="int8")
