"""The Open Inference Protocol over gRPC: inference.GRPCInferenceService."""

import time

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, text_format

from serving import tracing
from serving.api import provenance
from serving.api.open_inference import (
    SIGNATURE,
    OpenInference,
    add_input,
    check_count,
    described,
    fill_array,
    fill_raw,
    predict_request,
    raw_of,
    refuse_parameters,
    wanted,
)
from serving.api.prediction_service import PredictionService
from serving.api.tensors import check_range
from serving.errors import RpcError
from serving.protos import open_inference_pb2 as pb

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
CONTENTS = {
    tf.bool: "bool_contents",
    tf.int8: "int_contents",
    tf.int16: "int_contents",
    tf.int32: "int_contents",
    tf.int64: "int64_contents",
    tf.uint8: "uint_contents",
    tf.uint16: "uint_contents",
    tf.uint32: "uint_contents",
    tf.uint64: "uint64_contents",
    tf.float32: "fp32_contents",
    tf.float64: "fp64_contents",
    tf.string: "bytes_contents",
}
"""Where InferTensorContents keeps the values of a type; 16-bit floats travel as raw contents alone."""


class OpenInferenceService:
    """The RPCs over a `PredictionService`."""

    def __init__(self, predictions):
        self.door = OpenInference(predictions)

    def ServerLive(self, request, context):
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request, context):
        return pb.ServerReadyResponse(ready=self.door.core.is_ready())

    def ModelReady(self, request, context):
        def ready(request):
            return pb.ModelReadyResponse(ready=self.door.model_ready(request.name, request.version))

        return self._guarded(ready, request, context)

    def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(**self.door.server_metadata())

    def ModelMetadata(self, request, context):
        """Of the signature that the call's metadata names as `signature_name`: the message has no room for
        it."""
        signature = dict(context.invocation_metadata()).get(SIGNATURE, "")

        def metadata(request):
            return pb.ModelMetadataResponse(
                **self.door.model_metadata(request.name, request.version, signature)
            )

        return self._guarded(metadata, request, context)

    def ModelInfer(self, request, context):
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        answer = provenance.begin(context.invocation_metadata())
        context.set_trailing_metadata(((provenance.HEADER, answer.id),))

        def infer(request):
            with self.door.predictions.counted(request.model_name):
                return self.infer(request, deadline, answer)

        return self._guarded(infer, request, context)

    _guarded = PredictionService._guarded

    def infer(self, request, deadline=None, answer=None):
        """ModelInferResponse of a ModelInferRequest, its outputs as raw contents; raises what `status_of`
        knows.

        The answer's id (`serving.api.provenance.Answer`) is also a parameter of the response, for clients
        that do not show metadata.
        """
        with tracing.stage("decode"):
            predict = read_request(request)
        told = answer or provenance.begin()
        response = self.door.predictions.predict(predict, deadline, answer=told)
        answer = pb.ModelInferResponse(
            model_name=request.model_name,
            model_version=str(response.model_spec.version.value),
            id=request.id,
        )
        answer.parameters[provenance.HEADER].string_param = told.id
        with tracing.stage("encode"):
            for name in wanted(predict, response):
                answer.outputs.add(**described(name, response.outputs[name]))
                answer.raw_output_contents.append(raw_of(response.outputs[name]))
        return answer

    def add_to(self, server):
        """Registers the service, under the protocol's own name, with a `grpc.Server`."""
        handlers = {}
        for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                getattr(self, method.name),
                request_deserializer=getattr(pb, method.input_type.name).FromString,
                response_serializer=getattr(pb, method.output_type.name).SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def read_request(request):
    """PredictRequest of a ModelInferRequest.

    Raises:
        RpcError: INVALID_ARGUMENT, naming the input or parameter, what came and what was expected.
    """
    for tensor in (*request.inputs, *request.outputs):
        refuse_parameters(tensor.name, tensor.parameters)
    predict = predict_request(
        request.model_name,
        request.model_version,
        _signature(request.parameters),
        [output.name for output in request.outputs],
    )
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise RpcError.invalid(
            f"raw_input_contents has {len(raw)} tensors, inputs has {len(request.inputs)}; expected one for each."
        )
    for number, tensor in enumerate(request.inputs):
        proto, count = add_input(predict, tensor.name, tensor.datatype, tensor.shape)
        if not raw:
            _fill_contents(proto, tensor, count)
        elif tensor.contents.ByteSize():
            raise RpcError.invalid(
                f"input {tensor.name} has contents beside raw_input_contents; expected one of both for all inputs."
            )
        else:
            fill_raw(proto, tensor.name, count, raw[number])
    return predict


def _signature(parameters):
    if SIGNATURE not in parameters:
        return ""
    kind = parameters[SIGNATURE].WhichOneof("parameter_choice")
    if kind != "string_param":
        raise RpcError.invalid(f"parameter {SIGNATURE} is a {kind}; expected a string_param.")
    return parameters[SIGNATURE].string_param


def _fill_contents(proto, tensor, count):
    dtype = tf.dtypes.as_dtype(proto.dtype)
    right = CONTENTS.get(dtype)
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if set(filled) - {right}:
        raise RpcError.invalid(
            f"input {tensor.name} of datatype {tensor.datatype} has its values in {' and '.join(filled)}; expected them in "
            f"{right or 'raw_input_contents'}."
        )
    values = getattr(tensor.contents, right) if right else []
    check_count(proto, tensor.name, len(values), count)
    if dtype.is_integer and dtype.size < 4:
        try:
            check_range(np.array(values, np.int64), dtype)
        except ValueError as error:
            raise RpcError.invalid(f"input {tensor.name}: {error}.") from None
    fill_array(proto, np.array(values, object if dtype == tf.string else dtype.as_numpy_dtype))


class ReflectionPool:
    """Descriptors for gRPC's server reflection: the default pool's, and the service under the name that
    clients call, which the default pool may hold from a client's own code."""

    def __init__(self):
        self._default, self._own = descriptor_pool.Default(), descriptor_pool.DescriptorPool()
        ours, renamed = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
        pb.DESCRIPTOR.CopyToProto(ours)
        text = text_format.MessageToString(ours).replace(ours.package, PACKAGE)
        self._own.Add(text_format.Parse(text, renamed))

    def FindFileByName(self, name):
        return self._either("FindFileByName", name)

    def FindFileContainingSymbol(self, name):
        return self._either("FindFileContainingSymbol", name)

    def _either(self, method, name):
        try:
            return getattr(self._own, method)(name)
        except KeyError:
            return getattr(self._default, method)(name)

    def __getattr__(self, name):
        return getattr(self._default, name)
