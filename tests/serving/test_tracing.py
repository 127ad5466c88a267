"""Spans: one trace from client to TensorFlow at every door, and what happens when tracing cannot be had."""

import contextlib
import http.client
import json
import logging
import re
import threading
import time
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import tracing
from serving.api.batching import Batcher
from serving.api.prediction_service import PredictionService
from serving.api.provenance import AuditLog
from serving.api.rest import create_rest_server
from serving.client import Client, ServingError
from serving.models.config_files import Batching
from serving.models.model_manager import Version
from serving.models.server_core import ServerCore
from serving.protos import open_inference_pb2 as pb
from serving.server import create_server

PREDICT = "tensorflow.serving.PredictionService/Predict"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
"""The example of W3C's Trace Context."""
BATCHED = Batching(batch_timeout_micros=1000)
FILLED = Batching(max_batch_size=2, batch_timeout_micros=600_000_000)
"""A batch runs when two requests have come, whatever else the machine does."""


class Manager:
    """Stands for a `ModelManager` whose one version doubles pictures; no SavedModel is loaded."""

    name, labels = "panet", {}

    def __init__(self):
        info = meta_graph_pb2.TensorInfo(dtype=tf.float32.as_datatype_enum)
        for size in (-1, -1, 2, 2, 3):
            info.tensor_shape.dim.add(size=size)
        definition = meta_graph_pb2.SignatureDef(inputs={"query_images": info}, outputs={"y": info})
        signatures = {"double": lambda query_images: {"y": 2 * query_images}}
        self.version = Version(7, None, signatures, {"double": definition})

    def available(self):
        return [7]

    def stop(self):
        pass

    @contextlib.contextmanager
    def lease(self, number):
        yield self.version


@pytest.fixture(params=[None, BATCHED], ids=["alone", "batched"])
def predictions(request):
    return PredictionService(ServerCore([Manager()]), request.param and Batcher(request.param))


@pytest.fixture
def port(predictions, spans):
    server, port = create_server(predictions, "127.0.0.1", 0)
    yield port
    server.stop(0)


def picture(images=2):
    return np.full((1, images, 2, 2, 3), 3, np.float32)


def below(spans, parent):
    return [span.name for span in spans if span.parent and span.parent.span_id == parent.context.span_id]


def stages(predictions):
    return ["decode", *(["batch"] if predictions.batcher else []), "tensorflow", "encode"]


def until(spans, name, number=1):
    """The last of a number of spans, once they have ended: an answer is sent before its server's span is
    over."""
    for _ in range(500):
        found = [span for span in spans() if span.name == name]
        if len(found) == number:
            return found[-1]
        time.sleep(0.02)
    raise AssertionError(f"no span {name}; there are {[span.name for span in spans()]}")


def test_one_trace_from_client_to_tensorflow(port, predictions, spans):
    answers = []
    predictions.observers.append(lambda answer, *_: answers.append(answer.id))
    with Client(f"127.0.0.1:{port}") as client:
        np.testing.assert_array_equal(client.call("double", {"query_images": picture()})["y"], 2 * picture())
    found = spans()
    client, server = found[-1], next(span for span in found if span.kind.name == "SERVER")
    assert {span.context.trace_id for span in found} == {client.context.trace_id} and client.parent is None
    assert below(found, client) == [PREDICT] and below(found, server) == stages(predictions)
    both = {"panet.model": "panet", "panet.version": 7, "panet.signature": "double", "panet.images": 2}
    both |= {"panet.answer_id": answers[0], "rpc.system.name": "grpc", "rpc.method": PREDICT}
    assert client.kind.name == "CLIENT" and dict(client.attributes) == both
    assert dict(server.attributes) == both | {"rpc.response.status_code": "OK"}
    assert all(span.start_time <= span.end_time for span in found)


def test_the_audit_log_names_the_trace_of_a_request(port, predictions, spans, tmp_path):
    audit = AuditLog(tmp_path / "log")
    predictions.observers.append(audit)
    rest, rest_port = create_rest_server(predictions, "127.0.0.1", 0)
    with Client(f"127.0.0.1:{port}") as client:
        client.call("double", {"query_images": picture()})
        call = until(spans, PREDICT, 2)
        body = {"inputs": picture(1).tolist(), "signature_name": "double"}
        # Of a trace that its sampler leaves out the client's own log may tell.
        left_out = {"traceparent": f"00-{'ab' * 16}-00f067aa0ba902b7-00"}
        for headers in (HEADERS, left_out):
            assert ask(rest_port, "/v1/models/panet:predict", body, headers)[0] == 200
        tracing.use(None)
        assert ask(rest_port, "/v1/models/panet:predict", body, HEADERS)[0] == 200
    rest.shutdown()
    rest.server_close()
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    expected = [f"{call.context.trace_id:032x}", TRACE, "ab" * 16, None]
    assert [line["trace_id"] for line in lines] == expected


