"""TensorFlow Serving's REST API over the standard library's client."""

import base64
import gzip
import http.client
import json
import socket
import zlib

import numpy as np
import pytest

from panet_keras.pictures.decode import encode_png
from serving.api.rest import MAX_BODY, create_rest_server
from tests.panet_keras.test_doors import REFUSED


@pytest.fixture(scope="module")
def predict(ask):
    def send(port, body, path="/v1/models/panet:predict"):
        return ask(port, "POST", path, body)

    return send


def test_columns_and_rows_give_the_model_s_answer(rest, predict, model, episode):
    inputs, _ = episode(1, 1, 1, (32, 32), batch=2)
    lists = {name: value.tolist() for name, value in inputs.items()}
    code, answer = predict(rest, {"inputs": lists})
    expected = np.exp(model(inputs))
    expected /= expected.sum(-1, keepdims=True)
    assert code == 200 and set(answer["outputs"]) == {"probabilities", "masks", "presence"}
    np.testing.assert_allclose(answer["outputs"]["probabilities"], expected, atol=1e-5)
    rows = [{name: value[i] for name, value in lists.items()} for i in range(2)]
    code, answer = predict(
        rest, {"signature_name": "serving_default", "instances": rows}, "/v1/models/panet/versions/1:predict"
    )
    assert code == 200
    np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], expected, atol=1e-5)


def test_pictures_go_as_base64(rest, predict, episode):
    inputs, _ = episode(1, 1, 1, (64, 64))
    support = {name: inputs[name].tolist() for name in ("support_images", "support_masks")}
    _, state = predict(rest, {"signature_name": "encode_support", "inputs": support})
    picture = base64.b64encode(encode_png(np.zeros((50, 70, 3), np.uint8))).decode()
    body = {
        "signature_name": "segment_encoded",
        "inputs": {**state["outputs"], "query_bytes": [[{"b64": picture}]]},
    }
    code, answer = predict(rest, body)
    assert code == 200 and np.shape(answer["outputs"]["masks"]) == (1, 1, 64, 64)
    body["inputs"]["query_bytes"] = [[{"b64": "?"}]]
    assert predict(rest, body)[0] == 400
    # What checksums show is refused before the graph; what its decoder finds is said in the same words.
    whole, _, _ = REFUSED["PNG with a wrong zlib stream"]
    for content, said in ((whole[:-1] + b"?", "PNG with a wrong checksum"), (whole, "broken data stream")):
        damaged = {"b64": base64.b64encode(content).decode()}
        body["inputs"]["query_bytes"] = [[{"b64": picture}, damaged]]
        code, answer = predict(rest, body)
        assert code == 400 and answer["error"].startswith("query_bytes[0, 1]: cannot be decoded"), answer
        assert said in answer["error"] and answer["error"].endswith("Copy or export the file again.")


