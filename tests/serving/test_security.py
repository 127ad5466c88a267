"""TLS, and what strangers send."""

import datetime
import ipaddress
import pathlib

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from panet_keras.pictures.decode import encode_png
from serving.api.prediction_service import PredictionService
from serving.client import PREDICT, Client, ServingError, write_tensor
from serving.models.config_files import ConfigFileError, read_batching, read_credentials, read_monitoring
from serving.models.server_core import ServerCore
from serving.protos import wire_pb2
from serving.server import create_server


def certificate(name, issuer=None):
    """Key and certificate in PEM, signed by `issuer` (a pair of key and certificate objects) or by itself;
    and the objects."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            False,
        )
    )
    made = builder.sign(issuer[0] if issuer else key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return pem.decode(), made.public_bytes(serialization.Encoding.PEM).decode(), (key, made)


def test_tls_and_mutual_tls(base_path, predictions, episode, tmp_path):
    _, root, authority = certificate("authority")
    key, chain, _ = certificate("server", authority)
    client_key, client_chain, _ = certificate("client", authority)
    inputs, _ = episode(1, 1, 1, (32, 32))

    def field(name, text):
        return f"{name}: {text!r}\n"

    text = field("server_key", key) + field("server_cert", chain)
    trusted = grpc.ssl_channel_credentials(root.encode())
    known = grpc.ssl_channel_credentials(root.encode(), client_key.encode(), client_chain.encode())
    for name, content, refused, accepted in (
        ("tls", text, None, trusted),
        ("mutual", text + field("custom_ca", root) + "client_verify: true\n", trusted, known),
    ):
        file = tmp_path / name
        file.write_text(content)
        running, port = create_server(
            predictions(base_path), "127.0.0.1", 0, credentials=read_credentials(file)
        )
        with Client(f"127.0.0.1:{port}", credentials=accepted) as client:
            assert client.call("serving_default", inputs)["masks"].shape == (1, 1, 32, 32)
        with (
            Client(f"127.0.0.1:{port}", credentials=refused, timeout=5) as client,
            pytest.raises(ServingError, match="UNAVAILABLE"),
        ):
            client.call("serving_default", inputs)
        running.stop(0)


def test_key_and_certificate_that_do_not_belong_together_are_named(tmp_path):
    """gRPC says only that the port cannot be bound."""
    key, _, _ = certificate("one")
    _, chain, _ = certificate("other")
    (tmp_path / "ssl.config").write_text(f"server_key: {key!r} server_cert: {chain!r}")
    with pytest.raises(ConfigFileError, match="ssl.config: .*server_cert with its certificate first"):
        read_credentials(tmp_path / "ssl.config")
    refused = grpc.ssl_server_credentials([(key.encode(), chain.encode())])
    with pytest.raises(OSError, match="--ssl_config_file: gRPC takes no certificate of this kind"):
        create_server(PredictionService(ServerCore()), "127.0.0.1", 0, credentials=refused)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (
            read_credentials,
            'server_key: "key.pem"',
            "server_key is no PEM text; expected its content, not its path",
        ),
        (
            read_monitoring,
            'prometheus_config { enable: true path: "metrics" }',
            "path is 'metrics'; expected one that begins with '/'",
        ),
        (read_batching, "max_batch_size { value: 0 }", "max_batch_size is 0; expected at least 1"),
        (read_batching, "max_batch: 3", "with the fields max_batch_size, batch_timeout_micros"),
        (
            read_batching,
            "max_batch_size { value: 4 } allowed_batch_sizes: 2",
            "the last of allowed_batch_sizes is 2; expected max_batch_size",
        ),
    ],
)
def test_mistakes_in_files_are_named(read, text, message, tmp_path):
    file = tmp_path / "some.config"
    file.write_text(text)
    with pytest.raises(ConfigFileError, match=f"some.config: .*{message}"):
        read(file)
    with pytest.raises(ConfigFileError, match="nowhere: No such file"):
        read(pathlib.Path("nowhere"))


def test_committed_files_are_what_the_real_server_reads(tmp_path):
    from serving.models.server_core import read_config

    folder = pathlib.Path(__file__).resolve().parent.parent.parent / "serving" / "config"
    [model] = read_config(folder / "models.config").model_config_list.config
    assert model.name == "panet" and model.model_platform == "tensorflow"
    assert read_batching(folder / "batching_parameters.txt").max_batch_size == 4
    assert read_monitoring(folder / "monitoring.config") == "/monitoring/prometheus/metrics"


def good(episode):
    """A whole request as bytes."""
    request = wire_pb2.PredictRequest()
    request.model_spec.name = "panet"
    for name, value in episode(1, 1, 1, (32, 32))[0].items():
        write_tensor(request.inputs[name], value)
    return request.SerializeToString()


def send(port, content, timeout=30):
    """Status code of raw request bytes; what is not a status fails the test."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(PREDICT, lambda b: b, predict_pb2.PredictResponse.FromString)
        try:
            call(content, timeout=timeout)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()


