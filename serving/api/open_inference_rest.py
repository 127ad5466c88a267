"""The Open Inference Protocol over REST: /v2 and what is below it.

Tensors are JSON, or follow the JSON as bytes: the header Inference-Header-Content-Length says where the JSON
ends, and the parameter binary_data_size of a tensor how many bytes are its own.
"""

import json
import re
import urllib.parse

import numpy as np
import tensorflow as tf

from serving import tracing
from serving.api import provenance
from serving.api.http_body import HttpError
from serving.api.json_tensors import parse, read_tensor
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
from serving.errors import RpcError

ROOT = re.compile(r"/v2(/.*)?", re.DOTALL)
MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?(?P<what>/ready|/infer)?")
HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"
NOT_READY = 400
"""The protocol asks for a code from 400 to 499."""


class OpenInferenceRest:
    """Answers of the protocol as (code, body, headers)."""

    def __init__(self, predictions):
        self.door = OpenInference(predictions)

    def get(self, path, query=""):
        """Of a GET request.

        Args:
            path: of the URL. query: what follows its question mark; `signature_name=NAME` chooses the
                signature whose inputs and outputs a model's metadata lists.

        Raises:
            HttpError: 404 for a path that there is not.
            RpcError: as `OpenInference`.
        """
        match = MODEL.fullmatch(path)
        if path.rstrip("/") == "/v2":
            return _json(200, self.door.server_metadata())
        if path == "/v2/health/live":
            return _json(200, {"live": True})
        if path == "/v2/health/ready":
            ready = self.door.core.is_ready()
            return _json(200 if ready else NOT_READY, {"ready": ready})
        if match is None or match["what"] == "/infer":
            raise _unknown("GET", path)
        name, version = _names(match)
        if match["what"]:
            ready = self.door.model_ready(name, version)
            return _json(200 if ready else NOT_READY, {"name": name, "ready": ready})
        signature = dict(urllib.parse.parse_qsl(query)).get(SIGNATURE, "")
        return _json(200, self.door.model_metadata(name, version, signature))

    @staticmethod
    def model_of(path):
        """Name of the model that a path asks for."""
        return _names(MODEL.fullmatch(path))[0]

    def check_infer(self, path):
        """Refuses a POST request, before its body is read, to anything but a model's `/infer`.

        Raises:
            HttpError: 404.
        """
        match = MODEL.fullmatch(path)
        if match is None or match["what"] != "/infer":
            raise _unknown("POST", path)

    def infer(self, path, header_length, body, metadata=(), deadline=None):
        """Of a POST request for a prediction.

        Args:
            path: of the URL. header_length: value of `HEADER_LENGTH`, None without it. body: bytearray.
            metadata: the request's headers, pairs of name and value, for `serving.api.provenance.begin`.
            deadline: `time.monotonic()` after which nothing is computed any more, or None.

        Raises:
            HttpError: 404 for a path that there is not.
            RpcError: what `PredictionService.predict` raises, and INVALID_ARGUMENT for a body that does not
                hold what it says.
        """
        self.check_infer(path)
        body = memoryview(body)
        with tracing.stage("decode"):
            size = _header_length(header_length, len(body))
            asked = parse(bytes(body[:size]))
            if not isinstance(asked.get("id", ""), str):
                raise RpcError.invalid(f"id is {json.dumps(asked['id'])[:100]}; expected a string.")
            request, binary = read_request(*_names(MODEL.fullmatch(path)), asked, body[size:])
        answer = provenance.begin(metadata)
        response = self.door.predictions.predict(request, deadline, answer=answer)
        with tracing.stage("encode"):
            return self._write(asked, request, response, binary, answer.id)

    @staticmethod
    def _write(asked, request, response, binary, answer_id):
        outputs, parts = [], []
        for name in wanted(request, response):
            proto = response.outputs[name]
            output = described(name, proto)
            if binary(name):
                parts.append(raw_of(proto))
                output["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                output["data"] = _data(name, proto)
            outputs.append(output)
        answer = {
            "model_name": request.model_spec.name,
            "model_version": str(response.model_spec.version.value),
        }
        answer |= {"id": asked["id"]} if "id" in asked else {}
        told = {provenance.HEADER: answer_id}
        header = json.dumps(answer | {"parameters": told, "outputs": outputs}).encode()
        if not parts:
            return 200, header, told
        headers = {"Content-Type": BINARY, HEADER_LENGTH: str(len(header)), **told}
        return 200, b"".join((header, *parts)), headers


def _json(code, answer):
    return code, json.dumps(answer).encode(), {}


def _names(match):
    return urllib.parse.unquote(match["model"]), urllib.parse.unquote(match["version"] or "")


def _unknown(method, path):
    return HttpError(
        404,
        f"Malformed request: {method} {path[:200]}; expected GET /v2, /v2/health/live, /v2/health/ready, "
        "/v2/models/NAME[/versions/V][/ready], or POST /v2/models/NAME[/versions/V]/infer.",
    )


def _header_length(text, length):
    """Bytes of JSON at the beginning of a body of `length` bytes."""
    if text is None:
        return length
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= length):
        raise RpcError.invalid(
            f"{HEADER_LENGTH} is {text[:50]!r}; expected a whole number from 0 to {length}, the bytes of the body."
        )
    return int(text)


