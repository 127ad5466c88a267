"""TensorFlow Serving's REST API on the standard library's HTTP server: status, metadata and predict; and the
Open Inference Protocol below /v2 (`serving.api.open_inference_rest`).

GET /v1/models/NAME answers 200 with the states of the versions, as TensorFlow Serving does, also while they
load or after they failed; `:predict` answers 503 until a version serves. Our own are three for probes: GET
/v1/models/NAME:ready is 200 when a version of this model serves, GET /readyz when every model does, both
until the server is asked to end, and 503 else; GET /livez is 200 as long as the process answers at all.
"""

import contextlib
import http
import http.server
import json
import logging
import os
import re
import socket
import sys
import threading
import time
import urllib.parse

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving import tracing
from serving.address import refusal, resolve
from serving.api import provenance
from serving.api.http_body import HttpError, read_body, too_large
from serving.api.json_tensors import check_rows, columns, only_input, parse, read_tensor, write_tensor
from serving.api.open_inference_rest import HEADER_LENGTH, ROOT, OpenInferenceRest
from serving.api.prediction_service import ModelService, signature_of
from serving.errors import RpcError, status_of
from serving.models import support_sets
from serving.models.warmup import DEFAULT_SIGNATURE

log = logging.getLogger("serving")
PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d{1,19})|/labels/(?P<label>[^/:]+))?(?P<what>:predict|:classify|:regress|:ready|/metadata)?",
    re.ASCII,
)
ADDRESS = re.compile("^https?://[^/?#]*", re.IGNORECASE)
COLON = re.compile("%3a(?=(predict|classify|regress|ready)$)", re.IGNORECASE)
MAX_REQUEST_LINE = 65537
LINGER = 2.0
"""Seconds without a byte after which a client that was refused has sent all that it will."""
MAX_BODY = 1 << 28
"""Bytes of a request, unpacked; five supports of 606 x 856 pixels as JSON numbers are about 100 MB."""
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""Of gRPC's codes, as TensorFlow Serving maps them; 500 for the rest."""
METHODS = "GET, HEAD, POST, OPTIONS"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": f"Content-Type, Content-Encoding, {HEADER_LENGTH}, {provenance.SUPPORTS}",
    "Access-Control-Expose-Headers": f"{HEADER_LENGTH}, {provenance.HEADER}",
}


def create_rest_server(predictions, host, port, timeout=30.0, metrics_path=None, threads=64, cors=False):
    """Starts the REST server in threads of its own.

    Args:
        predictions: `PredictionService`. host, port: where to listen; port 0 takes a free one. timeout:
            seconds that a client may
        take to send its request, and that the request may wait for its turn. metrics_path: URL path of the
        Prometheus metrics, None for none. threads: predictions at once.
        cors: whether pages of other origins may ask.

    Returns:
        The `RestServer`, to be stopped with `drain()` (or `shutdown()` at once), and its port.

    Raises:
        OSError: the port cannot be bound.
    """
    try:
        family, address = resolve(host, port)
        server = RestServer(family, address, type("Handler", (Handler,), {"timeout": timeout}))
    except OSError as error:
        raise refusal("rest_api_port", host, port, error) from None
    server.predictions, server.metrics_path, server.cors = predictions, metrics_path, cors
    server.models, server.slots = ModelService(predictions.core), threading.BoundedSemaphore(threads)
    server.open_inference = OpenInferenceRest(predictions)
    threading.Thread(target=server.serve_forever, args=(0.1,), name="rest", daemon=True).start()
    return server, server.server_address[1]


