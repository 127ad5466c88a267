"""A server with more to do than it can: who waits, who is refused and how, and who is answered all the same."""

import concurrent.futures
import http.client
import itertools
import json
import threading
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from serving.api import rest as rest_module
from serving.api.monitoring import Metrics
from serving.api.prediction_service import PredictionService
from serving.api.rest import create_rest_server
from serving.client import PREDICT, Client, ServingError, write_tensor
from serving.models.model_manager import AVAILABLE
from serving.models.server_core import ServerCore
from serving.protos import open_inference_pb2 as pb
from serving.protos import wire_pb2
from serving.server import LIVENESS, create_server
from tests.serving.test_tracing import Manager

BODY = {"signature_name": "double", "inputs": [[[[[1.0] * 3] * 2] * 2]]}
SHAPE = (1, 1, 2, 2, 3)


class Busy(Manager):
    """A model that computes for as long as it is not told to `go`; what it was `asked`, in order."""

    def __init__(self):
        super().__init__()
        self.go, self.begun, self.asked = threading.Event(), threading.Semaphore(0), []
        self.version.signatures["double"] = self.double

    def double(self, query_images):
        self.asked.append(float(query_images[0, 0, 0, 0, 0]))
        self.begun.release()
        self.go.wait(60)
        return {"y": 2 * query_images}

    def known(self):
        return {7: (AVAILABLE, "")}


@pytest.fixture
def busy():
    manager = Busy()
    yield manager
    manager.go.set()


@pytest.fixture
def service(busy):
    return PredictionService(ServerCore([busy]), metrics=Metrics())


def request(value):
    made = wire_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "panet", "double"
    write_tensor(made.inputs["query_images"], np.full(SHAPE, value, np.float32))
    return made


def until(true):
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("waited in vain")


def counted(service):
    """Number of requests by model and status."""
    found = {}
    for line in service.metrics.text(service.core).decode().splitlines():
        if line.startswith(":tensorflow:serving:request_count_total{"):
            labels, _, number = line.partition("{")[2].rpartition("} ")
            found[tuple(part.partition("=")[2].strip('"') for part in labels.split(","))] = float(number)
    return found


def test_probes_are_answered_by_a_server_that_has_its_hands_full(busy, service):
    server, port = create_server(service, "127.0.0.1", 0, threads=1, queue=2)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, Client(f"127.0.0.1:{port}") as client:
        predict = channel.unary_unary(
            PREDICT, wire_pb2.PredictRequest.SerializeToString, wire_pb2.PredictResponse.FromString
        )
        first = predict.future(request(1), timeout=60)
        assert busy.begun.acquire(timeout=60)
        left = predict.future(request(2))
        until(lambda: server._state.thread_pool.busy == 2)
        with pytest.raises(ServingError, match="2 requests are at work or wait, .*growing pause.$") as caught:
            client.call("double", {"query_images": np.full(SHAPE, 3, np.float32)})
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED

        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", LIVENESS):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert client.versions() == [(7, AVAILABLE, "")] and "double" in client.signatures()
        live = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive", bytes, pb.ServerLiveResponse.FromString
        )
        assert live(b"", timeout=60).live
        # A stream that stays open takes no prediction's thread.
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            itertools.chain([ask], iter(busy.go.wait, True))
        )
        assert next(iter(stream)).list_services_response.service

        left.cancel()
        until(lambda: len(server._state.rpc_states) == 2)  # the server has heard of it
        busy.go.set()
        assert first.result().model_spec.version.value == 7
        assert predict(request(4), timeout=60).model_spec.version.value == 7
    server.stop(0).wait()
    # What nobody waits for any more is not computed.
    assert busy.asked == [1, 4]
    assert counted(service) == {("panet", "OK"): 2, ("", "RESOURCE_EXHAUSTED"): 1}


@pytest.fixture
def rest(service):
    server, port = create_rest_server(service, "127.0.0.1", 0, timeout=1.0, threads=1)
    yield port
    server.shutdown()
    server.server_close()


def test_rest_waits_no_longer_than_its_timeout(busy, service, rest, ask):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, rest, "POST", "/v1/models/panet:predict", BODY)
        assert busy.begun.acquire(timeout=60)
        tensor = {"name": "query_images", "datatype": "FP32", "shape": SHAPE, "data": [1.0] * 12}
        v2 = {"parameters": {"signature_name": "double"}, "inputs": [tensor]}
        for path, body in (("/v1/models/panet:predict", BODY), ("/v2/models/panet/infer", v2)):
            code, answer = ask(rest, "POST", path, body)
            assert code == 504 and "waited 1 s for its turn, and nothing was computed" in answer["error"]
        busy.go.set()
        assert first.result() == (200, {"outputs": [[[[[2.0] * 3] * 2] * 2]]})
    assert counted(service) == {("panet", "OK"): 1, ("panet", "DEADLINE_EXCEEDED"): 2}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/panet:predict", b"{", ("panet", "INVALID_ARGUMENT")),
        ("/v1/models/panet:predict", {"inputs": 1, "instances": 1}, ("panet", "INVALID_ARGUMENT")),
        ("/v1/models/other:predict", BODY, ("", "NOT_FOUND")),
        ("/v2/models/panet/infer", b"{", ("panet", "INVALID_ARGUMENT")),
        ("/v2/models/other/infer", {"inputs": []}, ("", "NOT_FOUND")),
    ],
)
def test_what_is_refused_before_the_model_sees_it_is_counted(service, rest, ask, path, body, status):
    assert ask(rest, "POST", path, body)[0] in (400, 404)
    assert counted(service) == {status: 1}


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/v1/models/panet:explain", 404, "Malformed request"),
        ("/v1/models/panet:predict", 413, "the limit is"),
    ],
)
def test_who_is_refused_unread_gets_the_answer_and_no_reset(rest, monkeypatch, path, code, said):
    monkeypatch.setattr(rest_module, "MAX_BODY", 1000)
    connection = http.client.HTTPConnection("127.0.0.1", rest, timeout=60)
    connection.request("POST", path, bytes(30 << 20))
    response = connection.getresponse()
    assert response.status == code and said in json.loads(response.read())["error"]
    connection.close()


def test_rows_that_are_not_one_for_each_instance_are_refused(busy, rest, ask):
    """Zipped, they would silently be as few as the shortest output has."""
    busy.go.set()
    busy.version.signatures["double"] = lambda query_images: {"y": query_images, "names": tf.constant(["a"])}
    body = {"signature_name": "double", "instances": BODY["inputs"] * 2}
    code, answer = ask(rest, "POST", "/v1/models/panet:predict", body)
    assert code == 400 and "'names': [1]" in answer["error"] and "ask with 'inputs'" in answer["error"]
    body["inputs"] = body.pop("instances")
    assert ask(rest, "POST", "/v1/models/panet:predict", body)[0] == 200


def test_two_prometheus_that_ask_at_once_both_hear_of_every_version():
    """The second must not clear what the first has just told."""
    metrics, waits, goes_on = Metrics(), threading.Event(), threading.Event()
    first = threading.current_thread()

    def available():
        if threading.current_thread() is first:
            if second.is_alive():
                waits.wait(0.2)
            else:
                second.start()
        else:
            waits.set()
            goes_on.wait(60)
        return [1]

    core = types.SimpleNamespace(managers={n: types.SimpleNamespace(available=available) for n in "abc"})
    second = threading.Thread(target=metrics.text, args=(core,))
    text = metrics.text(core).decode()
    goes_on.set()
    second.join()
    assert [f'model_name="{name}",version="1"}} 1.0' in text for name in "abc"] == [True] * 3
