"""The Open Inference Protocol (KServe V2), asked by tritonclient, which nobody here wrote, and by hand where
that client refuses to send what is wrong."""

import http.client
import json
import pathlib
import re
import struct

import grpc
import numpy as np
import pytest

from serving.api.open_inference_grpc import SERVICE
from serving.api.prediction_service import PredictionService
from serving.api.rest import create_rest_server
from serving.client import Client
from serving.models.model_manager import ModelManager
from serving.models.server_core import ServerCore
from serving.pictures import encode_png
from serving.protos import open_inference_pb2 as pb
from serving.server import create_server, parse_flags

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64", "int32": "INT32", "object": "BYTES"}


@pytest.fixture(scope="module")
def rest_port(service):
    server, port = create_rest_server(service, "127.0.0.1", 0)
    yield port
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["http", "grpc"])
def triton(request, server, rest_port):
    """(module, client) of tritonclient, for one door and then the other."""
    why = "tritonclient is not installed: pip install tritonclient[http,grpc]"
    module = pytest.importorskip(f"tritonclient.{request.param}", reason=why)
    port = server if request.param == "grpc" else rest_port
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield module, client


@pytest.fixture(scope="module")
def asked(server):
    """Inputs of one episode, and TensorFlow Serving's door's outputs, by signature."""
    rng = np.random.default_rng(4)
    masks = np.zeros((1, 1, 2, 64, 64, 1), np.uint8)
    masks[..., 20:44, 16:40, :] = 1
    support = {"support_images": rng.random((1, 1, 2, 64, 64, 3), np.float32), "support_masks": masks}
    query = {"query_images": rng.random((1, 2, 64, 64, 3), np.float32)}
    picture = encode_png(rng.integers(0, 256, (50, 70, 3), np.uint8))
    with Client(f"127.0.0.1:{server}") as client:
        state = client.call("encode_support", support)
        inputs = {
            "serving_default": support | query,
            "encode_support": support,
            "segment": state | query,
            "segment_encoded": state | {"query_bytes": np.array([[picture]], object)},
        }
        return {name: (given, client.call(name, given)) for name, given in inputs.items()}


def tensors(module, inputs, **how):
    """`InferInput`s of a dictionary of arrays."""
    made = []
    for name, array in inputs.items():
        made.append(module.InferInput(name, list(array.shape), DATATYPES[array.dtype.name]))
        made[-1].set_data_from_numpy(array, **how)
    return made


def test_messages_are_the_protocols_own():
    service_pb2 = pytest.importorskip(
        "tritonclient.grpc.service_pb2",
        reason="tritonclient is not installed: it carries the protocol's messages",
    )

    def fields(message):
        found = {
            field.name: (
                field.number,
                field.type,
                field.label,
                field.message_type and field.message_type.name,
            )
            for field in message.fields
        }
        return found, {nested.name: fields(nested) for nested in message.nested_types}

    theirs = service_pb2.DESCRIPTOR
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        assert fields(message) == fields(theirs.message_types_by_name[name]), name
    methods = theirs.services_by_name["GRPCInferenceService"].methods_by_name
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        other = methods[method.name]
        assert (method.input_type.name, method.output_type.name) == (
            other.input_type.name,
            other.output_type.name,
        )
    assert theirs.services_by_name["GRPCInferenceService"].full_name == SERVICE