CLIENT_S_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    # gRPC's own answer for bytes that are no such message.
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.OK,
}
quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@quick
@given(place=st.floats(0, 1), content=st.binary(min_size=1, max_size=8), data=st.booleans())
def test_damaged_requests_get_a_status(server, episode, place, content, data):
    """Bytes overwritten or inserted anywhere; the head, where the structure is, twice as often."""
    whole = bytearray(good(episode))
    start = int(place * (len(whole) - 9)) if data else int(place * 200)
    whole[start : start + (len(content) if data else 0)] = content
    assert send(server, bytes(whole)) in CLIENT_S_FAULT
    assert send(server, good(episode)) is grpc.StatusCode.OK


sizes = st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 16, 2**31, 2**62]), max_size=7)


@quick
@given(
    shape=sizes,
    name=st.sampled_from(["support_images", "support_masks", "query_images"]),
    dtype=st.integers(-1, 30),
    count=st.integers(0, 3),
)
def test_lying_shapes_and_types_get_a_status(server, episode, shape, name, dtype, count):
    request = wire_pb2.PredictRequest.FromString(good(episode))
    tensor = request.inputs[name]
    tensor.Clear()
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend([0.5] * count)
    code = send(server, request.SerializeToString())
    assert code in CLIENT_S_FAULT - {grpc.StatusCode.INTERNAL}, (code, shape, dtype)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda x: x.update(query_images=np.full((1, 1, 32, 32, 3), np.nan, "f4")),
            "query_images.*values from.*nan",
        ),
        (
            lambda x: x.update(query_images=np.full((1, 1, 32, 32, 3), 255.0, "f4")),
            "divide 0..255 values by 255",
        ),
        (lambda x: x.update(query_images=np.zeros((1, 0, 32, 32, 3), "f4")), None),
        (lambda x: x.update(query_images=np.zeros((2, 1, 32, 32, 3), "f4")), None),
        (
            lambda x: x.update(
                support_images=np.zeros((1, 1, 1, 0, 0, 3), "f4"),
                support_masks=np.zeros((1, 1, 1, 0, 0, 1), "u1"),
            ),
            None,
        ),
        (
            lambda x: x.update(
                query_images=np.zeros((1, 1, 3000, 3000, 3), "f4"),
                support_images=np.zeros((1, 1, 1, 3000, 3000, 3), "f4"),
            ),
            "comparing",
        ),
    ],
)
def test_strange_values_get_a_status_and_the_next_is_answered(server, episode, spoil, message):
    inputs, _ = episode(1, 1, 1, (32, 32))
    spoil(inputs)
    with Client(f"127.0.0.1:{server}") as client:
        try:
            client.call("serving_default", inputs)
            assert message is None
        except ServingError as error:
            import re

            assert error.code in CLIENT_S_FAULT - {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL}, error
            assert message is None or re.search(message, str(error)), error
        assert client.call("serving_default", episode(1, 1, 1, (32, 32))[0])["masks"].shape == (1, 1, 32, 32)


def test_a_picture_bomb_is_refused_by_its_header(server, episode):
    """20,000 x 20,000 pixels of one bit in some tens of kilobytes (case 27)."""
    import io

    import PIL.Image

    stream = io.BytesIO()
    PIL.Image.new("1", (20000, 20000)).save(stream, "PNG")
    inputs, _ = episode(1, 1, 1, (64, 64))
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client:
        state = client.call("encode_support", {k: inputs[k] for k in ("support_images", "support_masks")})
        with pytest.raises(
            ServingError,
            match=r"INVALID_ARGUMENT: assertion failed: \[query_bytes: picture of\] \[20000\].*the limit is.*shrink it\]$",
        ):
            client.call("segment_encoded", {**state, "query_bytes": np.array([[stream.getvalue()]], object)})
        with pytest.raises(ServingError, match="300 pictures; the limit is 256"):
            client.call("segment_encoded", {**state, "query_bytes": np.array([[b"x"] * 300], object)})
        fine = encode_png(np.zeros((40, 50, 3), np.uint8))
        assert client.call("segment_encoded", {**state, "query_bytes": np.array([[fine]], object)})[
            "masks"
        ].shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    "name", ["../panet", "panet/../../etc", "/etc", "panet\x00", "p" * 100000, "乳" * 9000]
)
def test_model_names_never_become_paths(server, name):
    with Client(f"127.0.0.1:{server}", name) as client, pytest.raises(ServingError) as caught:
        client.versions()
    # A message beyond 8 KB would arrive as RESOURCE_EXHAUSTED.
    assert caught.value.code is grpc.StatusCode.NOT_FOUND and len(str(caught.value)) < 2000


def test_operators_files_parse():
    """What can be shown without a Docker engine: YAML and JSON, flags that our parser knows, files that are
    there."""
    import json

    import yaml

    from serving.server import parse_flags

    folder = pathlib.Path(__file__).resolve().parent.parent.parent / "serving" / "config"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["serving"]["command"]
    deployment, service, scaler = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    for command in (compose, container["args"]):
        flags = parse_flags(command)
        assert flags.enable_batching and flags.rest_api_port == 8501
        for name in ("model_config_file", "monitoring_config_file", "batching_parameters_file"):
            assert (folder / pathlib.PurePath(getattr(flags, name)).name).is_file()
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    dashboard = json.loads((folder / "grafana-dashboard.json").read_text())
    assert all(
        ":tensorflow:serving:" in str(panel["targets"]) or "panet_bus" in str(panel["targets"])
        for panel in dashboard["panels"]
    )
