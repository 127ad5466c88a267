"""TensorProtos to tensors and back, checked against the signature, with as few copies as may be."""

import math

import numpy as np
import tensorflow as tf

from serving.errors import RpcError

MAX_PIXELS = 50_000_000
"""Of all images of a request: 96 supports of 606 x 856 pixels, 0.6 GB as float32."""
MAX_ELEMENTS = 200_000_000
"""Of all tensors of a request."""
MAX_PICTURES = 256
"""Encoded pictures of a request."""
MAX_MATCHING_BYTES = 4 << 30
"""Memory that comparing every query pixel with every support pixel may take."""
MATCHING_STRIDE = 8
"""Finest scale at which the U-Net decoder compares pixels with pixels."""


FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}
"""Where a TensorProto keeps the values of a type; numbers may be in `tensor_content` instead."""
HOLDERS = (*dict.fromkeys(FIELDS.values()), "tensor_content")


def read_inputs(given, expected, state=None, image_size=None):
    """Tensors by alias, their names, types, shapes and sizes checked before anything is copied.

    Args:
        given: map of alias to TensorProto. expected: map of alias to TensorInfo.
        state: (dictionary of alias to tensor with B = 1, B) of a support set that the server keeps; it takes
            the place of these inputs. image_size: (height, width) to which encoded pictures are brought, for
            their memory.

    Raises:
        RpcError: INVALID_ARGUMENT, naming the aliases, type, shape or limit that was expected.
    """
    kept, count = state or ({}, 0)
    check_names(given, {alias for alias in expected if alias not in kept})
    shapes = {alias: _checked_shape(alias, proto, expected[alias]) for alias, proto in given.items()}
    check_size(shapes | {alias: [count, *tensor.shape[1:]] for alias, tensor in kept.items()}, image_size)
    tensors = {alias: _tensor(alias, proto, shapes[alias]) for alias, proto in given.items()}
    return tensors | {alias: tf.repeat(tensor, count, 0) for alias, tensor in kept.items()}


def check_names(given, expected):
    """Refuses inputs that are missing or unknown; lists what the signature has.

    Raises:
        RpcError: INVALID_ARGUMENT.
    """
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if not missing and not unknown:
        return
    message = (
        f"input size does not match signature: {len(given)}!={len(expected)}; missing {missing}, unknown "
        f"{[name[:100] for name in unknown[:20]]}; expected exactly {sorted(expected)}."
    )
    if "model_version" in missing:
        message += (
            " The state is what the signature encode_support answers: call it once with support_images and support_masks, and send "
            "all its outputs along with each query; or name a set that the server keeps (--support_dir) as support_set."
        )
    raise RpcError.invalid(message)


def _checked_shape(alias, proto, info):
    if proto.dtype != info.dtype:
        raise RpcError.invalid(f"input {alias} has type {_type(proto.dtype)}; expected {_type(info.dtype)}.")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    wanted = [dim.size for dim in info.tensor_shape.dim]
    fits = len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted))
    fits = fits or info.tensor_shape.unknown_rank
    if proto.tensor_shape.unknown_rank or not fits or min(shape, default=1) < 0:
        readable = ["?" if size == -1 else size for size in wanted]
        raise RpcError.invalid(f"input {alias} has shape {shape}; expected {readable}.")
    return shape


def check_size(shapes, image_size=None):
    """Refuses a request that would take too much memory, by shapes alone.

    Args:
        shapes: dictionary of alias to shape, as in the signatures of `panet_keras.export_saved_model`.
        image_size: (height, width) to which encoded pictures are brought; None leaves their pixels out.

    Raises:
        RpcError: INVALID_ARGUMENT with what came and the limit.
    """
    problem = size_problem(shapes, image_size)
    if problem:
        raise RpcError.invalid(problem)