def test_status_and_metadata(rest, ask):
    ok = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]}
    assert (
        ask(rest, "GET", "/v1/models/panet")
        == ask(rest, "GET", "/v1/models/panet/versions/1")
        == (200, expected)
    )
    code, answer = ask(rest, "GET", "/v1/models/panet/metadata")
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert code == 200 and set(signatures) == {
        "serving_default",
        "encode_support",
        "segment",
        "segment_encoded",
    }
    assert set(signatures["serving_default"]["inputs"]) == {"support_images", "support_masks", "query_images"}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("GET", "/v1/models/other", None, 404, "this server has .'panet'."),
        ("GET", "/v1/models/panet/versions/9", None, 404, "known versions: .1."),
        ("GET", f"/v1/models/panet/versions/{2**63 - 1}", None, 404, "known versions: .1."),
        ("GET", f"/v1/models/panet/versions/{2**63}", None, 400, "out of range"),
        ("GET", "/v1/models/a%3Ab%2Fc", None, 404, "Latest.a:b/c.; this server has"),
        ("GET", "/v1/models/../../etc", None, 404, "Malformed request"),
        ("POST", "/v1/models/panet:explain", {}, 404, "expected GET /v1/models"),
        (
            "POST",
            "/v1/models/panet:classify",
            {},
            400,
            "method_name to be tensorflow/serving/classify. Was: tensorflow/serving/pre",
        ),
        (
            "POST",
            "/v1/models/panet:regress",
            {"signature_name": "x"},
            400,
            "No signature was found with the name: x; this model has",
        ),
        (
            "POST",
            "/v1/models/panet/labels/canary:predict",
            {"inputs": {}},
            400,
            "Unrecognized servable version label: canary",
        ),
        ("POST", "/v1/models/panet:predict", b"{", 400, "JSON Parse error"),
        ("POST", "/v1/models/panet:predict", b"[" * 100000, 400, "JSON Parse error: nested too deep"),
        ("POST", "/v1/models/panet:predict?x=1", b'{"inputs": NaN}', 400, "NaN is no number of JSON"),
        (
            "POST",
            "/v1/models/panet:predict",
            {"inputs": [1]},
            400,
            "does not name its inputs; expected .*'query_images'",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {"signature_name": 7, "inputs": {}},
            400,
            "signature_name is 7; expected a string",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {"inputs": {"support_masks": [[0, 256]]}},
            400,
            "support_masks: not a uint8 tensor .256 is no uint8; expected whole numbers from 0 to 255",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {"signature_name": "segment_encoded", "inputs": {"query_bytes": [["x"]]}},
            400,
            "missing .'keys_1'.*The state is what the signature encode_support answers",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {
                "signature_name": "segment_encoded",
                "inputs": {"query_bytes": [["x"]], "support_set": ["clinic"]},
            },
            404,
            "support set 'clinic' is unknown; this server has ..",
        ),
        (
            "PUT",
            "/v1/models/panet",
            None,
            405,
            "method PUT is not allowed; expected one of GET, HEAD, POST, OPTIONS",
        ),
        ("BREW", "/coffee", None, 501, "Unsupported method"),
        ("POST", "/v1/models/panet:predict", [], 400, "a JSON list; expected an object"),
        ("POST", "/v1/models/panet:predict", {"inputs": {}, "instances": []}, 400, "exactly one of"),
        ("POST", "/v1/models/panet:predict", {"instances": []}, 400, "'instances' is empty"),
        (
            "POST",
            "/v1/models/panet:predict",
            {"inputs": {"query_images": [1, [2]]}},
            400,
            "query_images: not a float32 tensor",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {"inputs": {"query_image": [1]}},
            400,
            "missing .*unknown .'query_image'.",
        ),
        (
            "POST",
            "/v1/models/panet:predict",
            {"signature_name": "segmnet", "inputs": {}},
            400,
            "this model has .'encode_support'",
        ),
    ],
)
def test_mistakes_get_a_status_and_a_useful_message(rest, ask, method, path, body, code, message):
    import re

    found, answer = ask(rest, method, path, body)
    assert found == code and re.search(message, answer["error"]), answer
    assert ask(rest, "GET", "/v1/models/panet")[0] == 200


def test_huge_bodies_are_refused_unread(rest, ask):
    code, answer = ask(rest, "POST", "/v1/models/panet:predict", b"", {"Content-Length": str(MAX_BODY + 1)})
    assert code == 413 and str(MAX_BODY) in answer["error"]


def test_bodies_come_chunked_and_packed(rest, ask, episode):
    inputs, _ = episode(1, 1, 1, (32, 32))
    body = json.dumps({"inputs": {name: value.tolist() for name, value in inputs.items()}}).encode()
    expected = ask(rest, "POST", "/v1/models/panet:predict", body)
    assert expected[0] == 200
    packed = gzip.compress(body)
    for content, headers in (
        (iter([body[:100], body[100:]]), {"Transfer-Encoding": "chunked"}),
        (packed, {"Content-Encoding": "gzip"}),
        (iter([packed]), {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}),
    ):
        assert ask(rest, "POST", "/v1/models/panet:predict", content, headers) == expected