def test_health_and_metadata(triton):
    module, client = triton
    options = {} if module.__name__.endswith("http") else {"as_json": True}
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("panet") and client.is_model_ready("panet", "1")
    assert not client.is_model_ready("panet", "7") and not client.is_model_ready("panet", "no-label")
    metadata = client.get_server_metadata(**options)
    assert metadata["name"] == "PANet-BUS ModelServer" and metadata["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("panet", "1", **options)
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == (
        "panet",
        ["1"],
        "tensorflow_savedmodel",
    )
    found = {
        tensor["name"]: (tensor["datatype"], [int(n) for n in tensor["shape"]])
        for tensor in metadata["inputs"]
    }
    assert found == {
        "query_images": ("FP32", [-1, -1, -1, -1, 3]),
        "support_images": ("FP32", [-1, -1, -1, -1, -1, 3]),
        "support_masks": ("UINT8", [-1, -1, -1, -1, -1, 1]),
    }
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["masks", "presence", "probabilities"]


def test_metadata_of_another_signature(triton):
    module, client = triton
    choice = {"signature_name": "segment_encoded"}
    if module.__name__.endswith("http"):
        metadata = client.get_model_metadata("panet", query_params=choice)
    else:
        metadata = client.get_model_metadata("panet", headers=choice, as_json=True)
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
    assert datatypes["query_bytes"] == "BYTES" and "model_version" in datatypes


@pytest.mark.parametrize("signature", ["serving_default", "encode_support", "segment", "segment_encoded"])
def test_answers_are_those_of_the_other_door(triton, asked, signature):
    """Bit for bit, every output of every signature, as bytes."""
    module, client = triton
    inputs, expected = asked[signature]
    parameters = None if signature == "serving_default" else {"signature_name": signature}
    result = client.infer("panet", tensors(module, inputs), request_id="42", parameters=parameters)
    response = (
        result.get_response() if module.__name__.endswith("http") else result.get_response(as_json=True)
    )
    assert (response["model_name"], response["model_version"], response["id"]) == ("panet", "1", "42")
    assert {output["name"] for output in response["outputs"]} == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(result.as_numpy(name), array, strict=array.dtype != object)


def test_outputs_come_in_the_order_that_was_asked_for(triton, asked):
    module, client = triton
    inputs, expected = asked["serving_default"]
    outputs = [module.InferRequestedOutput(name) for name in ("probabilities", "masks")]
    for names in (outputs, outputs[::-1], outputs[1:]):
        result = client.infer("panet", tensors(module, inputs), "1", outputs=names)
        response = (
            result.get_response() if module.__name__.endswith("http") else result.get_response(as_json=True)
        )
        assert [output["name"] for output in response["outputs"]] == [name.name() for name in names]
        np.testing.assert_array_equal(result.as_numpy("masks"), expected["masks"])


def test_json_without_bytes(rest_port, asked, ask):
    inputs, expected = asked["segment"]
    given = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": DATATYPES[array.dtype.name],
            # Nested for pictures, flat for the others: the protocol has both.
            "data": (
                [item.decode() for item in array.reshape(-1)]
                if array.dtype == object
                else array.tolist()
                if name == "query_images"
                else array.reshape(-1).tolist()
            ),
        }
        for name, array in inputs.items()
    ]
    body = {"inputs": given, "parameters": {"signature_name": "segment"}}
    code, answer = ask(rest_port, "POST", "/v2/models/panet/versions/1/infer", body)
    assert code == 200 and "id" not in answer
    assert set(answer) == {"model_name", "model_version", "parameters", "outputs"}
    assert set(answer["parameters"]) == {"panet-answer-id"}
    for output in answer["outputs"]:
        wanted = expected[output["name"]]
        assert set(output) == {"name", "datatype", "shape", "data"} and output["shape"] == list(wanted.shape)
        np.testing.assert_array_equal(np.array(output["data"], wanted.dtype).reshape(wanted.shape), wanted)


def test_mixed_forms_and_gzip(rest_port, asked):
    """One input as JSON, one as bytes, the request packed; one output as bytes, one as JSON."""
    http_client = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    inputs, expected = asked["serving_default"]
    images = {name: array for name, array in inputs.items() if name != "support_masks"}
    masks = {"support_masks": inputs["support_masks"]}
    given = tensors(http_client, masks, binary_data=False) + tensors(http_client, images)
    outputs = [
        http_client.InferRequestedOutput(name, binary_data=name == "probabilities") for name in expected
    ]
    with http_client.InferenceServerClient(f"127.0.0.1:{rest_port}") as client:
        result = client.infer("panet", given, outputs=outputs, request_compression_algorithm="gzip")
    for name, array in expected.items():
        assert ("data" in result.get_output(name)) == (name != "probabilities")
        np.testing.assert_array_equal(result.as_numpy(name), array)


