"""The Open Inference Protocol (KServe V2) in the terms of TensorFlow Serving: what its two doors share.

A request becomes the PredictRequest that asks for the same, so that limits, batching, support sets and
messages are those of `PredictionService`: one path to the model.

Source: docs/predict-api/v2/required_api.md in github.com/kserve/kserve; the binary form of tensors is that of
Triton's extension binary_tensor_data.
"""

import importlib.metadata
import math
import struct

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.api.json_tensors import MAX_AXES
from serving.api.prediction_service import signature_of
from serving.errors import RpcError
from serving.models.warmup import DEFAULT_SIGNATURE

NAME = "PANet-BUS ModelServer"
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "tensorflow_savedmodel"
SIGNATURE = "signature_name"
"""Request parameter (JSON or gRPC) that names one of a model's signatures; `serving_default` without it."""
WITHOUT_SUPPORT = (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
    "classification",
)
"""Parameters of tensors that would change the answer, and are Triton's alone."""
DATATYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "BF16": tf.bfloat16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BYTES": tf.string,
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
MAX_TENSORS = 256
"""Inputs of a request; what would be made of more costs far more memory than the request itself."""
MAX_STRINGS = 65_536
"""Elements of a BYTES tensor."""
LENGTH = struct.Struct("<I")
"""Stands before each element of a BYTES tensor in binary form."""


class OpenInference:
    """Answers of the protocol as plain values.

    Args:
        predictions: `PredictionService`.
    """

    def __init__(self, predictions):
        self.predictions = predictions
        self.core = predictions.core

    def server_metadata(self):
        """Dictionary with name, version and extensions."""
        try:
            version = importlib.metadata.version("panet-bus")
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        return {"name": NAME, "version": version, "extensions": EXTENSIONS}

    def model_ready(self, name, version=""):
        """Whether requests for a model, or for a version or label of it, are answered, and the server is not
        about to end.

        Raises:
            RpcError: NOT_FOUND for an unknown model.
        """
        return self.core.serves(predict_request(name, version).model_spec)

    def model_metadata(self, name, version="", signature=""):
        """Dictionary with name, versions, platform, inputs and outputs of a signature (the default one
        without its name).

        Raises:
            RpcError: unknown model, version or signature.
        """
        spec = predict_request(name, version).model_spec
        with self.core.lease(spec) as found:
            definition = signature_of(found, signature or DEFAULT_SIGNATURE)
            return {
                "name": name,
                "versions": [str(number) for number in sorted(self.core.manager(spec).available())],
                "platform": PLATFORM,
                "inputs": _tensors(definition.inputs),
                "outputs": _tensors(definition.outputs),
            }


def _tensors(infos):
    return [
        {
            "name": alias,
            "datatype": NAMES[tf.dtypes.as_dtype(info.dtype)],
            "shape": [dim.size for dim in info.tensor_shape.dim],
        }
        for alias, info in sorted(infos.items())
    ]


