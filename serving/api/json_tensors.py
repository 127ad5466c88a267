"""JSON values to tensors and back: exactly, or with a refusal that names the input and the value."""

import base64
import binascii
import itertools
import json
import sys

import numpy as np
import tensorflow as tf

from serving.api.tensors import check_range
from serving.errors import RpcError

MAX_AXES = 32
"""Of a tensor; numpy 1 has no more."""


def parse(body):
    """The JSON object of a request's body.

    Raises:
        RpcError: INVALID_ARGUMENT for what is no JSON, nested too deep, has a number that is none (NaN,
            Infinity, a million digits) or a key twice, and for anything but an object.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise RpcError.invalid(
            "JSON Parse error: nested too deep; a tensor has eight axes at most."
        ) from None
    except MemoryError:
        raise RpcError.invalid(
            "JSON Parse error: not enough memory for it; send less, or use gRPC."
        ) from None
    except ValueError as error:
        # Python's own mend is none for a client.
        said = error
        if "set_int_max_str_digits" in str(error):
            said = f"a number of more than {sys.get_int_max_str_digits()} digits"
        raise RpcError.invalid(f"JSON Parse error: {said}") from None
    if not isinstance(value, dict):
        raise RpcError.invalid(f"the request is a JSON {type(value).__name__}; expected an object.")
    return value


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} is there twice")
    return found


def columns(instances, aliases):
    """The row form of a request as columns: `[{"x": 1}, {"x": 2}]` becomes `{"x": [1, 2]}`."""
    if not isinstance(instances, list) or not instances:
        raise RpcError.invalid("'instances' is empty or no list; expected one item for each episode.")
    if not isinstance(instances[0], dict) or "b64" in instances[0]:
        return only_input(instances, aliases, "instances")
    keys = set(instances[0])
    if any(not isinstance(item, dict) or set(item) != keys for item in instances):
        raise RpcError.invalid(f"'instances' differ in their keys; expected {sorted(keys)} in each.")
    return {key: [item[key] for item in instances] for key in keys}


def only_input(value, aliases, where):
    """A value without a name as the one input that a signature has.

    Raises:
        RpcError: INVALID_ARGUMENT where it has several; lists them.
    """
    if len(aliases) != 1:
        raise RpcError.invalid(
            f"{where!r} does not name its inputs; expected an object with exactly {aliases}."
        )
    return {aliases[0]: value}


def read_tensor(alias, value, dtype):
    """numpy array of a JSON value; bytes come as `{"b64": "..."}`.

    Raises:
        RpcError: INVALID_ARGUMENT: ragged, of another kind, or a number that the type does not hold exactly
            (for floats: at all); names input, value, type and range.
    """
    try:
        if dtype == tf.string:
            strings = np.array(_bytes(value), object)
            if not all(isinstance(item, bytes) for item in strings.flat):
                raise ValueError("lists of different lengths or depths")
            return strings
        return _numbers(value, dtype)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise RpcError.invalid(f"input {alias}: not a {dtype.name} tensor ({error}).") from None


def _numbers(value, dtype):
    kinds = set(map(type, _flat(value)))
    wanted = {bool} if dtype == tf.bool else {int, float}
    if kinds - wanted:
        wrong = next(item for item in _flat(value) if type(item) not in wanted)
        raise ValueError(
            f"found {json.dumps(wrong)[:100]}; expected {'true and false' if dtype == tf.bool else 'numbers'} alone"
        )
    if not dtype.is_integer:
        with np.errstate(over="ignore"):
            numbers = np.array(value, dtype.as_numpy_dtype)
        if dtype != tf.bool and not np.isfinite(numbers).all():
            far = next(item for item in _flat(value) if not abs(item) <= dtype.max)
            raise ValueError(
                f"{far:.3g} is no {dtype.name}; expected numbers from {dtype.min:g} to {dtype.max:g}"
            )
        return numbers
    if float in kinds:
        fraction = next((item for item in _flat(value) if item % 1 != 0), None)
        if fraction is not None:
            raise ValueError(
                f"{fraction} is no {dtype.name}; expected whole numbers from {dtype.min} to {dtype.max}"
            )
    try:
        numbers = np.array(value, np.int64)
    except OverflowError:
        far = next(item for item in _flat(value) if not -(2**63) <= item < 2**63)
        raise ValueError(
            f"{far:.3g} is no {dtype.name}; expected whole numbers from {dtype.min} to {dtype.max}"
        ) from None
    check_range(numbers, dtype)
    return numbers.astype(dtype.as_numpy_dtype)


def _flat(value):
    """The numbers of nested lists, one after the other; their depth is that of the first."""
    depth, first = 0, value
    while isinstance(first, list):
        depth, first = depth + 1, first[0] if first else None
        if depth > MAX_AXES:
            raise ValueError(f"nested more than {MAX_AXES} deep")
    items = [value]
    for _ in range(depth):
        items = itertools.chain.from_iterable(items)
    return iter(items)


def _bytes(value):
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return _unpacked(value["b64"])
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f'found {type(value).__name__}; expected a string or {{"b64": "..."}}')


def _unpacked(text):
    """Bytes of base64 (RFC 4648, section 4); like TensorFlow Serving with spaces and line ends in it, or
    without the padding."""
    if not isinstance(text, str):
        raise ValueError(f'"b64" holds {json.dumps(text)[:50]}; expected a string')
    packed = "".join(text.split())
    packed = packed[:-2].rstrip("=") + packed[-2:].rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            f'"b64" begins with {text[:20]!a} and is no base64; expected letters, digits, + and / (not - and _), without "data:" before'
        ) from None


def check_rows(arrays):
    """Refuses outputs that have no row for each instance of the row form.

    Args:
        arrays: dictionary of alias to array.

    Raises:
        RpcError: INVALID_ARGUMENT, naming their shapes.
    """
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) > 1 or () in lengths:
        shapes = {alias: list(array.shape) for alias, array in arrays.items()}
        raise RpcError.invalid(
            f"the outputs have the shapes {shapes}, not one row for each of 'instances'; ask with 'inputs' in its place."
        )


def write_tensor(alias, array):
    """JSON value of an output; bytes as base64 where the alias ends in `_bytes`."""
    if array.dtype.kind != "O":
        return array.tolist()
    encode = (
        (lambda b: {"b64": base64.b64encode(b).decode()})
        if alias.endswith("_bytes")
        else (lambda b: b.decode("utf-8", "replace"))
    )
    return np.frompyfunc(encode, 1, 1)(array).tolist()
