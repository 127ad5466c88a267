"""An id in each answer, and a log that knows it and no name."""

import hashlib
import http.client
import json
import os
import struct
import uuid

import grpc
import numpy as np
import pydicom
import pytest
from PIL import Image

from pipeline.lineage import answers
from pipeline.lineage.metadata import Metadata
from serving.api import provenance
from serving.api.open_inference_grpc import SERVICE
from serving.api.provenance import AuditLog
from serving.api.rest import create_rest_server
from serving.client import Client
from serving.dicom_door import Door
from serving.pictures import encode_png
from serving.protos import open_inference_pb2 as pb
from tests.panet_keras.test_dicom import write


def test_ids_grow_and_are_uuids_of_version_7():
    ids = [provenance.new_id() for _ in range(3)]
    assert all(uuid.UUID(one).version == 7 and uuid.UUID(one).variant == uuid.RFC_4122 for one in ids)
    assert [one[:8] for one in ids] == sorted(one[:8] for one in ids) and len(set(ids)) == 3


def test_what_a_client_says_of_its_supports_is_taken_if_it_is_digests():
    said = "ab" * 16
    assert provenance.begin([("Panet-Supports", f"{said}, {said}")]).supports == (said, said)
    for wrong in ("Mustermann", said.upper(), said + "0", ",".join([said] * 201)):
        assert provenance.begin([("panet-supports", wrong)]).supports == ()


def test_every_answer_is_in_the_log_with_its_supports_and_without_a_name(
    server, service, phantom, episode, tmp_path, capsys
):
    files = [f"{phantom}/images/PHAA_000.png", f"{phantom}/images/PHAC_001.png"]
    audit = AuditLog(tmp_path / "audit" / "log.jsonl")
    service.observers.append(audit)
    rest, port = create_rest_server(service, "127.0.0.1", 0)
    try:
        with Client(f"127.0.0.1:{server}") as client:
            client.set_support([files[0]], [f"{phantom}/masks/PHAA_000.png"])
            answer = client.predict(files[1])
        inputs, _ = episode(1, 1, 1, (32, 32))
        body = json.dumps({"inputs": {name: value.tolist() for name, value in inputs.items()}})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/models/panet:predict", body)
        response = connection.getresponse()
        response.read()
        connection.request("GET", "/v1/models/panet")
        assert connection.getresponse().getheader("panet-answer-id") is None
        connection.close()
    finally:
        service.observers.remove(audit)
        rest.shutdown()
        rest.server_close()
        audit.close()
    text = (tmp_path / "audit" / "log.jsonl").read_text()
    encoded, segmented, over_rest = map(json.loads, text.splitlines())
    assert "PHA" not in text and ".png" not in text and os.stat(audit.path).st_mode & 0o077 == 0

    picture = np.array(Image.open(files[0]).convert("RGB"))
    own = hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()[:32]
    assert encoded["signature"] == "encode_support" and encoded["supports"] == [own]
    assert segmented["id"] == answer.answer_id and segmented["state"] == encoded["state"]
    with open(files[1], "rb") as file:
        assert segmented["pictures"] == [hashlib.sha256(file.read()).hexdigest()[:32]]
    assert segmented["presence"] == [round(answer.presence, 4)]
    assert (segmented["model"], segmented["version"]) == ("panet", 1) and len(
        segmented["model_version"]
    ) == 16
    assert over_rest["id"] == response.getheader("panet-answer-id") and over_rest["supports"] is None
    assert over_rest["state"] != segmented["state"] and len(over_rest["pictures"]) == 1