def size_problem(shapes, image_size=None):
    """What `check_size` refuses, as a message; None where nothing is too large."""
    pixels = {alias: math.prod(shape[:-1]) for alias, shape in shapes.items() if alias.endswith("_images")}
    pictures = sum(math.prod(shape) for alias, shape in shapes.items() if alias.endswith("_bytes"))
    if pictures > MAX_PICTURES:
        return f"the request has {pictures} pictures; the limit is {MAX_PICTURES}. Send fewer at once."
    if image_size:
        pixels["query_bytes"] = pictures * math.prod(image_size)
    if sum(pixels.values()) > MAX_PIXELS:
        return f"the images have {sum(pixels.values()):,} pixels; the limit is {MAX_PIXELS:,}. Send fewer or smaller ones."
    elements = sum(math.prod(shape) for shape in shapes.values())
    if elements > MAX_ELEMENTS:
        return f"the inputs have {elements:,} elements; the limit is {MAX_ELEMENTS:,}. Send fewer shots or queries at once."
    support = pixels.get("support_images", 0) / MATCHING_STRIDE**2
    keys = [math.prod(shape[:-1]) for alias, shape in shapes.items() if alias.startswith("keys")]
    support = max([support, *keys])
    query = (pixels.get("query_images", 0) + pixels.get("query_bytes", 0)) / MATCHING_STRIDE**2
    episodes = max(
        1, next((shapes[alias][0] for alias in ("query_images", "query_bytes") if alias in shapes), 1)
    )
    # Correlation, its soft-max and its masked copies, float32 each.
    needed = int(support * query / episodes * 4 * 4)
    if needed > MAX_MATCHING_BYTES:
        return (
            f"comparing the queries with the supports would take about {needed:,} bytes; the limit is {MAX_MATCHING_BYTES:,}. Send "
            "smaller images, fewer shots or fewer queries at once."
        )
    return None


def _tensor(alias, proto, shape):
    dtype = tf.dtypes.as_dtype(proto.dtype)
    try:
        field, values = _values(proto, dtype)
        _check_count(field, values, dtype, math.prod(shape))
        if field == "tensor_content":
            # tf.make_ndarray would copy once more.
            return tf.constant(np.frombuffer(values, dtype.as_numpy_dtype).reshape(shape))
        if field == "string_val" and len(values) == math.prod(shape):
            return tf.constant(list(values), tf.string, shape)
        if field == "int_val" and dtype != tf.int32:
            check_range(np.array(values, np.int64), dtype)
        if field == "half_val":  # their bits
            check_range(np.array(values, np.int64), tf.uint16)
        return tf.constant(tf.make_ndarray(proto), dtype, shape)
    except (ValueError, TypeError) as error:
        raise RpcError.invalid(f"input {alias} of shape {shape} cannot be read: {error}.") from None


def _values(proto, dtype):
    """Name of the field that holds the values, and these; ("", None) without any.

    Raises:
        ValueError: they are in the field of another type, or in two.
    """
    # Every look at `tensor_content` copies it, and every look at a field costs; so all are read at once.
    filled = {field.name: values for field, values in proto.ListFields() if field.name in HOLDERS}
    right = FIELDS.get(dtype)
    accepted = (right,) if dtype == tf.string else (right, "tensor_content")
    if len(filled) > 1 or not filled.keys() <= set(accepted):
        names = [name for name in HOLDERS if name in filled]
        raise ValueError(
            f"its values are in {' and '.join(names)}; those of a {dtype.name} tensor belong in {' or '.join(map(str, accepted))}"
        )
    return next(iter(filled.items()), ("", None))


def _check_count(field, values, dtype, elements):
    """Refuses more values than a shape has elements, and fewer where TensorFlow would not repeat the last one.

    Raises:
        ValueError: says how many came and are expected.
    """
    if field == "tensor_content":
        if len(values) != elements * dtype.size:
            raise ValueError(
                f"it has {len(values)} bytes; expected {elements * dtype.size}: {elements} numbers of {dtype.name}"
            )
    elif not field and elements:
        raise ValueError("it has no values")
    elif field and len(values) > elements:
        raise ValueError(f"it has {len(values)} values; expected {elements}, as its shape says")


def check_range(values, dtype):
    """Refuses whole numbers that a type does not hold.

    Args:
        values: array of int64. dtype: `tf.DType` of integers.

    Raises:
        ValueError: names the first value, the type and its range.
    """
    wrong = values[(values < dtype.min) | (values > dtype.max)]
    if wrong.size:
        raise ValueError(
            f"{wrong.flat[0]} is no {dtype.name}; expected whole numbers from {dtype.min} to {dtype.max}"
        )


def _type(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"unknown type {number}"


def fill_tensor(proto, tensor):
    """Writes an eager tensor into a TensorProto in place."""
    array = tensor.numpy()
    if tensor.dtype == tf.string:
        proto.CopyFrom(tf.make_tensor_proto(array, tf.string))
        return
    proto.dtype = tensor.dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_content = array.tobytes()
