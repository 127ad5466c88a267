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


def read_inputs(given, expected):
    """Tensors by alias, their names, types, shapes and sizes checked before anything is copied.

    Args:
        given: map of alias to TensorProto. expected: map of alias to TensorInfo.

    Raises:
        RpcError: INVALID_ARGUMENT, naming the aliases, type, shape or limit that was expected.
    """
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise RpcError.invalid(
            f"input size does not match signature: {len(given)}!={len(expected)}; missing {missing}, unknown {unknown}; expected "
            f"exactly {sorted(expected)}."
        )
    shapes = {alias: _checked_shape(alias, proto, expected[alias]) for alias, proto in given.items()}
    check_size(shapes)
    return {alias: _tensor(alias, proto, shapes[alias]) for alias, proto in given.items()}


def _checked_shape(alias, proto, info):
    if proto.dtype != info.dtype:
        raise RpcError.invalid(f"input {alias} has type {_type(proto.dtype)}; expected {_type(info.dtype)}.")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    wanted = [dim.size for dim in info.tensor_shape.dim]
    fits = len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted))
    if proto.tensor_shape.unknown_rank or not fits or min(shape, default=1) < 0:
        readable = ["?" if size == -1 else size for size in wanted]
        raise RpcError.invalid(f"input {alias} has shape {shape}; expected {readable}.")
    return shape


def check_size(shapes):
    """Refuses a request that would take too much memory, by shapes alone.

    Args:
        shapes: dictionary of alias to shape, as in the signatures of `panet_keras.export_saved_model`.

    Raises:
        RpcError: INVALID_ARGUMENT with what came and the limit.
    """
    pixels = {alias: math.prod(shape[:-1]) for alias, shape in shapes.items() if alias.endswith("_images")}
    if sum(pixels.values()) > MAX_PIXELS:
        raise RpcError.invalid(
            f"the images have {sum(pixels.values()):,} pixels; the limit is {MAX_PIXELS:,}. Send fewer or smaller ones."
        )
    elements = sum(math.prod(shape) for shape in shapes.values())
    if elements > MAX_ELEMENTS:
        raise RpcError.invalid(
            f"the inputs have {elements:,} elements; the limit is {MAX_ELEMENTS:,}. Send fewer shots or queries at once."
        )
    pictures = sum(math.prod(shape) for alias, shape in shapes.items() if alias.endswith("_bytes"))
    if pictures > MAX_PICTURES:
        raise RpcError.invalid(f"the request has {pictures} pictures; the limit is {MAX_PICTURES}. Send fewer at once.")
    support = pixels.get("support_images", 0) / MATCHING_STRIDE**2
    keys = [math.prod(shape[:-1]) for alias, shape in shapes.items() if alias.startswith("keys")]
    support = max([support, *keys])
    query = pixels.get("query_images", 0) / MATCHING_STRIDE**2
    episodes = max(1, shapes.get("query_images", [1])[0])
    # Correlation, its soft-max and its masked copies, float32 each.
    needed = int(support * query / episodes * 4 * 4)
    if needed > MAX_MATCHING_BYTES:
        raise RpcError.invalid(
            f"comparing the queries with the supports would take about {needed:,} bytes; the limit is {MAX_MATCHING_BYTES:,}. Send "
            "smaller images, fewer shots or fewer queries at once."
        )


def _tensor(alias, proto, shape):
    dtype = tf.dtypes.as_dtype(proto.dtype)
    try:
        if proto.tensor_content and dtype != tf.string:
            # One copy, into TensorFlow; tf.make_ndarray makes another.
            return tf.constant(np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(shape))
        if math.prod(shape) > 0 and not _has_values(proto):
            raise ValueError("it has no values")
        return tf.constant(tf.make_ndarray(proto), dtype, shape)
    except (ValueError, TypeError) as error:
        raise RpcError.invalid(f"input {alias} of shape {shape} cannot be read: {error}.") from None


def _has_values(proto):
    return any(
        len(getattr(proto, name))
        for name in ("float_val", "int_val", "double_val", "int64_val", "bool_val", "string_val", "half_val")
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
