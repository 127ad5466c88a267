"""TensorFlow Serving's REST API on the standard library's HTTP server: status, metadata and predict."""

import base64
import binascii
import http.server
import json
import re
import threading

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.api.prediction_service import ModelService
from serving.errors import RpcError, status_of
from serving.models.warmup import DEFAULT_SIGNATURE

PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?(?P<what>:predict|:classify|:regress|/metadata)?"
)
MAX_BODY = 1 << 28
"""Bytes of a request; five supports of 606 x 856 pixels as JSON numbers are about 100 MB."""
HTTP_STATUS = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
"""Of gRPC's codes, as TensorFlow Serving maps them; 500 for the rest."""


def create_rest_server(predictions, host, port, timeout=30.0, metrics_path=None):
    """Starts the REST server in threads of its own.

    Args:
        predictions: `PredictionService`. host, port: where to listen; port 0 takes a free one. timeout: seconds that a client may
        take to send its request. metrics_path: URL path of the Prometheus metrics, None for none.

    Returns:
        The `http.server.ThreadingHTTPServer`, to be stopped with `shutdown()`, and its port.

    Raises:
        OSError: the port cannot be bound.
    """

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = False
        models = ModelService(predictions.core)

    Server.predictions, Server.metrics_path = predictions, metrics_path
    handler = type("Handler", (Handler,), {"timeout": timeout})
    try:
        server = Server((host, port), handler)
    except OSError as error:
        raise OSError(f"--rest_api_port {port}: {host}:{port} cannot be bound ({error.strerror}). Choose another port.") from None
    threading.Thread(target=server.serve_forever, name="rest", daemon=True).start()
    return server, server.server_address[1]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; every answer is JSON, a failure `{"error": ...}`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.server.metrics_path and self.path == self.server.metrics_path:
            predictions = self.server.predictions
            return self._send(200, predictions.metrics.text(predictions.core), "text/plain; version=0.0.4; charset=utf-8")
        self._answer(lambda match: self._status(match) if match["what"] is None else self._metadata(match), (None, "/metadata"))

    def do_POST(self):
        self._answer(self._predict, (":predict", ":classify", ":regress"))

    def _answer(self, action, allowed):
        try:
            match = PATH.fullmatch(self.path)
            if match is None or match["what"] not in allowed:
                raise _HttpError(
                    404,
                    f"Malformed request: {self.command} {self.path[:200]}; expected GET /v1/models/NAME[/versions/N][/metadata] or "
                    "POST /v1/models/NAME[/versions/N|/labels/LABEL]:predict.",
                )
            code, body = 200, json.dumps(action(match))
        except _HttpError as error:
            code, body = error.code, json.dumps({"error": str(error)})
        except Exception as error:  # nothing a client sends may end the server
            status, message = status_of(error)
            code, body = HTTP_STATUS.get(status.name, 500), json.dumps({"error": message})
        self._send(code, body.encode(), "application/json")

    def _send(self, code, content, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if code >= 400:
            # What was not read of the body must not be taken for the next request.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def _fill(self, spec, match):
        spec.name = match["model"]
        if match["version"]:
            spec.version.value = int(match["version"])
        if match["label"]:
            spec.version_label = match["label"]

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
        return json_format.MessageToDict(self.server.predictions.metadata(request), preserving_proto_field_name=True)

    def _predict(self, match):
        body = self._body()
        if match["what"] != ":predict":
            request = predict_pb2.PredictRequest()
            self._fill(request.model_spec, match)
            request.model_spec.signature_name = body.get("signature_name", "")
            method, word = {":classify": ("classify", "classification"), ":regress": ("regress", "regression")}[match["what"]]
            self.server.predictions.refuse_method(request.model_spec, method, word)
        rows = "instances" in body
        if rows == ("inputs" in body):
            raise _HttpError(400, f"the request has the keys {sorted(body)}; expected exactly one of 'instances' and 'inputs'.")
        request = predict_pb2.PredictRequest()
        self._fill(request.model_spec, match)
        name = request.model_spec.signature_name = body.get("signature_name", DEFAULT_SIGNATURE)
        with self.server.predictions.core.lease(request.model_spec) as version:
            definition = version.definitions.get(name)
        aliases = sorted(definition.inputs) if definition else []
        inputs = columns(body["instances"], aliases) if rows else body["inputs"]
        if not isinstance(inputs, dict):
            inputs = {aliases[0]: inputs} if len(aliases) == 1 else {}
        for alias, value in inputs.items():
            known = definition and alias in definition.inputs
            dtype = tf.dtypes.as_dtype(definition.inputs[alias].dtype) if known else tf.float32
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(read_tensor(alias, value, dtype)))
        response = self.server.predictions.predict(request)
        outputs = {alias: write_tensor(alias, tf.make_ndarray(proto)) for alias, proto in response.outputs.items()}
        if rows:
            row = [dict(zip(outputs, values)) for values in zip(*outputs.values())]
            return {"predictions": row if len(outputs) > 1 else next(iter(outputs.values()))}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def _body(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise _HttpError(411, "the request has no Content-Length.")
        if int(length) > MAX_BODY:
            raise _HttpError(413, f"the request has {length} bytes; the limit is {MAX_BODY}. Send fewer images, or use gRPC.")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _HttpError(400, f"JSON Parse error: {error}") from None
        if not isinstance(body, dict):
            raise _HttpError(400, f"the request is a JSON {type(body).__name__}; expected an object.")
        return body

    def log_message(self, format, *args):
        """Not a line for each request: paths may name patients' files."""


class _HttpError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def columns(instances, aliases):
    """The row form of a request as columns: `[{"x": 1}, {"x": 2}]` becomes `{"x": [1, 2]}`."""
    if not isinstance(instances, list) or not instances:
        raise RpcError.invalid("'instances' is empty or no list; expected one item for each episode.")
    if not isinstance(instances[0], dict) or "b64" in instances[0]:
        return {aliases[0]: instances} if len(aliases) == 1 else {}
    keys = set(instances[0])
    if any(not isinstance(item, dict) or set(item) != keys for item in instances):
        raise RpcError.invalid(f"'instances' differ in their keys; expected {sorted(keys)} in each.")
    return {key: [item[key] for item in instances] for key in keys}


def read_tensor(alias, value, dtype):
    """numpy array of a JSON value; bytes come as `{"b64": "..."}`."""
    try:
        if dtype == tf.string:
            return np.array(_bytes(value), object)
        return np.array(value, dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise RpcError.invalid(f"input {alias}: not a {dtype.name} tensor ({error}).") from None


def _bytes(value):
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f'found {type(value).__name__}; expected a string or {{"b64": "..."}}')


def write_tensor(alias, array):
    """JSON value of an output; bytes as base64 where the alias ends in `_bytes`."""
    if array.dtype.kind != "O":
        return array.tolist()
    encode = (
        (lambda b: {"b64": base64.b64encode(b).decode()}) if alias.endswith("_bytes") else (lambda b: b.decode("utf-8", "replace"))
    )
    return np.frompyfunc(encode, 1, 1)(array).tolist()
