"""Our server through its own client and through the stock stubs."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Client, ServingError
from serving.models.model_manager import AVAILABLE, END, ModelManager
from serving.models.warmup import FILE
from serving.server import create_server, parse_flags

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def client(server):
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client:
        yield client


def test_answers_equal_the_model_s(client, model, episode):
    for sizes in ((1, 1, 1, (48, 48)), (2, 3, 2, (64, 96))):
        inputs, _ = episode(*sizes)
        expected = tf.nn.softmax(model({k: tf.constant(v) for k, v in inputs.items()}))
        answer = client.call("serving_default", inputs)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        state = client.call(
            "encode_support", {k: inputs[k] for k in ("support_images", "support_masks")}, version=1
        )
        again = client.call("segment", {**state, "query_images": inputs["query_images"]})
        np.testing.assert_allclose(again["probabilities"], expected, atol=1e-5)
        assert again["masks"].dtype == np.uint8


def test_stock_stubs_understand_the_server(server, episode):
    inputs, _ = episode(1, 1, 1, (48, 48))
    with grpc.insecure_channel(f"127.0.0.1:{server}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "panet"
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.append("masks")
        response = stub.Predict(request)
        assert set(response.outputs) == {"masks"} and response.model_spec.version.value == 1
        assert tf.make_ndarray(response.outputs["masks"]).shape == (1, 1, 48, 48)

        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        asked.model_spec.name = "panet"
        packed = get_model_metadata_pb2.SignatureDefMap()
        assert stub.GetModelMetadata(asked).metadata["signature_def"].Unpack(packed)
        assert set(packed.signature_def) == {
            "serving_default",
            "encode_support",
            "segment",
            "segment_encoded",
        }
        assert set(packed.signature_def["serving_default"].inputs) == {
            "support_images",
            "support_masks",
            "query_images",
        }

        from tensorflow_serving.apis import get_model_status_pb2

        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "panet"
        [version] = (
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status).model_version_status
        )
        assert (version.version, version.state) == (1, AVAILABLE)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"model": "panett"}, "NOT_FOUND", r"Latest\(panett\); this server has \['panet'\]"),
        ({"version": 99}, "NOT_FOUND", r"Specific\(panet, 99\); available versions: \[1\]"),
        (
            {"signature": "segmnet"},
            "FAILED_PRECONDITION",
            "'encode_support', 'segment', 'segment_encoded', 'serving_default'",
        ),
        (
            {"rename": ("support_images", "support_image")},
            "INVALID_ARGUMENT",
            r"missing \['support_images'\], unknown \['support_image'\]",
        ),
        ({"drop": "query_images"}, "INVALID_ARGUMENT", r"missing \['query_images'\]"),
        (
            {"replace": ("query_images", np.zeros((1, 1, 8, 8, 3)))},
            "INVALID_ARGUMENT",
            "has type float64; expected float32",
        ),
        (
            {"replace": ("query_images", np.zeros((8, 8, 3), "float32"))},
            "INVALID_ARGUMENT",
            r"has shape \[8, 8, 3\]; expected \['\?'",
        ),
        ({"empty_mask": True}, "INVALID_ARGUMENT", r"no pixel of any shot equals 1 \(foreground\)"),
    ],
)
def test_mistakes_get_tensorflow_serving_s_status_and_a_useful_message(
    server, episode, change, code, message
):
    inputs, _ = episode(1, 1, 1, (48, 48))
    if "rename" in change:
        old, new = change["rename"]
        inputs[new] = inputs.pop(old)
    if "drop" in change:
        del inputs[change["drop"]]
    if "replace" in change:
        inputs.update([change["replace"]])
    if "empty_mask" in change:
        inputs["support_masks"][:] = 0
    with Client(f"127.0.0.1:{server}", change.get("model", "panet")) as client:
        with pytest.raises(ServingError, match=message) as caught:
            client.call(change.get("signature", "serving_default"), inputs, change.get("version"))
        assert caught.value.code is grpc.StatusCode[code]
    with Client(f"127.0.0.1:{server}") as client:
        assert client.call("serving_default", episode()[0])["masks"].shape == (1, 1, 64, 64)


def test_lying_tensors_are_refused_and_the_next_request_is_answered(server, client, episode):
    """A shape that promises more than the bytes hold, negative sizes, an unknown type."""
    from serving.protos import wire_pb2

    inputs, _ = episode(1, 1, 1, (48, 48))
    for spoil in (
        lambda t: t.tensor_shape.dim[3].__setattr__("size", 10**12),
        lambda t: t.tensor_shape.dim[3].__setattr__("size", -5),
        lambda t: t.__setattr__("dtype", 9999),
        lambda t: t.__setattr__("tensor_content", t.tensor_content[:100]),
    ):
        from serving.client import write_tensor

        request = wire_pb2.PredictRequest()
        request.model_spec.name = "panet"
        for name, value in inputs.items():
            write_tensor(request.inputs[name], value)
        spoil(request.inputs["query_images"])
        with pytest.raises(ServingError) as caught:
            client._send(client._predict, request)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT, caught.value
    assert client.call("serving_default", inputs)["masks"].shape == (1, 1, 48, 48)


def test_large_requests_pass_unless_a_limit_is_set(base_path, predictions, server, episode):
    rng = np.random.default_rng(0)
    inputs, _ = episode(1, 5, 1, (303, 428))
    inputs["support_images"] = rng.random(inputs["support_images"].shape, np.float32)  # 7.4 MiB
    with Client(f"127.0.0.1:{server}") as client:
        assert client.call("serving_default", inputs)["masks"].shape == (1, 1, 303, 428)
    flags = parse_flags(
        [
            "--model_base_path",
            str(base_path),
            "--grpc_channel_arguments",
            "grpc.max_receive_message_length=4194304",
        ]
    )
    limited, port = create_server(predictions(base_path), "127.0.0.1", 0, flags.channel_options)
    with Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(
            ServingError,
            match=r"RESOURCE_EXHAUSTED.*4194304.*The request has [\d,]+ bytes.*--grpc_channel_arguments",
        ):
            client.call("serving_default", inputs)
        assert client.call("serving_default", episode()[0])["masks"].shape == (1, 1, 64, 64)
    limited.stop(0)


def test_half_copied_and_corrupt_versions_do_not_disturb(unwarmed_model, tmp_path):
    shutil.copytree(unwarmed_model, tmp_path / "1")
    (tmp_path / "tmp").mkdir()
    manager = ModelManager("panet", tmp_path, 0)
    manager.refresh()
    assert manager.current().number == 1
    (tmp_path / "007" / "variables").mkdir(parents=True)
    shutil.copy(unwarmed_model / "saved_model.pb", tmp_path / "007")
    manager.refresh()
    assert (
        manager.current().number == 1
        and manager.states[7][0] == END
        and "cannot be loaded" in manager.states[7][1]
    )
    for file in (unwarmed_model / "variables").iterdir():
        shutil.copy(file, tmp_path / "007" / "variables")
    shutil.copytree(unwarmed_model / "assets", tmp_path / "007" / "assets", dirs_exist_ok=True)
    shutil.copy(unwarmed_model / "fingerprint.pb", tmp_path / "007")
    manager.refresh()
    assert manager.current().number == 7 and manager.states == {1: (END, ""), 7: (AVAILABLE, "")}
    shutil.rmtree(tmp_path / "007")
    manager.refresh()
    assert manager.current().number == 1


def test_a_version_is_warm_before_it_is_available(saved_model, tmp_path, caplog):
    shutil.copytree(saved_model, tmp_path / "1")
    with caplog.at_level("INFO", "serving"):
        manager = ModelManager("panet", tmp_path, 0)
        manager.refresh()
    assert manager.current().number == 1 and "4 warm-up requests" in caplog.text
    shutil.copytree(saved_model, tmp_path / "2")
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "segmnet"
    with tf.io.TFRecordWriter(str(tmp_path / "2" / FILE)) as writer:
        writer.write(log.SerializeToString())
    manager.refresh()
    state, reason = manager.states[2]
    assert manager.current().number == 1 and state == END
    assert "record 1 asks for signature 'segmnet'; this model has ['encode_support'" in reason


@pytest.mark.slow
def test_process_starts_refuses_a_taken_port_and_ends_cleanly(base_path, episode):
    def start(port, *more, python=os.environ["WARM_PYTHON"]):
        command = [
            python,
            "-m",
            "serving",
            "--port",
            str(port),
            "--model_base_path",
            str(base_path),
            *more,
        ]
        return subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    first = start(0)
    port = int(first.stdout.readline().split()[4].rpartition(":")[2])
    second = start(port)
    assert second.wait(120) == 1
    assert (
        f"--port {port}: 127.0.0.1:{port} cannot be bound; another server may be listening there"
        in second.stderr.read()
    )
    with Client(f"127.0.0.1:{port}") as client:
        assert client.versions() == [(1, AVAILABLE, "")]
        assert client.call("serving_default", episode()[0])["masks"].shape == (1, 1, 64, 64)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    # While it starts there is nothing to wait for; the line in the log comes before TensorFlow is imported.
    early = start(0, "--num_load_threads=2", python=sys.executable)
    assert "--num_load_threads=2 has no effect here" in early.stderr.readline()
    early.send_signal(signal.SIGTERM)
    assert early.wait(60) == 0 and not early.stdout.read()
    missing = subprocess.run(
        [sys.executable, "-m", "serving", "--model_base_path", "/nowhere"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 1 and "/nowhere: no such folder" in missing.stderr


def test_without_a_model_the_shipped_preset_is_served(preset_cache, monkeypatch):
    """Exported at the first start, found there at the second."""
    from serving.models import default_model

    cache, base = preset_cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert base.is_relative_to(cache / "panet-bus") and (base / "1" / "saved_model.pb").is_file()
    monkeypatch.setattr(default_model.subprocess, "run", None)
    assert default_model.model_base_path() == base
    monkeypatch.setattr(default_model, "PRESET", "nowhere")
    with pytest.raises(
        OSError, match="--model_base_path is not given and the preset nowhere is not installed"
    ):
        default_model.model_base_path()