def test_a_refused_request_tells_its_kind_and_not_its_words(port, spans):
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(ServingError, match="Ann Example"):
        client.call("double", {"Ann Example": picture()})
    *_, server, client = spans()
    assert client.attributes["error.type"] == "INVALID_ARGUMENT" and client.status.status_code.name == "ERROR"
    # What a client did wrong is no fault of the server.
    assert server.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert server.status.status_code.name == "UNSET"
    assert "error.type" not in server.attributes
    assert "Ann" not in "".join(span.to_json() for span in spans())


@pytest.mark.parametrize("predictions", [FILLED], indirect=True, ids=["filled"])
def test_joined_requests_have_each_their_own(port, spans):
    with Client(f"127.0.0.1:{port}") as client:
        asking = [
            threading.Thread(target=client.call, args=("double", {"query_images": picture()}))
            for _ in range(2)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    calls = [span for span in spans() if span.name == "tensorflow"]
    assert [span.attributes["panet.requests"] for span in calls] == [2, 2]
    assert len({span.context.trace_id for span in calls}) == 2
    waits = {span.context.trace_id: span for span in spans() if span.name == "batch"}
    assert all(waits[call.context.trace_id].end_time == call.start_time for call in calls)


def ask(port, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read()), response.getheader("panet-answer-id")
    connection.close()
    return answer


@pytest.mark.parametrize("headers", [HEADERS, {"traceparent": "00-xyz"}, {}], ids=["ours", "broken", "none"])
@pytest.mark.parametrize("v2", [False, True], ids=["tensorflow serving", "open inference"])
def test_rest_goes_on_with_the_trace_of_its_headers(predictions, spans, v2, headers):
    server, port = create_rest_server(predictions, "127.0.0.1", 0)
    values = picture(1).tolist()
    if v2:
        tensor = {"name": "query_images", "datatype": "FP32", "shape": [1, 1, 2, 2, 3], "data": values}
        path, body = (
            "/v2/models/panet/infer",
            {"inputs": [tensor], "parameters": {"signature_name": "double"}},
        )
        route, around = "/v2/models/{model}/infer", (["read body", "decode"], ["encode"])
    else:
        path, body = "/v1/models/panet:predict", {"inputs": values, "signature_name": "double"}
        route, around = "/v1/models/{model}:predict", (["read body", "decode"], ["encode", "write json"])
    status, _, answer_id = ask(port, path, body, headers)
    found = until(spans, f"POST {route}")
    assert status == found.attributes["http.response.status_code"] == 200
    assert (found.parent is not None) == (f"{found.context.trace_id:032x}" == TRACE) == (headers is HEADERS)
    assert below(spans(), found) == [*around[0], *stages(predictions), *around[1]]
    assert found.attributes["panet.answer_id"] == answer_id or v2
    assert found.attributes["panet.images"] == 1 and found.attributes["http.route"] == route
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/livez")
    assert connection.getresponse().read()
    connection.close()
    # Another answer on another path, whose name may be anybody's.
    assert ask(port, path.replace("panet", "Ann"), {**body, "inputs": []}, {})[0] == 404
    assert until(spans, f"POST {route}", 2).attributes["http.response.status_code"] == 404
    server.shutdown()
    server.server_close()
    assert len({span.context.trace_id for span in spans()}) == 2
    assert "Ann" not in "".join(span.to_json() for span in spans())


def test_open_inference_over_grpc(port, predictions, spans):
    request = pb.ModelInferRequest(model_name="panet", raw_input_contents=[picture(1).tobytes()])
    request.inputs.add(name="query_images", datatype="FP32", shape=[1, 1, 2, 2, 3])
    request.parameters["signature_name"].string_param = "double"
    name = "inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(
            f"/{name}", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        infer(request, metadata=tuple(HEADERS.items()), timeout=60)
        ready = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerReady", bytes, pb.ServerReadyResponse.FromString
        )
        assert ready(b"", timeout=60).ready
    found = until(spans, name)
    assert f"{found.context.trace_id:032x}" == TRACE and f"{found.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert below(spans(), found) == ["decode", *stages(predictions), "encode"]
    assert not [span for span in spans() if "Ready" in span.name]


