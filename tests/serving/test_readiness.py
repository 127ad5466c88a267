"""Who asks whether the server is ready hears the truth: while models load, when they serve, when the server
ends."""

import http.client
import json
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.api.prediction_service import PredictionService
from serving.api.rest import create_rest_server
from serving.models.model_manager import ModelManager
from serving.models.server_core import ServerCore
from serving.server import LIVENESS, create_server

SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@pytest.fixture
def loading(base_path):
    """A core whose one model waits with its loading until `go` is set; and `go`."""
    go = threading.Event()
    manager = ModelManager("panet", base_path, 0, on_load=lambda version: go.wait(60))
    core = ServerCore([manager])
    thread = threading.Thread(target=manager.start, daemon=True)
    yield core, go, thread
    go.set()
    if thread.is_alive():
        thread.join()


def test_health_and_rest_follow_the_models(loading, ask):
    core, go, thread = loading
    service = PredictionService(core)
    server, port = create_server(service, "127.0.0.1", 0)
    rest, rest_port = create_rest_server(service, "127.0.0.1", 0)

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def healthy():
            answers = {health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in SERVICES}
            alive = health.Check(health_pb2.HealthCheckRequest(service=LIVENESS)).status
            assert len(answers) == 1 and alive == health_pb2.HealthCheckResponse.SERVING
            return answers.pop() == health_pb2.HealthCheckResponse.SERVING

        def status():
            code, answer = ask(rest_port, "GET", "/v1/models/panet")
            return code, [version["state"] for version in answer["model_version_status"]]

        def ready():
            return ask(rest_port, "GET", "/readyz")[0], ask(rest_port, "GET", "/v1/models/panet:ready")[0]

        def refused():
            """Code of a prediction over gRPC, and code and message over REST."""
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "panet"
            with pytest.raises(grpc.RpcError) as caught:
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
            code, answer = ask(rest_port, "POST", "/v1/models/panet:predict", {"inputs": {}})
            return caught.value.code().name, code, answer["error"]

        assert not healthy() and status() == (200, ["START"]) and ready() == (503, 503)
        assert refused()[:2] == ("UNAVAILABLE", 503)
        thread.start()
        while status()[1] != ["LOADING"]:
            assert thread.is_alive()
        # As TensorFlow Serving: the question is answered, with the state; whether it is ready is another.
        assert not healthy() and status()[0] == 200 and ready() == (503, 503)
        assert (
            refused()[:2] == ("UNAVAILABLE", 503)
            and "panet is being loaded (versions: {1: 'LOADING'})" in refused()[2]
        )
        assert ask(rest_port, "GET", "/livez")[0] == 200
        assert ask(rest_port, "GET", "/v1/models/other")[0] == 404
        assert ask(rest_port, "GET", "/v1/models/other:ready")[0] == 404
        go.set()
        thread.join()
        assert healthy() and status() == (200, ["AVAILABLE"]) and ready() == (200, 200)
        for version, code in ((1, 200), (2, 404)):
            assert ask(rest_port, "GET", f"/v1/models/panet/versions/{version}:ready")[0] == code
        assert refused()[:2] == ("INVALID_ARGUMENT", 400)
        core.leave()
        assert not healthy() and ready() == (503, 503)
    rest.shutdown()
    server.stop(0)


class Model:
    """Stands for a `ModelManager`: whether it serves is said, not loaded."""

    def __init__(self, name):
        self.name, self.serves, self.on_change = name, False, None

    def available(self):
        return [1] if self.serves else []


def test_one_model_that_breaks_does_not_take_the_others_out_of_service():
    models = [Model("a"), Model("b")]
    core = ServerCore(models)
    heard = []
    core.listeners.append(lambda: heard.append(core.is_ready()))
    for model, serves in ((0, True), (1, True), (0, False), (1, False), (1, True)):
        models[model].serves = serves
        models[model].on_change()
    assert heard == [False, True, True, False, True]
    core.leave()
    assert heard[-1] is False
    assert not ServerCore().is_ready(), "no model has been named yet"


def test_a_request_in_flight_is_answered_and_a_later_one_is_not(service, ask):
    server, port = create_rest_server(service, "127.0.0.1", 0)
    body = json.dumps({"inputs": {}}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/v1/models/panet:predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:5])
    while not server._busy:
        pass
    drain = threading.Thread(target=server.drain, args=(60,))
    drain.start()
    while not server.draining:
        pass
    code, answer = ask(port, "POST", "/v1/models/panet:predict", {"inputs": {}})
    assert code == 503 and "about to end" in answer["error"]
    connection.send(body[5:])
    response = connection.getresponse()
    assert response.status == 400 and "missing" in json.loads(response.read())["error"]
    assert response.getheader("Connection") == "close"
    drain.join(60)
    assert not drain.is_alive()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/livez")


def test_clients_that_go_away_leave_no_traceback(service, ask, capfd, caplog):
    import socket
    import struct

    server, port = create_rest_server(service, "127.0.0.1", 0)
    for request in (
        b"",
        b"GET /v1/mod",
        b"GET /v1/models/panet HTTP/1.1\r\n\r\n",
        b"POST /v1/models/panet:predict HTTP/1.1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(request)
            # Closing resets the connection, so that the answer cannot be written.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(port, "GET", "/v1/models/panet")[0] == 200
    server.drain(10)
    assert "Traceback" not in capfd.readouterr().err and not caplog.records