def predict_request(name, version="", signature="", outputs=()):
    """PredictRequest without inputs.

    Args:
        name: of the model. version: number as text, or a label; "" leaves it to the server. signature: name,
            "" for the default. outputs: names, none for all.

    Raises:
        RpcError: INVALID_ARGUMENT where an output is asked for twice.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version.isascii() and version.isdigit() and len(version) <= 19 and int(version) < 2**63:
        request.model_spec.version.value = int(version)
    elif version:
        request.model_spec.version_label = version
    request.model_spec.signature_name = signature
    if len(set(outputs)) != len(outputs):
        twice = next(output for output in outputs if outputs.count(output) > 1)
        raise RpcError.invalid(f"output {twice[:100]} is asked for twice; expected each once.")
    request.output_filter.extend(outputs)
    return request


def add_input(request, name, datatype, shape):
    """TensorProto of a new input, its type and shape filled in; and its number of elements.

    Raises:
        RpcError: INVALID_ARGUMENT for an unknown datatype, a negative size, a name that is there already, and
            for more inputs, axes or strings than any signature has.
    """
    if len(request.inputs) >= MAX_TENSORS:
        raise RpcError.invalid(f"the request has more than {MAX_TENSORS} inputs, the limit.")
    if name in request.inputs:
        raise RpcError.invalid(f"input {name[:100]} is there twice; expected each once.")
    if datatype not in DATATYPES:
        raise RpcError.invalid(
            f"input {name[:100]} has datatype {datatype[:50]!r}; expected one of {', '.join(DATATYPES)}."
        )
    if len(shape) > MAX_AXES:
        raise RpcError.invalid(f"input {name[:100]} has {len(shape)} axes; expected at most {MAX_AXES}.")
    if any(not 0 <= size < 2**63 for size in shape):
        raise RpcError.invalid(f"input {name[:100]} has shape {list(shape)}; expected sizes of at least 0.")
    count = math.prod(shape)
    if datatype == "BYTES" and count > MAX_STRINGS:
        raise RpcError.invalid(
            f"input {name[:100]} has {count} elements of BYTES; the limit is {MAX_STRINGS}."
        )
    proto = request.inputs[name]
    proto.dtype = DATATYPES[datatype].as_datatype_enum
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto, count


def refuse_parameters(name, parameters):
    """Refuses parameters of a tensor that would change the answer if they were known here."""
    unknown = sorted(set(parameters) & set(WITHOUT_SUPPORT))
    if unknown:
        raise RpcError.invalid(
            f"tensor {name[:100]} has the parameters {unknown}, which this server does not support; send the data itself, and leave "
            "them out."
        )


def fill_raw(proto, name, count, raw):
    """Writes binary data into an input's TensorProto.

    Args:
        proto: of `add_input`. name: for messages. count: elements. raw: bytes-like, row-major and
            little-endian; each element of BYTES with its length in 4 bytes before it.

    Raises:
        RpcError: INVALID_ARGUMENT: not as many bytes as shape and datatype say.
    """
    dtype = tf.dtypes.as_dtype(proto.dtype)
    if dtype == tf.string:
        proto.string_val.extend(_split(name, count, raw))
        return
    if len(raw) != count * dtype.size:
        raise RpcError.invalid(
            f"input {name} has {len(raw)} bytes of data; its shape {_shape(proto)} and datatype {NAMES[dtype]} need {count * dtype.size}."
        )
    proto.tensor_content = bytes(raw)


def _split(name, count, raw):
    """Elements of a BYTES tensor in binary form; their number is checked first, for a shape may say
    anything."""
    raw, found, at = memoryview(raw), [], 0
    if len(raw) < count * LENGTH.size:
        raise RpcError.invalid(
            f"input {name} has {len(raw)} bytes of data; {count} elements of BYTES need {LENGTH.size} for each length alone."
        )
    while at < len(raw) and len(found) <= count:
        end = at + LENGTH.size
        if end <= len(raw):
            end += LENGTH.unpack_from(raw, at)[0]
        if end > len(raw) or end < at + LENGTH.size:
            raise RpcError.invalid(
                f"input {name}: element {len(found)} of BYTES is longer than the data; expected each with its length before it "
                "(4 bytes, little-endian)."
            )
        found.append(bytes(raw[at + LENGTH.size : end]))
        at = end
    if len(found) != count:
        raise RpcError.invalid(
            f"input {name} has {'more' if len(found) > count else len(found)} elements of BYTES; its shape needs {count}."
        )
    return found


def fill_array(proto, array):
    """Writes an array of the right type and number of elements into an input's TensorProto."""
    if array.dtype == object:
        proto.string_val.extend(array.reshape(-1).tolist())
    else:
        proto.tensor_content = array.tobytes()


def check_count(proto, name, found, count):
    """Refuses values that are not as many as the shape says.

    Raises:
        RpcError: INVALID_ARGUMENT.
    """
    if found != count:
        raise RpcError.invalid(f"input {name} has {found} values; its shape {_shape(proto)} needs {count}.")


def _shape(proto):
    return [dim.size for dim in proto.tensor_shape.dim]


def described(name, proto):
    """Name, datatype and shape of an output."""
    return {"name": name, "datatype": NAMES[tf.dtypes.as_dtype(proto.dtype)], "shape": _shape(proto)}


def raw_of(proto):
    """Binary form of an output's TensorProto, bytes."""
    if proto.dtype != tf.string.as_datatype_enum:
        return proto.tensor_content
    items = np.ravel(tf.make_ndarray(proto))
    return b"".join(part for item in items for part in (LENGTH.pack(len(item)), item))


def wanted(request, response):
    """Names of a response's outputs: in the order in which they were asked for, else of their names."""
    return list(request.output_filter) or sorted(response.outputs)