def test_a_gzip_bomb_is_stopped(rest, ask):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    bomb = b"".join(packer.compress(block) for _ in range((MAX_BODY >> 20) + 1)) + packer.flush()
    assert len(bomb) < 1 << 20
    code, answer = ask(rest, "POST", "/v1/models/panet:predict", bomb, {"Content-Encoding": "gzip"})
    assert code == 413 and "unpacks to more than" in answer["error"]


@pytest.mark.parametrize(
    ("request_", "begins", "holds"),
    [
        ("GET http://proxy:80/v1/models/panet HTTP/1.1", "HTTP/1.1 200", "AVAILABLE"),
        ("GET /v1/models/panet%3Aready HTTP/1.1", "HTTP/1.1 200", '"ready": true'),
        ("\r\n\r\nGET /v1/models/panet HTTP/1.1", "HTTP/1.1 200", "AVAILABLE"),
        # A gRPC client that was given the REST port.
        ("PRI * HTTP/2.0", "HTTP/1.1 505", "Invalid HTTP version"),
        (
            f"POST /v1/models/panet:predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {MAX_BODY + 1}",
            "HTTP/1.1 413",
            f"the limit is {MAX_BODY}",
        ),
    ],
)
def test_requests_as_proxies_and_strangers_write_them(rest, request_, begins, holds):
    with socket.create_connection(("127.0.0.1", rest), timeout=60) as connection:
        connection.sendall(f"{request_}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith(begins) and holds in answer and "HTTP/1.1 100" not in answer


def test_head_options_and_query_strings(rest, ask, service):
    assert ask(rest, "HEAD", "/v1/models/panet") == (200, None)
    assert ask(rest, "HEAD", "/v1/models/other") == (404, None)
    assert ask(rest, "GET", "/v1/models/panet?verbose=1") == ask(rest, "GET", "/v1/models/p%61net")
    assert ask(rest, "GET", "/v1/models/panet?verbose=1")[0] == 200
    assert ask(rest, "OPTIONS", "/v1/models/panet:predict") == (204, None)
    other, port = create_rest_server(service, "127.0.0.1", 0, cors=True)
    for number, origin in ((rest, None), (port, "*")):
        for method in ("OPTIONS", "GET"):
            connection = http.client.HTTPConnection("127.0.0.1", number, timeout=60)
            connection.request(method, "/v1/models/panet", headers={"Origin": "https://clinic.example"})
            assert connection.getresponse().getheader("Access-Control-Allow-Origin") == origin
    other.shutdown()
    other.server_close()


def test_a_request_leases_its_version_once(rest, predict, episode, monkeypatch):
    from serving.models.server_core import ServerCore

    leased = []
    lease = ServerCore.lease
    monkeypatch.setattr(ServerCore, "lease", lambda core, spec: leased.append(spec.name) or lease(core, spec))
    inputs, _ = episode(1, 1, 1, (32, 32))
    assert predict(rest, {"inputs": {name: value.tolist() for name, value in inputs.items()}})[0] == 200
    assert leased == ["panet"]


def test_metrics_count_requests_by_status(rest, predict, episode):
    inputs, _ = episode(1, 1, 1, (32, 32))
    predict(rest, {"inputs": {name: value.tolist() for name, value in inputs.items()}})
    predict(rest, {"inputs": {}})
    predict(rest, {"inputs": {}}, "/v1/models/invented_by_a_client:predict")
    connection = http.client.HTTPConnection("127.0.0.1", rest, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    count = ':tensorflow:serving:request_count_total{model_name="panet",status="%s"}'
    assert float(values[count % "OK"]) >= 1 and float(values[count % "INVALID_ARGUMENT"]) >= 1
    assert float(values[':tensorflow:serving:request_latency_sum{model_name="panet"}']) > 0
    assert (
        "invented" not in text
        and values[':panet_bus:serving:available_version{model_name="panet",version="1"}'] == "1.0"
    )