def test_the_answer_of_every_door_is_in_the_log_and_is_resolved(server, service, tmp_path):
    """Open Inference by gRPC and REST, and a DICOM object with a support set that the server keeps."""
    pytest.importorskip("highdicom", reason="highdicom is not installed: it makes the SEG")
    picture = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    mask = np.zeros((1, 1, 1, 64, 64, 1), np.uint8)
    mask[..., 10:40, 10:40, :] = 1
    support = {"support_images": np.full((1, 1, 1, 64, 64, 3), 0.5, np.float32), "support_masks": mask}
    version = service.core.managers["panet"].current()
    digest = "ab" * 16
    version.supports["kept"] = ([], version.signatures["encode_support"](**support), (digest,))
    audit = AuditLog(tmp_path / "log.jsonl")
    service.observers.append(audit)
    rest, port = create_rest_server(service, "127.0.0.1", 0)
    try:
        asked = {
            "parameters": {"signature_name": "segment_encoded"},
            "inputs": [{"name": "support_set", "datatype": "BYTES", "shape": [1], "data": ["kept"]}],
        }
        content = encode_png(np.stack([picture] * 3, -1))
        header = {"name": "query_bytes", "datatype": "BYTES", "shape": [1, 1]}
        header["parameters"] = {"binary_data_size": len(content) + 4}
        body = json.dumps(asked | {"inputs": [*asked["inputs"], header]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(
            "POST",
            "/v2/models/panet/infer",
            body + struct.pack("<I", len(content)) + content,
            {"Inference-Header-Content-Length": str(len(body)), "panet-supports": "cd" * 16},
        )
        response = connection.getresponse()
        over_rest = json.loads(response.read())["parameters"]["panet-answer-id"]
        assert over_rest == response.getheader("panet-answer-id")
        connection.close()

        request = pb.ModelInferRequest(model_name="panet")
        for name, array, kind in (
            *(
                (name, array, {"f": "FP32", "u": "UINT8"}[array.dtype.kind])
                for name, array in support.items()
            ),
            ("query_images", support["support_images"][0], "FP32"),
        ):
            request.inputs.add(name=name, datatype=kind, shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        with grpc.insecure_channel(f"127.0.0.1:{server}") as channel:
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                pb.ModelInferRequest.SerializeToString,
                pb.ModelInferResponse.FromString,
            )
            answered, call = infer.with_call(request, timeout=60, metadata=(("panet-supports", digest),))
        over_grpc = answered.parameters["panet-answer-id"].string_param
        assert dict(call.trailing_metadata())["panet-answer-id"] == over_grpc

        tags = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SOPInstanceUID": "1.2.5"}
        made = []
        with Client(f"127.0.0.1:{server}") as client:
            door = Door(client.use_support_set("kept"), tmp_path / "out", ["kept"])
            for _ in range(2):
                write(door.incoming / "1.2.5.dcm", picture, "MONOCHROME2", **tags)
                door._answer(door.incoming / "1.2.5.dcm")
                made.append(pydicom.dcmread(tmp_path / "out" / "1.2.5_mask.dcm"))
    finally:
        service.observers.remove(audit)
        version.supports.pop("kept")
        rest.shutdown()
        rest.server_close()
        audit.close()
    # Asked again it is another answer about the same object.
    assert made[0].SOPInstanceUID == made[1].SOPInstanceUID
    over_dicom = [one.ContentDescription.rpartition("mask ")[2] for one in made]
    ids = [over_rest, over_grpc, *over_dicom]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ids and len(set(ids)) == 4
    metadata = Metadata(tmp_path / "metadata.db")
    for one, name in zip(ids, ("kept", None, "kept", "kept")):
        found = answers.resolve(metadata, [tmp_path / "log.jsonl"], one)
        assert found["answer"]["support_set"] == name and len(found["answer"]["pictures"]) == 1
        assert [support["digest"] for support in found["supports"]] == [digest]
        assert f"support {digest}" in answers.resolved_text(found)


def test_who_looks_on_and_fails_takes_no_answer_away(service, episode, caplog):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "panet"
    for name, value in episode(1, 1, 1, (32, 32))[0].items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))

    def broken(*_):
        raise OSError("no space left")

    service.observers.append(broken)
    try:
        assert service.predict(request).outputs["masks"].dtype
    finally:
        service.observers.remove(broken)
    assert "could not take note of an answer" in caplog.text


def test_full_files_are_kept_up_to_a_number(tmp_path):
    audit = AuditLog(tmp_path / "log", max_bytes=60, keep=2)
    for number in range(8):
        audit.write({"id": f"{number:020d}"})
    audit.close()
    kept = [tmp_path / name for name in ("log.2", "log.1", "log")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    ids = [int(json.loads(line)["id"]) for file in kept for line in file.read_text().splitlines()]
    assert ids == [4, 5, 6, 7][-len(ids) :] and ids[-1] == 7