def test_a_support_set_is_named(triton, asked, service, monkeypatch):
    module, client = triton
    version = service.core.managers["panet"].current()
    inputs, expected = asked["segment"]
    import tensorflow as tf

    state = {name: tf.constant(array) for name, array in inputs.items() if name != "query_images"}
    monkeypatch.setitem(version.supports, "kept", (None, state, ()))
    given = {"support_set": np.array(["kept"], object), "query_images": inputs["query_images"]}
    result = client.infer("panet", tensors(module, given), parameters={"signature_name": "segment"})
    np.testing.assert_array_equal(result.as_numpy("masks"), expected["masks"])
    given["support_set"] = np.array(["other"], object)
    with pytest.raises(Exception, match=r"support set 'other' is unknown; this server has \['kept'\]"):
        client.infer("panet", tensors(module, given), parameters={"signature_name": "segment"})


def test_requests_are_batched_like_the_others(triton, asked, service, monkeypatch):
    module, client = triton
    runs = []

    class Batcher:
        def run(self, version, signature, inputs, deadline):
            runs.append((version.number, signature, sorted(inputs)))
            return version.signatures[signature](**inputs)

    monkeypatch.setattr(service, "batcher", Batcher())
    inputs, expected = asked["encode_support"]
    client.infer("panet", tensors(module, inputs), parameters={"signature_name": "encode_support"})
    assert runs == [(1, "encode_support", ["support_images", "support_masks"])]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"datatype": "FP64"}, (400, "INVALID_ARGUMENT"), "query_images has type float64; expected float32"),
        ({"shape": [1, 2, 64, 192]}, (400, "INVALID_ARGUMENT"), r"expected \['\?', '\?', '\?', '\?', 3\]"),
        ({"missing": True}, (400, "INVALID_ARGUMENT"), r"missing \['query_images'\]"),
        (
            {"output": "mask"},
            (400, "INVALID_ARGUMENT"),
            r"\['mask'\]; outputs are \['masks', 'presence', 'probabilities'\]",
        ),
        ({"signature": "segmnt"}, (400, "FAILED_PRECONDITION"), '"segmnt" not found in signature def'),
        ({"version": "7"}, (404, "NOT_FOUND"), r"Specific\(panet, 7\); available versions: \[1\]"),
        ({"version": "stable"}, (400, "INVALID_ARGUMENT"), "Unrecognized servable version label: stable"),
        ({"model": "other"}, (404, "NOT_FOUND"), r"Latest\(other\); this server has \['panet'\]"),
        (
            {"class_count": 2},
            (400, "INVALID_ARGUMENT"),
            r"parameters \['classification'\], which this server does not",
        ),
    ],
)
def test_what_is_wrong_is_named(triton, asked, change, status, message):
    module, client = triton
    inputs = dict(asked["serving_default"][0])
    query = inputs.pop("query_images")
    given = tensors(module, inputs)
    if "missing" not in change:
        query = query.astype(np.float64) if "datatype" in change else query
        query = query.reshape(change.get("shape", query.shape))
        given.append(module.InferInput("query_images", list(query.shape), change.get("datatype", "FP32")))
        given[-1].set_data_from_numpy(query)
    parameters = {"signature_name": change["signature"]} if "signature" in change else None
    output = module.InferRequestedOutput(
        change.get("output", "masks"), class_count=change.get("class_count", 0)
    )
    version = change.get("version", "")
    with pytest.raises(Exception, match=message) as caught:
        client.infer(change.get("model", "panet"), given, version, outputs=[output], parameters=parameters)
    assert caught.value.status() in (str(status[0]), f"StatusCode.{status[1]}")


def tensor(name="query_bytes", datatype="BYTES", shape=(1, 1), **other):
    return {"name": name, "datatype": datatype, "shape": list(shape), **other}


