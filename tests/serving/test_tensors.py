"""Values cross the doors exactly or are refused: JSON, TensorProto, sizes."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.api import tensors
from serving.api.json_tensors import parse, read_tensor
from serving.api.tensors import check_size, read_inputs, size_problem
from serving.errors import RpcError, status_of


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[0, 1], [255, 2.0]], tf.uint8, np.array([[0, 1], [255, 2]], np.uint8)),
        ([-128, 127], tf.int8, np.array([-128, 127], np.int8)),
        (2**62, tf.int64, np.array(2**62, np.int64)),
        ([1, 2.5, 10**30], tf.float32, np.array([1, 2.5, 1e30], np.float32)),
        ([True, False], tf.bool, np.array([True, False])),
        ([[]], tf.float32, np.zeros((1, 0), np.float32)),
        (["a", {"b64": "/w=="}], tf.string, np.array([b"a", b"\xff"], object)),
        # As `base64` prints it, and as TensorFlow Serving takes it, too.
        ([{"b64": "YWJj\n YQ==\n"}, {"b64": "/w"}], tf.string, np.array([b"abca", b"\xff"], object)),
        ([-65504, 1e-9], tf.float16, np.array([-65504, 0], np.float16)),
    ],
)
def test_json_becomes_exactly_these_tensors(value, dtype, expected):
    found = read_tensor("x", value, dtype)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (
            [[1], [1.5]],
            tf.uint8,
            r"input x: not a uint8 tensor \(1.5 is no uint8; expected whole numbers from 0 to 255\)",
        ),
        ([1, -1], tf.uint8, "-1 is no uint8; expected whole numbers from 0 to 255"),
        ([256], tf.uint8, "256 is no uint8"),
        ([10**30], tf.uint8, r"1e\+30 is no uint8"),
        ([float("inf")], tf.int32, "inf is no int32; expected whole numbers from -2147483648 to 2147483647"),
        ([1, True], tf.uint8, "found true; expected numbers alone"),
        ([1.0, None], tf.float32, "found null; expected numbers alone"),
        (["1.0"], tf.float32, 'found "1.0"; expected numbers alone'),
        ([{"b64": ""}], tf.float32, "expected numbers alone"),
        ([[1], 2], tf.float32, "not a float32 tensor"),
        ([1, [2]], tf.float32, "expected numbers alone"),
        ([1, 0], tf.bool, "found 1; expected true and false alone"),
        ([1], tf.string, "found int; expected a string"),
        (["a", ["b"]], tf.string, "lists of different lengths or depths"),
        ([["a"], ["b", "c"]], tf.string, "lists of different lengths or depths"),
        ([{"b64": "?"}], tf.string, "'[?]' and is no base64; expected letters, digits, . and /"),
        ([{"b64": "_-8="}], tf.string, "'_-8=' and is no base64; .*not - and _"),
        (
            [{"b64": "data:image/png;base64,YWJj"}],
            tf.string,
            '"b64" begins with .data.*without "data:" before',
        ),
        ([{"b64": 5}], tf.string, '"b64" holds 5; expected a string'),
        ([1, 1e39], tf.float32, r"1e.39 is no float32; expected numbers from -3.40282e.38 to 3.40282e.38"),
        ([1, float("inf")], tf.float32, "inf is no float32"),
        ([70000], tf.float16, r"7e.04 is no float16; expected numbers from -65504 to 65504"),
    ],
)
def test_json_that_is_no_such_tensor_is_refused(value, dtype, message):
    with pytest.raises(RpcError, match=message):
        read_tensor("x", value, dtype)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 50_000 + b"]" * 50_000, "nested too deep"),
        (b'{"a":' * 50_000, "nested too deep"),
        (b'{"a": ' + b"9" * 1_000_000 + b"}", "JSON Parse error: .*4300 digits"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is no number of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        (b'{"a": "\xff"}', "JSON Parse error"),
        (b"", "JSON Parse error"),
        (b"[]", "a JSON list; expected an object"),
    ],
)
def test_bodies_that_are_no_json_object_are_refused(body, message):
    with pytest.raises(RpcError, match=message):
        parse(bytearray(body))


def proto(dtype, shape, **values):
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def read(tensor):
    """The tensor through the door, for a signature that takes its type and any shape of as many axes."""
    from tensorflow.core.protobuf import meta_graph_pb2

    info = meta_graph_pb2.TensorInfo(dtype=tensor.dtype)
    for _ in tensor.tensor_shape.dim:
        info.tensor_shape.dim.add(size=-1)
    return read_inputs({"x": tensor}, {"x": info})["x"]


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (proto(tf.uint8, [3], int_val=[0, 7, 255]), [0, 7, 255]),
        (proto(tf.uint8, [3], int_val=[7]), [7, 7, 7]),  # TensorFlow leaves out repeated values
        (proto(tf.uint8, [2], tensor_content=b"\x01\xff"), [1, 255]),
        (proto(tf.float32, [2], float_val=[0.5, 1]), [0.5, 1]),
        (proto(tf.bool, [2], bool_val=[True, False]), [True, False]),
        (proto(tf.string, [1], string_val=[b"a"]), [b"a"]),
        (proto(tf.float32, [0]), []),
    ],
)
def test_tensor_protos_are_read(tensor, expected):
    np.testing.assert_array_equal(read(tensor).numpy(), expected)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            proto(tf.uint8, [1], int_val=[300]),
            "input x .*300 is no uint8; expected whole numbers from 0 to 255",
        ),
        (proto(tf.uint8, [2], int_val=[1, -1]), "-1 is no uint8"),
        (proto(tf.int8, [1], int_val=[128]), "128 is no int8; expected whole numbers from -128 to 127"),
        (
            proto(tf.float32, [1], double_val=[0.5]),
            "its values are in double_val; those of a float32 tensor belong in float_val or tensor_content",
        ),
        (proto(tf.float32, [1], half_val=[1]), "its values are in half_val"),
        (
            proto(tf.uint8, [1], int64_val=[1]),
            "its values are in int64_val; those of a uint8 tensor belong in int_val",
        ),
        (
            proto(tf.bool, [1], int_val=[1]),
            "its values are in int_val; those of a bool tensor belong in bool_val",
        ),
        (proto(tf.uint8, [1], bool_val=[True]), "its values are in bool_val"),
        (
            proto(tf.string, [1], tensor_content=b"abc"),
            "its values are in tensor_content; .*belong in string_val",
        ),
        (proto(tf.float32, [1], float_val=[1], double_val=[2]), "its values are in float_val and double_val"),
        (
            proto(tf.float32, [1], float_val=[1], tensor_content=b"abcd"),
            "its values are in float_val and tensor_content",
        ),
        (proto(tf.float32, [1]), "it has no values"),
        (proto(tf.float32, [2], float_val=[1, 2, 3]), "it has 3 values; expected 2, as its shape says"),
        (proto(tf.float32, [0], float_val=[1]), "it has 1 values; expected 0"),
        (proto(tf.float32, [2], tensor_content=b"abcd"), "it has 4 bytes; expected 8: 2 numbers of float32"),
        (proto(tf.string, [1], string_val=[b"a", b"b"]), "it has 2 values; expected 1"),
        (proto(tf.float16, [1], half_val=[70000]), "70000 is no uint16; expected whole"),
    ],
)
def test_values_in_the_wrong_field_or_out_of_range_are_refused(tensor, message):
    with pytest.raises(RpcError, match=message):
        read(tensor)


def test_an_input_of_unknown_rank_takes_any_shape():
    from tensorflow.core.protobuf import meta_graph_pb2

    info = meta_graph_pb2.TensorInfo(dtype=tf.float32.as_datatype_enum)
    info.tensor_shape.unknown_rank = True
    for shape in ([], [2], [1, 2]):
        tensor = proto(tf.float32, shape, float_val=[0.5])
        assert read_inputs({"x": tensor}, {"x": info})["x"].shape == shape
    tensor.tensor_shape.unknown_rank = True
    with pytest.raises(RpcError, match=r"input x has shape \[1, 2\]; expected"):
        read_inputs({"x": tensor}, {"x": info})


STATE = {"keys_1": [1, 1, 256, 64], "masks_1": [1, 1, 256], "model_version": [1]}


def test_encoded_pictures_count_with_the_size_they_are_brought_to(monkeypatch):
    monkeypatch.setattr(tensors, "MAX_PIXELS", 100 * 64 * 64)
    shapes = {**STATE, "query_bytes": [1, 100]}
    assert size_problem(shapes, (64, 64)) is None
    assert "413,696 pixels; the limit is 409,600" in size_problem(
        {**STATE, "query_bytes": [1, 101]}, (64, 64)
    )
    # 100 pictures of 8 x 8 cells against 256 keys: 6400 * 256 * 16 bytes.
    monkeypatch.setattr(tensors, "MAX_MATCHING_BYTES", 6400 * 256 * 16)
    assert size_problem(shapes, (64, 64)) is None
    with pytest.raises(
        RpcError, match="comparing the queries with the supports would take about 26,624,000 bytes"
    ):
        check_size({**shapes, "keys_1": [1, 1, 260, 64]}, (64, 64))


def test_the_keys_of_a_kept_support_set_count(monkeypatch):
    from tensorflow.core.protobuf import meta_graph_pb2

    kept = {"keys_1": tf.zeros([1, 1, 256, 64])}
    info = {
        "query_bytes": meta_graph_pb2.TensorInfo(dtype=tf.string.as_datatype_enum),
        "keys_1": meta_graph_pb2.TensorInfo(),
    }
    for _ in range(2):
        info["query_bytes"].tensor_shape.dim.add(size=-1)
    given = {"query_bytes": proto(tf.string, [2, 1], string_val=[b"a", b"b"])}
    assert read_inputs(given, info, (kept, 2), (64, 64))["keys_1"].shape == (2, 1, 256, 64)
    monkeypatch.setattr(tensors, "MAX_ELEMENTS", 2 * 256 * 64)
    with pytest.raises(RpcError, match=r"32,770 elements; the limit is 32,768"):
        read_inputs(given, info, (kept, 2), (64, 64))


def test_bytes_in_a_message_are_readable():
    """TensorFlow's text of an error has the bytes of the request in it; pybind then raises
    UnicodeDecodeError."""
    with pytest.raises(UnicodeDecodeError) as caught:
        b"assertion failed: [not a picture; it begins with GIF89a\xac]".decode()
    code, message = status_of(caught.value)
    assert code.name == "INVALID_ARGUMENT" and message.endswith(r"it begins with GIF89a\xac]")
