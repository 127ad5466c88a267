"""The RPCs, with the status codes of tensorflow_model_server and messages that say what would have been right."""

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

DEFAULT_SIGNATURE = "serving_default"
# Codes of tf.errors are those of gRPC.
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RpcError(Exception):
    """Ends an RPC with a status."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code

    @classmethod
    def invalid(cls, message):
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message)


def status_of(error):
    """gRPC status code and message of what serving a request raised."""
    if isinstance(error, RpcError):
        return error.code, str(error)
    if isinstance(error, tf.errors.OpError):
        return STATUS_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), error.message
    if isinstance(error, (ValueError, TypeError)):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, MemoryError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for this request; send fewer or smaller images"
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"


def guarded(method, request, context):
    """Answers an RPC, or ends it with its status; nothing a client sends may end the server."""
    try:
        return method(request)
    except Exception as error:
        code, message = status_of(error)
        context.abort(code, message)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """PredictionService.Predict and GetModelMetadata over one `ModelManager`."""

    def __init__(self, manager):
        self.manager = manager

    def Predict(self, request, context):
        return guarded(self.predict, request, context)

    def GetModelMetadata(self, request, context):
        return guarded(self.metadata, request, context)

    def predict(self, request):
        """PredictResponse of a PredictRequest; raises what `status_of` knows."""
        version = find_version(self.manager, request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in version.signatures:
            raise RpcError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature name: "{name}" not found in signature def; this model has {sorted(version.signatures)}.',
            )
        definition = version.definitions[name]
        inputs = read_inputs(request.inputs, definition.inputs)
        unknown = set(request.output_filter) - set(definition.outputs)
        if unknown:
            raise RpcError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {sorted(unknown)}; outputs are {sorted(definition.outputs)}.",
            )
        outputs = version.signatures[name](**inputs)
        response = predict_pb2.PredictResponse()
        fill_spec(response.model_spec, self.manager.name, version.number, name)
        for alias, tensor in outputs.items():
            if not request.output_filter or alias in request.output_filter:
                response.outputs[alias].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
        return response

    def metadata(self, request):
        """GetModelMetadataResponse of a request; raises what `status_of` knows."""
        version = find_version(self.manager, request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise RpcError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata_field is {list(request.metadata_field)}; the only supported field is ['signature_def'].",
            )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        fill_spec(response.model_spec, self.manager.name, version.number)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.definitions.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """ModelService.GetModelStatus over one `ModelManager`."""

    def __init__(self, manager):
        self.manager = manager

    def GetModelStatus(self, request, context):
        return guarded(self.status, request, context)

    def status(self, request):
        """GetModelStatusResponse of a request; raises what `status_of` knows."""
        check_name(self.manager, request.model_spec)
        states = dict(self.manager.states)
        if request.model_spec.HasField("version"):
            number = request.model_spec.version.value
            if number not in states:
                raise RpcError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Could not find version {number} of model {self.manager.name}; known versions: {sorted(states)}.",
                )
            states = {number: states[number]}
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, (state, message) in sorted(states.items(), reverse=True):
            status = response.model_version_status.add(version=number, state=state)
            if message:
                status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                status.status.error_message = message
        return response


def check_name(manager, spec):
    if not spec.name:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Missing ModelSpec: model_spec.name is empty; this server has ['{manager.name}']."
        )
    if spec.name != manager.name:
        raise RpcError(
            grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name}); this server has ['{manager.name}']."
        )


def find_version(manager, spec):
    """The version a ModelSpec asks for; NOT_FOUND names what there is."""
    check_name(manager, spec)
    if spec.HasField("version_label"):
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}; no labels are set."
        )
    current = manager.current()
    wanted = spec.version.value if spec.HasField("version") else None
    version = current if wanted is None else manager.get(wanted)
    if version is None:
        what = f"Latest({spec.name})" if wanted is None else f"Specific({spec.name}, {wanted})"
        available = [current.number] if current else []
        raise RpcError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {what}; available versions: {available}.")
    return version


def read_inputs(given, expected):
    """Tensors by alias, their names, types and ranks checked against the signature.

    Args:
        given: map of alias to TensorProto. expected: map of alias to TensorInfo.

    Raises:
        RpcError: INVALID_ARGUMENT, naming the aliases, type or shape that was expected.
    """
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(expected)}; missing {missing}, unknown {unknown}; expected "
            f"exactly {sorted(expected)}.",
        )
    tensors = {}
    for alias, proto in given.items():
        info = expected[alias]
        if proto.dtype != info.dtype:
            raise RpcError(
                grpc.StatusCode.INVALID_ARGUMENT, f"input {alias} has type {_type(proto.dtype)}; expected {_type(info.dtype)}."
            )
        shape = [dim.size for dim in proto.tensor_shape.dim]
        wanted = [dim.size for dim in info.tensor_shape.dim]
        fits = len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted))
        if proto.tensor_shape.unknown_rank or not fits or min(shape, default=1) < 0:
            readable = ["?" if size == -1 else size for size in wanted]
            raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, f"input {alias} has shape {shape}; expected {readable}.")
        try:
            tensors[alias] = tf.constant(tf.make_ndarray(proto))
        except (ValueError, TypeError) as error:
            raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, f"input {alias} of shape {shape} cannot be read: {error}.") from None
    return tensors


def _type(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"unknown type {number}"


def fill_spec(spec, name, version, signature=None):
    spec.name = name
    spec.version.value = version
    if signature:
        spec.signature_name = signature