@pytest.fixture
def environment(monkeypatch):
    """Sets OpenTelemetry's variables, and takes back what `tracing.start` does."""

    def set_to(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_{name}", value)

    yield set_to
    tracing.use(None)
    sdk = logging.getLogger("opentelemetry")
    sdk.handlers, sdk.propagate = [], True
    tracing._propagate.cache_clear()


OTLP = {"TRACES_EXPORTER": "otlp"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, None),
        ({"TRACES_EXPORTER": "none", "EXPORTER_OTLP_ENDPOINT": "http://localhost:9"}, None),
        ({**OTLP, "SDK_DISABLED": "true"}, None),
        ({"TRACES_EXPORTER": "zipkinn"}, "TRACES_EXPORTER=zipkinn: its exporter is not installed; .*console"),
        ({**OTLP, "EXPORTER_OTLP_PROTOCOL": "udp"}, "PROTOCOL=udp: no such protocol; expected .* http/json"),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://localhost:9"},
            "pip install opentelemetry-exporter-otlp-json-http",
        ),
        (
            {**OTLP, "EXPORTER_OTLP_PROTOCOL": "grpc"},
            "pip install opentelemetry-exporter-otlp-proto-grpc, or",
        ),
        ({"TRACES_EXPORTER": "console", "BSP_MAX_QUEUE_SIZE": "1"}, "max_export_batch_size must be"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_traced(environment, monkeypatch, caplog, variables, said):
    entries = [types.SimpleNamespace(name="console", load=lambda: lambda: types.SimpleNamespace())]
    monkeypatch.setattr("serving.tracing_sdk.importlib.metadata.entry_points", lambda group: entries)
    environment(**variables)
    tracing.start("panet-test", logging.getLogger("serving"))
    assert tracing.span("x") is tracing.OFF and tracing.outgoing() == () and tracing.interceptors() == ()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(said)
    if said:
        assert re.search(said, warnings[0]) and warnings[0].endswith("everything else goes on.")


class Hanging:
    """An exporter whose collector never answers, or (`open`) complains of one that is away."""

    def __init__(self):
        self.entered, self.released = threading.Event(), threading.Event()
        self.spans = []

    def export(self, spans):
        self.spans += spans
        self.entered.set()
        logging.getLogger("opentelemetry.exporter").error("%s is away", "http://collector")
        self.released.wait()

    def shutdown(self):
        self.closed = True


def test_an_exporter_that_hangs_holds_nobody_up(environment, monkeypatch, caplog):
    exporter = Hanging()
    entries = [types.SimpleNamespace(name="otlp_json_http", load=lambda: lambda: exporter)]
    monkeypatch.setattr("serving.tracing_sdk.importlib.metadata.entry_points", lambda group: entries)
    environment(**OTLP, BSP_SCHEDULE_DELAY="1", BSP_MAX_QUEUE_SIZE="8", BSP_MAX_EXPORT_BATCH_SIZE="4")
    tracing.start("panet-test", logging.getLogger("serving"))
    with tracing.span("first"):
        logging.getLogger("serving").warning("a line")
    assert exporter.entered.wait(60)
    for _ in range(100):  # more than the queue holds
        with tracing.span("later"):
            pass
    tracing.stop(0.01)
    # It hangs still, and all of the above came to an end.
    assert not exporter.released.is_set() and tracing.span("x") is tracing.OFF
    exporter.released.set()
    [first] = [span for span in exporter.spans if span.name == "first"]
    assert first.resource.attributes["service.name"] == "panet-test"
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"[trace_id={first.context.trace_id:032x}] a line" in said
    assert len([line for line in said if "http://collector is away" in line]) == 1


def test_nothing_is_imported_unasked(python):
    code = """
import sys
from serving import client, server, tracing
tracing.start("panet-test", None)
with tracing.span("x", answer=1), tracing.call("/a/B"), tracing.http_request("POST", "/", {}):
    tracing.note(answer=2), tracing.past("x", 1, 2), tracing.http_status(500)
assert tracing.outgoing() == () and not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    python(code, warm=False)