def sized(size, **other):
    return tensor(parameters={"binary_data_size": size}, **other)


ELEMENT = struct.pack("<I", 3) + b"abc"


@pytest.mark.parametrize(
    ("value", "data", "header", "message"),
    [
        ({"inputs": [sized(7)]}, ELEMENT, "100000", "expected a whole number from 0 to"),
        ({"inputs": [sized(7)]}, ELEMENT, "-1", "expected a whole number from 0 to"),
        ({"inputs": [sized(7)]}, ELEMENT, "1e2", "expected a whole number from 0 to"),
        ({"inputs": [sized(7)]}, ELEMENT, "0", "JSON Parse error"),
        ({"inputs": [sized(7)]}, ELEMENT, "5", "JSON Parse error"),
        ({"inputs": [sized(7)]}, b"", True, "has binary_data_size 7; the body has 0 bytes left"),
        ({"inputs": [sized(-1)]}, ELEMENT, True, "has binary_data_size -1"),
        ({"inputs": [sized(True)]}, ELEMENT, True, "binary_data_size is true; expected a whole number"),
        (
            {"inputs": [sized(7)]},
            ELEMENT + b"x",
            True,
            "8 bytes after its JSON; the inputs' binary_data_size take 7",
        ),
        ({"inputs": []}, b"x", True, "1 bytes after its JSON"),
        ({"inputs": [sized(6)]}, ELEMENT[:6], True, "element 0 of BYTES is longer than the data"),
        ({"inputs": [sized(3)]}, ELEMENT[:3], True, "need 4 for each length alone"),
        ({"inputs": [sized(7, shape=[1, 2])]}, ELEMENT, True, "need 4 for each length|element 1 of BYTES"),
        ({"inputs": [sized(14)]}, ELEMENT * 2, True, "more elements of BYTES; its shape needs 1"),
        ({"inputs": [sized(7, shape=[100])]}, ELEMENT, True, "need 4 for each length alone"),
        (
            {"inputs": [sized(7, shape=[2**40, 2**22])]},
            ELEMENT,
            True,
            "elements of BYTES; the limit is 65536",
        ),
        ({"inputs": [sized(7, shape=[1] * 33)]}, ELEMENT, True, "has 33 axes; expected at most 32"),
        (
            {"inputs": [tensor(str(n), data=["a"]) for n in range(300)]},
            b"",
            None,
            "more than 256 inputs, the limit",
        ),
        ({"inputs": [sized(7, shape=[2**64])]}, ELEMENT, True, "expected sizes of at least 0"),
        (
            {"inputs": [sized(7, datatype="FP32")]},
            ELEMENT,
            True,
            r"has 7 bytes of data; its shape \[1, 1\] and datatype FP32 need 4",
        ),
        ({"inputs": [sized(7, data=["abc"])]}, ELEMENT, True, "has data and binary_data_size"),
        ({"inputs": [tensor()]}, b"", None, "has no data"),
        ({"inputs": [tensor(data="abc")]}, b"", None, 'has data "abc"; expected a list'),
        ({"inputs": [tensor(data=["a", "b"])]}, b"", None, r"has 2 values; its shape \[1, 1\] needs 1"),
        (
            {"inputs": [tensor(data=[["a"], ["b"]], shape=[1, 2])]},
            b"",
            None,
            r"nested data of shape \[2, 1\]",
        ),
        ({"inputs": [tensor(data=[1])]}, b"", None, "not a string tensor"),
        ({"inputs": [tensor(datatype="UINT8", data=[256])]}, b"", None, "256 is no uint8"),
        (
            {"inputs": [tensor(datatype="FLOAT", data=[1])]},
            b"",
            None,
            "datatype 'FLOAT'; expected one of BOOL, UINT8",
        ),
        (
            {"inputs": [tensor(shape=[-1], data=["a"])]},
            b"",
            None,
            r"has shape \[-1\]; expected sizes of at least 0",
        ),
        ({"inputs": [tensor(shape=[1.0], data=["a"])]}, b"", None, "expected whole numbers"),
        ({"inputs": [tensor(data=["a"])] * 2}, b"", None, "input query_bytes is there twice"),
        ({"inputs": {"query_bytes": "a"}}, b"", None, "expected a list of objects"),
        ({"inputs": [{"name": 3}]}, b"", None, "name of a tensor is 3; expected a string"),
        ({}, b"", None, "inputs is null; expected a list"),
        (
            {"inputs": [], "outputs": [{"name": "masks"}, {"name": "masks"}]},
            b"",
            None,
            "output masks is asked for twice",
        ),
        (
            {"inputs": [], "parameters": []},
            b"",
            None,
            r"parameters of the request are \[\]; expected an object",
        ),
        (
            {"inputs": [], "parameters": {"signature_name": 1}},
            b"",
            None,
            "signature_name is 1; expected a string",
        ),
        ({"inputs": [], "id": 7}, b"", None, "id is 7; expected a string"),
        (
            {"inputs": [sized(7) | {"parameters": {"shared_memory_region": "x"}}]},
            b"",
            None,
            "shared_memory_region",
        ),
    ],
)
def test_rest_abuse(rest_port, value, data, header, message):
    content = json.dumps(value).encode()
    headers = (
        {}
        if header is None
        else {"Inference-Header-Content-Length": str(len(content)) if header is True else header}
    )
    connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=60)
    connection.request("POST", "/v2/models/panet/infer", content + data, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 400 and set(answer) == {"error"}
    assert re.search(message, answer["error"]), answer["error"]


def contents(**values):
    return pb.InferTensorContents(**values)


def grpc_input(name="query_bytes", datatype="BYTES", shape=(1, 1), **other):
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, **other)