class RestServer(http.server.ThreadingHTTPServer):
    """A thread for each connection; knows which requests are being answered."""

    daemon_threads = True
    # Answers that ended a moment ago must not keep a new server from the port; one that listens does (POSIX).
    allow_reuse_address = os.name == "posix"
    request_queue_size = 128

    def __init__(self, family, address, handler):
        self.address_family = family
        self.draining = False
        self._busy, self._changed = 0, threading.Condition()
        super().__init__(address, handler)

    def server_bind(self):
        if self.address_family == socket.AF_INET6 and self.server_address[0] == "::":
            # As gRPC does: one socket for both families.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own would look the address up in DNS, which may take seconds.
        super(http.server.HTTPServer, self).server_bind()

    @contextlib.contextmanager
    def answering(self):
        """Counts a request from its first line to the end of its answer; yields whether it came in time."""
        with self._changed:
            counts = not self.draining
            self._busy += counts
        try:
            yield counts
        finally:
            with self._changed:
                self._busy -= counts
                self._changed.notify_all()

    def drain(self, seconds=10.0):
        """Waits until every request that has begun is answered, or `seconds` have passed; later predictions
        get a 503."""
        # A connection that was accepted just now has not been read yet.
        time.sleep(0.1)
        with self._changed:
            self.draining = True
            self._changed.wait_for(lambda: not self._busy, seconds)
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        error = sys.exception()
        # Probes and impatient clients go away when they like.
        if not isinstance(error, (ConnectionError, TimeoutError)):
            log.error("REST: %s: %s", type(error).__name__, error)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection; every answer is JSON (but the metrics), a failure `{"error": ...}`."""

    protocol_version = "HTTP/1.1"
    _unread = False

    def handle_one_request(self):
        with contextlib.ExitStack() as self._stack:
            super().handle_one_request()

    def finish(self):
        super().finish()
        if self._unread:
            self._linger()

    def _linger(self):
        """Reads on for a while: to close upon bytes that nobody has read resets the connection, and the client
        would see that in place of the answer (RFC 9112, section 9.6)."""
        end = time.monotonic() + self.timeout
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while self.connection.recv(1 << 16) and time.monotonic() < end:
                pass

    def parse_request(self):
        self._in_time = self._stack.enter_context(self.server.answering())
        # Old clients end a body with a line that is none of it (RFC 9112, section 2.2).
        for _ in range(4):
            if self.raw_requestline.strip(b"\r\n"):
                break
            self.raw_requestline = self.rfile.readline(MAX_REQUEST_LINE)
        return super().parse_request()

    def handle_expect_100(self):
        """Refuses what is too large before it is sent."""
        length = self.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY:
            error = too_large(length[:20], MAX_BODY)
            self._send(error.code, json.dumps({"error": str(error)}).encode(), "application/json")
            return False
        return super().handle_expect_100()

    def do_GET(self):
        path = self._path()
        if self.server.metrics_path and path == self.server.metrics_path:
            predictions = self.server.predictions
            return self._send(
                200, predictions.metrics.text(predictions.core), "text/plain; version=0.0.4; charset=utf-8"
            )
        self._answer(self._get, (None, "/metadata", ":ready"))

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        v2 = ROOT.fullmatch(self._path())
        route = "/v2/models/{model}/infer" if v2 else "/v1/models/{model}:predict"
        with tracing.http_request("POST", route, self.headers):
            self._answer(self._predict, (":predict", ":classify", ":regress"))

    def do_OPTIONS(self):
        self._send(204, b"", None, {"Allow": METHODS})

    def _other_method(self):
        body = json.dumps(
            {"error": f"method {self.command} is not allowed; expected one of {METHODS}."}
        ).encode()
        self._send(405, body, "application/json", {"Allow": METHODS})

    do_PUT = do_DELETE = do_PATCH = do_TRACE = do_CONNECT = _other_method

    def send_error(self, code, message=None, explain=None):
        """What the standard library refuses itself (a broken request line, too many headers) is JSON, too."""
        short = message or http.HTTPStatus(code).phrase
        self.command = getattr(self, "command", None)
        self.request_version = self.protocol_version  # without one it would be an answer without a head
        self._send(
            int(code), json.dumps({"error": f"Malformed request: {short[:200]}"}).encode(), "application/json"
        )

    def _path(self):
        """Of a request's target, also where a proxy's client names the whole address (RFC 9112, section
        3.2.2) or writes the colon before the method as %3A."""
        path = ADDRESS.sub("", self.path).partition("?")[0].partition("#")[0]
        return COLON.sub(":", path)

    def _answer(self, action, allowed):
        kind, headers, self._answer_id = "application/json", {}, None
        try:
            if ROOT.fullmatch(self._path()):
                code, body, headers = self._open_inference(self._path())
                kind = headers.pop("Content-Type", kind)
            else:
                code, answer = self._serving(action, allowed)
                with tracing.stage("write json"):
                    body = json.dumps(answer).encode()
        except HttpError as error:
            code, body = error.code, _error(error)
        except TimeoutError:
            code, body = 408, _error(f"the request was not sent whole in {self.timeout:g} s.")
        except ConnectionError:
            raise
        except Exception as error:  # nothing a client sends may end the server
            status, message = status_of(error)
            code, body = HTTP_STATUS.get(status.name, 500), _error(message)
        if self._answer_id:
            headers[provenance.HEADER] = self._answer_id
        self._send(code, body, kind, headers)

    def _serving(self, action, allowed):
        """Code and JSON value of TensorFlow Serving's API, and of the probes."""
        path = self._path()
        match = PATH.fullmatch(path)
        if match is None and path in ("/readyz", "/livez") and None in allowed:
            return self._probe(path)
        if match is None or match["what"] not in allowed:
            raise HttpError(
                404,
                f"Malformed request: {self.command} {path[:200]}; expected GET /v1/models/NAME[/versions/N][/metadata|:ready] or "
                "POST /v1/models/NAME[/versions/N|/labels/LABEL]:predict; or below /v2, the Open Inference Protocol.",
            )
        return action(match)

    def _send(self, code, content, kind, headers=None):
        tracing.http_status(code)
        self.send_response(code)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        for name, value in {**(headers or {}), **(CORS if self.server.cors else {})}.items():
            self.send_header(name, value)
        if code >= 400 or self.server.draining or self.headers_say_body():
            # What was not read of the body must not be taken for the next request.
            self.send_header("Connection", "close")
            self.close_connection = self._unread = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def headers_say_body(self):
        """Whether a request of another method than POST has a body, which nobody reads."""
        headers = getattr(self, "headers", None)
        return (
            self.command != "POST"
            and bool(headers)
            and ("Content-Length" in headers or "Transfer-Encoding" in headers)
        )

    def _fill(self, spec, match):
        spec.name = urllib.parse.unquote(match["model"])
        if match["version"]:
            spec.version.value = int(match["version"])
        if match["label"]:
            spec.version_label = urllib.parse.unquote(match["label"])

    def _probe(self, path):
        core = self.server.predictions.core
        ready = path == "/livez" or core.is_ready()
        return (200 if ready else 503), {
            "status": "ok" if ready else "not ready",
            "models": sorted(core.managers),
        }

    def _get(self, match):
        if match["what"] == "/metadata":
            return 200, self._metadata(match)
        answer = self._status(match)
        if match["what"] is None:
            return 200, answer
        spec = get_model_status_pb2.GetModelStatusRequest().model_spec
        self._fill(spec, match)
        ready = self.server.predictions.core.serves(spec)
        return (200 if ready else 503), {"ready": ready, **answer}

    def _status(self, match):
        request = get_model_status_pb2.GetModelStatusRequest()
        self._fill(request.model_spec, match)
        response = self.server.models.status(request)
        versions = [
            {
                "version": str(status.version),
                "state": get_model_status_pb2.ModelVersionStatus.State.Name(status.state),
                "status": {
                    "error_code": "UNKNOWN" if status.status.error_code else "OK",
                    "error_message": status.status.error_message,
                },
            }
            for status in response.model_version_status
        ]
        return {"model_version_status": versions}

    def _metadata(self, match):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec, match)
        return json_format.MessageToDict(
            self.server.predictions.metadata(request), preserving_proto_field_name=True
        )

    def _open_inference(self, path):
        door = self.server.open_inference
        if self.command != "POST":
            return door.get(path, self.path.partition("#")[0].partition("?")[2])
        door.check_infer(path)
        self._refuse_late()
        with tracing.stage("read body"):
            body = read_body(self.headers, self.rfile, MAX_BODY)
        deadline = time.monotonic() + self.timeout
        with self.server.predictions.counted(door.model_of(path)), self._turn(deadline):
            return door.infer(path, self.headers.get(HEADER_LENGTH), body, self.headers.items(), deadline)

    @contextlib.contextmanager
    def _turn(self, deadline):
        """One of the predictions that are made at once.

        Raises:
            RpcError: DEADLINE_EXCEEDED.
        """
        if not self.server.slots.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise RpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the request waited {self.timeout:g} s for its turn, and nothing was computed; ask again later, or another server.",
            )
        try:
            yield
        finally:
            self.server.slots.release()

    def _refuse_late(self):
        if not self._in_time:
            raise HttpError(503, "the server is about to end; ask another one.")

    def _predict(self, match):
        self._refuse_late()
        spec = model_pb2.ModelSpec()
        self._fill(spec, match)
        with contextlib.ExitStack() as reading:
            reading.enter_context(tracing.stage("read body"))
            body = read_body(self.headers, self.rfile, MAX_BODY)
            with self.server.predictions.counted(spec.name):
                body = parse(body)
                reading.close()
                deadline = time.monotonic() + self.timeout
                return self._predicted(spec, match["what"], body, deadline)

    def _predicted(self, spec, what, body, deadline):
        predictions = self.server.predictions
        name = body.get("signature_name", "")
        if not isinstance(name, str):
            raise RpcError.invalid(f"signature_name is {json.dumps(name)[:100]}; expected a string.")
        spec.signature_name = name
        if what != ":predict":
            method, word = {
                ":classify": ("classify", "classification"),
                ":regress": ("regress", "regression"),
            }[what]
            predictions.refuse_method(spec, method, word)
        rows = "instances" in body
        if rows == ("inputs" in body):
            raise RpcError.invalid(
                f"the request has the keys {sorted(body)}; expected exactly one of 'instances' and 'inputs'."
            )
        request = predict_pb2.PredictRequest(model_spec=spec)
        with self._turn(deadline), predictions.core.lease(spec) as version:
            definition = signature_of(version, name or DEFAULT_SIGNATURE)
            with tracing.stage("decode"):
                _fill_inputs(request, body.pop("instances" if rows else "inputs"), rows, definition)
            answer = provenance.begin(self.headers.items())
            response = predictions.predict(request, deadline, version, answer)
            self._answer_id = answer.id
        with tracing.stage("encode"):
            arrays = {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}
            if rows:
                check_rows(arrays)
            outputs = {alias: write_tensor(alias, array) for alias, array in arrays.items()}
        if rows:
            row = [dict(zip(outputs, values)) for values in zip(*outputs.values())]
            return 200, {"predictions": row if len(outputs) > 1 else next(iter(outputs.values()))}
        return 200, {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def log_message(self, format, *args):
        """Not a line for each request: paths may name patients' files."""


def _error(message):
    return json.dumps({"error": str(message)}).encode()


def _fill_inputs(request, values, rows, definition):
    """Turns the JSON values of a request into its tensors, by the types of a signature."""
    aliases = sorted(definition.inputs)
    inputs = columns(values, aliases) if rows else values
    if not isinstance(inputs, dict) or (set(inputs) == {"b64"} and "b64" not in aliases):
        inputs = only_input(inputs, aliases, "inputs")
    for alias, value in inputs.items():
        if alias in definition.inputs:
            dtype = tf.dtypes.as_dtype(definition.inputs[alias].dtype)
        elif alias == support_sets.ALIAS:
            dtype = tf.string
        else:
            request.inputs[alias].SetInParent()  # the service says that it is unknown, and what is known
            continue
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(read_tensor(alias, value, dtype)))