def read_request(name, version, asked, data):
    """PredictRequest of a request's JSON and the bytes that follow it.

    Args:
        name, version: of the model. asked: the JSON object. data: memoryview.

    Returns:
        The request, and a function that says of an output's name whether it goes out as bytes.

    Raises:
        RpcError: INVALID_ARGUMENT, naming the field, what came and what was expected.
    """
    parameters = _parameters(asked, "the request")
    outputs = {}
    for output in _list(asked, "outputs", []):
        alias = _field(output, "name", str, "a string")
        outputs.setdefault(alias, _parameters(output, f"output {alias[:100]}"))
        refuse_parameters(alias, outputs[alias])
    request = predict_request(
        name,
        version,
        _typed(parameters, SIGNATURE, str, "", "a string"),
        [output["name"] for output in _list(asked, "outputs", [])],
    )
    at = 0
    for tensor in _list(asked, "inputs", None):
        at = _add(request, tensor, data, at)
    if at != len(data):
        raise RpcError.invalid(
            f"the body has {len(data)} bytes after its JSON; the inputs' binary_data_size take {at} of them."
        )
    every = _typed(parameters, "binary_data_output", bool, False, "true or false")
    binary = {a: _typed(p, "binary_data", bool, every, "true or false") for a, p in outputs.items()}
    return request, lambda alias: binary.get(alias, every)


def _add(request, tensor, data, at):
    """Adds an input; returns where the next one's bytes begin."""
    name = _field(tensor, "name", str, "a string")
    shape = _field(tensor, "shape", list, "a list of whole numbers")
    if any(type(size) is not int for size in shape):
        raise RpcError.invalid(
            f"input {name[:100]} has shape {json.dumps(shape)[:200]}; expected whole numbers."
        )
    parameters = _parameters(tensor, f"input {name[:100]}")
    refuse_parameters(name, parameters)
    proto, count = add_input(request, name, _field(tensor, "datatype", str, "a string"), shape)
    size = _typed(parameters, "binary_data_size", int, None, "a whole number")
    if (size is None) == ("data" not in tensor):
        raise RpcError.invalid(
            f"input {name[:100]} has {'no data' if size is None else 'data and binary_data_size'}; expected data, or the parameter "
            f"binary_data_size with its bytes after the JSON and {HEADER_LENGTH} in the HTTP header."
        )
    if size is None:
        _fill_json(proto, name, shape, count, tensor["data"])
        return at
    if not 0 <= size <= len(data) - at:
        raise RpcError.invalid(
            f"input {name[:100]} has binary_data_size {size}; the body has {len(data) - at} bytes left after its JSON "
            f"({HEADER_LENGTH} says where that ends)."
        )
    fill_raw(proto, name[:100], count, data[at : at + size])
    return at + size


def _fill_json(proto, name, shape, count, values):
    if not isinstance(values, list):
        raise RpcError.invalid(f"input {name[:100]} has data {json.dumps(values)[:100]}; expected a list.")
    array = read_tensor(name[:100], values, tf.dtypes.as_dtype(proto.dtype))
    check_count(proto, name[:100], array.size, count)
    if array.ndim > 1 and list(array.shape) != shape:
        raise RpcError.invalid(
            f"input {name[:100]} has nested data of shape {list(array.shape)}; expected its shape {shape}, or one flat list."
        )
    fill_array(proto, array)


def _data(name, proto):
    """Flat list of an output's values for JSON."""
    array = np.ravel(tf.make_ndarray(proto))
    if array.dtype != object:
        return array.tolist()
    try:
        return [item.decode() for item in array]
    except UnicodeDecodeError:
        raise RpcError.invalid(
            f"output {name} is no text; ask for it with the parameter binary_data (or binary_data_output) true."
        ) from None


def _list(value, key, default):
    found = value.get(key, default)
    if not isinstance(found, list) or any(not isinstance(item, dict) for item in found):
        raise RpcError.invalid(f"{key} is {json.dumps(found)[:100]}; expected a list of objects.")
    return found


def _parameters(value, where):
    found = value.get("parameters", {})
    if not isinstance(found, dict):
        raise RpcError.invalid(f"parameters of {where} are {json.dumps(found)[:100]}; expected an object.")
    return found


def _field(value, key, kind, expected):
    if not isinstance(value.get(key), kind):
        raise RpcError.invalid(
            f"{key} of a tensor is {json.dumps(value.get(key))[:100]}; expected {expected}."
        )
    return value[key]


def _typed(parameters, key, kind, default, expected):
    # type(), for true is an int to isinstance.
    if key in parameters and type(parameters[key]) is not kind:
        raise RpcError.invalid(
            f"parameter {key} is {json.dumps(parameters[key])[:100]}; expected {expected}."
        )
    return parameters.get(key, default)