@pytest.mark.parametrize(
    ("inputs", "raw", "message"),
    [
        (
            [grpc_input(contents=contents(bytes_contents=[b"a"]))],
            [ELEMENT],
            "has contents beside raw_input_contents",
        ),
        ([grpc_input(), grpc_input("x")], [ELEMENT], "raw_input_contents has 1 tensors, inputs has 2"),
        ([grpc_input(datatype="FP32")], [b"abc"], "has 3 bytes of data"),
        ([grpc_input(datatype="FP32")], [], r"has 0 values; its shape \[1, 1\] needs 1"),
        (
            [grpc_input(contents=contents(fp32_contents=[1]))],
            [],
            "values in fp32_contents; expected them in bytes_contents",
        ),
        (
            [grpc_input(datatype="FP16", contents=contents(fp32_contents=[1]))],
            [],
            "expected them in raw_input_contents",
        ),
        ([grpc_input(datatype="UINT8", contents=contents(uint_contents=[300]))], [], "300 is no uint8"),
        ([grpc_input(datatype="INT8", contents=contents(int_contents=[-129]))], [], "-129 is no int8"),
        ([grpc_input(shape=[-1])], [ELEMENT], r"has shape \[-1\]; expected sizes of at least 0"),
        ([grpc_input(datatype="")], [ELEMENT], "datatype ''; expected one of"),
        ([grpc_input(), grpc_input()], [ELEMENT] * 2, "there twice"),
        ([grpc_input(shape=[1] * 300)], [ELEMENT], "has 300 axes; expected at most 32"),
    ],
)
def test_grpc_abuse(server, inputs, raw, message):
    request = pb.ModelInferRequest(model_name="panet", inputs=inputs, raw_input_contents=raw)
    with pytest.raises(grpc.RpcError, match=message) as caught:
        call(server, "ModelInfer", request, pb.ModelInferResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def call(port, method, request, answer):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return channel.unary_unary(
            f"/{SERVICE}/{method}", type(request).SerializeToString, answer.FromString
        )(request, timeout=60)


def test_contents_of_each_type(server, asked):
    """What tritonclient never sends: values in the typed fields."""
    inputs, expected = asked["segment"]
    fields = {
        "FP32": "fp32_contents",
        "UINT8": "uint_contents",
        "BYTES": "bytes_contents",
        "INT64": "int64_contents",
    }
    request = pb.ModelInferRequest(model_name="panet")
    request.parameters["signature_name"].string_param = "segment"
    for name, array in inputs.items():
        kind = DATATYPES[array.dtype.name]
        values = contents(**{fields[kind]: array.reshape(-1).tolist()})
        request.inputs.append(grpc_input(name, kind, array.shape, contents=values))
    answer = call(server, "ModelInfer", request, pb.ModelInferResponse)
    [place] = [number for number, output in enumerate(answer.outputs) if output.name == "probabilities"]
    assert answer.raw_output_contents[place] == expected["probabilities"].tobytes()


def test_reflection_knows_the_service_by_its_name(server):
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{server}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        for symbol in (
            SERVICE,
            "inference.ModelInferRequest",
            "grpc.health.v1.Health",
        ):
            ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            [answer] = stub.ServerReflectionInfo(iter([ask]))
            files = [
                descriptor_pb2.FileDescriptorProto.FromString(content)
                for content in answer.file_descriptor_response.file_descriptor_proto
            ]
            assert symbol.rpartition(".")[0] in {file.package for file in files}


def test_not_ready_is_said_while_models_load(base_path, ask):
    core = ServerCore([ModelManager("panet", base_path, 0)])
    service = PredictionService(core)
    server, port = create_server(service, "127.0.0.1", 0)
    rest, rest_port = create_rest_server(service, "127.0.0.1", 0)
    assert ask(rest_port, "GET", "/v2/health/live") == (200, {"live": True})
    assert ask(rest_port, "GET", "/v2/health/ready") == (400, {"ready": False})
    assert ask(rest_port, "GET", "/v2/models/panet/ready") == (400, {"name": "panet", "ready": False})
    assert ask(rest_port, "GET", "/v2/models/other/ready")[0] == 404
    assert ask(rest_port, "POST", "/v2/models/panet/infer", {"inputs": []})[0] == 503
    assert not call(port, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
    assert not call(port, "ModelReady", pb.ModelReadyRequest(name="panet"), pb.ModelReadyResponse).ready
    with pytest.raises(grpc.RpcError, match="being loaded"):
        call(port, "ModelMetadata", pb.ModelMetadataRequest(name="panet"), pb.ModelMetadataResponse)
    rest.shutdown()
    server.stop(0)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/models"), ("GET", "/v2/models/panet/infer"), ("POST", "/v2/health/live"), ("POST", "/v2/models/panet"),
     ("GET", "/v2/repository/index"), ("POST", "/v2/models/panet:predict/infer/x")],
)  # fmt: skip
def test_other_paths_are_answered_with_the_right_ones(rest_port, ask, method, path):
    code, answer = ask(rest_port, method, path, {} if method == "POST" else None)
    assert code == 404 and "/v2/models/NAME[/versions/V]/infer" in answer["error"]


def test_kserve_manifests_fit_the_server(rest_port, ask):
    """What can be shown without a cluster: flags that our parser takes, ports that they open, paths that
    answer."""
    import yaml

    runtime, service = yaml.safe_load_all((PROJECT / "serving" / "config" / "kserve.yaml").read_text("utf-8"))
    [container] = runtime["spec"]["containers"]
    assert container["command"] == ["python", "-m", "serving"]
    flags = parse_flags(container["args"])
    assert (flags.host, flags.model_base_path, flags.model_name) == ("0.0.0.0", "/mnt/models", "{{.Name}}")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert list(ports.items()) == [("http1", flags.rest_api_port), ("h2c", flags.port)]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[probe]["httpGet"]
        assert get["port"] == flags.rest_api_port and ask(rest_port, "GET", get["path"])[0] == 200
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in {
        known["name"] for known in runtime["spec"]["supportedModelFormats"]
    }
