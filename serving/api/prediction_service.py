"""The RPCs, with the status codes of tensorflow_model_server and messages that say what would have been
right."""

import contextlib
import dataclasses
import logging
import time

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import tracing
from serving.api import encoded_pictures, provenance
from serving.api.batching import check_deadline
from serving.api.tensors import fill_tensor, read_inputs
from serving.errors import RpcError, status_of
from serving.models import support_sets
from serving.models.warmup import DEFAULT_SIGNATURE

log = logging.getLogger("serving")
METHOD = "tensorflow/serving/"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """PredictionService over a `ServerCore`.

    Args:
        core: `ServerCore`.
        batcher: `Batcher`, or None to run each request on its own.
        metrics: `serving.api.monitoring.Metrics`, or None.
        observers: functions of (`serving.api.provenance.Answer`, request, `Version`, signature, inputs,
            outputs) that are told of each answer, such as `AuditLog`. One that fails is logged, and the
            request is answered.
    """

    def __init__(self, core, batcher=None, metrics=None, observers=()):
        self.core = core
        self.batcher = batcher
        self.metrics = metrics
        self.observers = list(observers)

    def Predict(self, request, context):
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        answer = provenance.begin(context.invocation_metadata())
        context.set_trailing_metadata(((provenance.HEADER, answer.id),))

        def predict(request):
            with self.counted(request.model_spec.name):
                return self.predict(request, deadline, answer=answer)

        return self._guarded(predict, request, context)

    def GetModelMetadata(self, request, context):
        return self._guarded(self.metadata, request, context)

    def Classify(self, request, context):
        return self._guarded(
            lambda r: self.refuse_method(r.model_spec, "classify", "classification"), request, context
        )

    def Regress(self, request, context):
        return self._guarded(
            lambda r: self.refuse_method(r.model_spec, "regress", "regression"), request, context
        )

    def MultiInference(self, request, context):
        return self._guarded(self.multi_inference, request, context)

    def _guarded(self, method, request, context):
        """Answers an RPC, or ends it with its status; nothing a client sends may end the server."""
        if not context.is_active():
            context.abort(grpc.StatusCode.CANCELLED, "the client left while the request waited")
        try:
            return method(request)
        except Exception as error:
            code, message = status_of(error)
            context.abort(code, message)

    @contextlib.contextmanager
    def counted(self, model):
        """Counts a request for a model in the metrics, by its status and time. Around all that a door does with
        it, for what is refused before it reaches `predict` is refused, too."""
        start, status = time.perf_counter(), "OK"
        try:
            yield
        except Exception as error:
            status = status_of(error)[0].name
            raise
        finally:
            if self.metrics:
                self.metrics.note(self.core, model, status, time.perf_counter() - start)

    def refused(self):
        """Counts a request that was turned away unread, because too many wait."""
        if self.metrics:
            self.metrics.note(self.core, "", grpc.StatusCode.RESOURCE_EXHAUSTED.name, 0.0)

    def predict(self, request, deadline=None, version=None, answer=None):
        """PredictResponse of a PredictRequest; raises what `status_of` knows.

        Args:
            request: PredictRequest. deadline: `time.monotonic()` after which the answer is worth nothing, or
                None.
            version: `Version` that the caller has leased for this request; None leases what the request
                names.
            answer: `Answer` whose id the caller gives to the client; None: of a client that gets none.
        """
        answer = answer or provenance.begin()
        check_deadline(deadline)
        with contextlib.nullcontext(version) if version else self.core.lease(request.model_spec) as version:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            definition = signature_of(version, name)
            known = {"model": request.model_spec.name, "version": version.number, "signature": name}
            tracing.note(**known, answer_id=answer.id)
            unknown = set(request.output_filter) - set(definition.outputs)
            if unknown:
                raise RpcError.invalid(
                    f"output tensor alias not found in signature: {sorted(unknown)}; outputs are {sorted(definition.outputs)}."
                )
            with tracing.stage("decode"):
                inputs, supports = self._inputs(version, request.inputs, definition.inputs)
                encoded_pictures.check_pictures(inputs)
            tracing.note(**tracing.counts(inputs))
            try:
                if self.batcher:
                    outputs = self.batcher.run(version, name, inputs, deadline)
                else:
                    with tracing.stage("tensorflow"):
                        outputs = version.signatures[name](**inputs)
            except Exception as error:
                raise encoded_pictures.refusal(error, inputs) or error from None
            if supports is not None:
                answer = dataclasses.replace(answer, supports=supports)
            self._tell(answer, request, version, name, inputs, outputs)
        with tracing.stage("encode"):
            response = predict_pb2.PredictResponse()
            fill_spec(response.model_spec, request.model_spec.name, version.number, name)
            for alias, tensor in outputs.items():
                if not request.output_filter or alias in request.output_filter:
                    fill_tensor(response.outputs[alias], tensor)
        return response

    def _tell(self, *answered):
        for observer in self.observers:
            try:
                observer(*answered)
            except Exception:  # who looks on must not take the answer away
                log.exception("%s could not take note of an answer", type(observer).__name__)

    @staticmethod
    def _inputs(version, given, expected):
        """Tensors by alias; and the digests of the support set that stands for the state, None without one."""
        state = digests = None
        if support_sets.ALIAS in given and support_sets.ALIAS not in expected:
            state, digests = support_sets.resolve(version, given[support_sets.ALIAS])
            given = {alias: proto for alias, proto in given.items() if alias != support_sets.ALIAS}
        return read_inputs(given, expected, state, version.image_size), digests

    def refuse_method(self, spec, method, word):
        """Raises what TensorFlow Serving does where a signature is not for this RPC; ours are all for
        Predict."""
        with self.core.lease(spec) as version:
            name = spec.signature_name or DEFAULT_SIGNATURE
            if name not in version.definitions:
                raise RpcError.invalid(
                    f"No signature was found with the name: {name}; this model has {sorted(version.definitions)}."
                )
            found = version.definitions[name].method_name
            raise RpcError.invalid(
                f"Expected {word} signature method_name to be {METHOD}{method}. Was: {found}. Use Predict with this model."
            )

    def multi_inference(self, request):
        """Raises what TensorFlow Serving does for tasks that this model has no signature for."""
        if not request.tasks:
            raise RpcError.invalid(
                "Inference request must contain at least one task; use Predict with this model."
            )
        for task in request.tasks:
            words = {
                METHOD + "classify": ("classify", "classification"),
                METHOD + "regress": ("regress", "regression"),
            }
            if task.method_name not in words:
                raise RpcError(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"Unsupported signature method_name: {task.method_name}; expected one of {sorted(words)}.",
                )
            self.refuse_method(task.model_spec, *words[task.method_name])

    def metadata(self, request):
        """GetModelMetadataResponse of a request; raises what `status_of` knows."""
        with self.core.lease(request.model_spec) as version:
            if list(request.metadata_field) != ["signature_def"]:
                raise RpcError.invalid(
                    f"metadata_field is {list(request.metadata_field)}; the only supported field is ['signature_def']."
                )
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            fill_spec(response.model_spec, request.model_spec.name, version.number)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.definitions.items():
                signatures.signature_def[name].CopyFrom(definition)
            response.metadata["signature_def"].Pack(signatures)
            return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """ModelService over a `ServerCore`."""

    def __init__(self, core):
        self.core = core

    def GetModelStatus(self, request, context):
        return self._guarded(self.status, request, context)

    def HandleReloadConfigRequest(self, request, context):
        return self._guarded(self.reload, request, context)

    _guarded = PredictionService._guarded

    def status(self, request):
        """GetModelStatusResponse of a request; raises what `status_of` knows."""
        spec = request.model_spec
        manager = self.core.manager(spec)
        states = manager.known()
        number = spec.version.value if spec.HasField("version") else manager.labels.get(spec.version_label)
        if spec.HasField("version") or spec.HasField("version_label"):
            if number not in states:
                raise RpcError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Could not find version {spec.version_label or number} of model {spec.name}; known versions: {sorted(states)}, "
                    f"labels: {manager.labels}.",
                )
            states = {number: states[number]}
        elif not states:
            raise RpcError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find any versions of model {spec.name}; expected a folder with an integer name, such as 1, in its base path.",
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, (state, message) in sorted(states.items(), reverse=True):
            status = response.model_version_status.add(version=number, state=state)
            if message:
                status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                status.status.error_message = message
        return response

    def reload(self, request):
        """ReloadConfigResponse; raises what `status_of` knows, and then nothing has changed, but for UNKNOWN: a
        model that is new and cannot be loaded (yet)."""
        if request.config.WhichOneof("config") is None:
            raise RpcError.invalid(
                "the request has no config; expected a model_config_list, which names every model that is to serve."
            )
        self.core.reload(request.config)
        failed = {}
        for name, manager in list(self.core.managers.items()):
            reasons = [message for _, message in manager.known().values() if message]
            if reasons and not manager.available():
                failed[name] = reasons[-1]
        if failed:
            raise RpcError(
                grpc.StatusCode.UNKNOWN,
                f"{len(failed)} servable(s) did not become available: {failed}; all else is as you asked.",
            )
        return model_management_pb2.ReloadConfigResponse()


def signature_of(version, name):
    """SignatureDef of a version.

    Raises:
        RpcError: FAILED_PRECONDITION for an unknown name; lists the known.
    """
    if name not in version.definitions:
        raise RpcError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'Serving signature name: "{name[:200]}" not found in signature def; this model has {sorted(version.definitions)}.',
        )
    return version.definitions[name]


def fill_spec(spec, name, version, signature=None):
    spec.name = name
    spec.version.value = version
    if signature:
        spec.signature_name = signature
