"""Objects sent by pynetdicom to the door, a gRPC server that stands for the model, and a PACS that takes SEGs."""

import concurrent.futures
import threading
import time

import grpc
import numpy as np
import pydicom
import pytest
from PIL import Image

from serving.client import Client, read_tensor, write_tensor
from serving.dicom_door import Door, listen, main, sender
from serving.protos import wire_pb2
from serving.rules import dicom_seg
from serving.rules.dicom import decode_mask
from tests.panet_keras.test_dicom import RAMP, write

pynetdicom = pytest.importorskip("pynetdicom")
TAGS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4"}
ULTRASOUND, CLIP = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


class Model(grpc.GenericRpcHandler):
    """Marks the right half of everything; refuses pictures as it is told."""

    def __init__(self):
        self.refusals, self.asked = [], []

    def service(self, call):
        if call.method.endswith("/Predict"):
            return grpc.unary_unary_rpc_method_handler(
                self.predict, wire_pb2.PredictRequest.FromString, wire_pb2.PredictResponse.SerializeToString
            )
        return None

    def predict(self, request, context):
        self.asked.append(read_tensor(request.inputs["support_set"])[0])
        if self.refusals:
            context.abort(self.refusals.pop(0), "as told")
        answer = wire_pb2.PredictResponse()
        answer.model_spec.version.value = 7
        probability = np.zeros((1, 1, 4, 4, 2), np.float32)
        probability[..., 2:, 1] = 1
        for name, value in (
            ("probabilities", probability),
            ("presence", np.full((1, 1, 1), 0.9, np.float32)),
            ("presence_threshold", np.full(1, 0.5, np.float32)),
        ):
            write_tensor(answer.outputs[name], value)
        return answer


@pytest.fixture
def model():
    handler = Model()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([handler])
    handler.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler
    server.stop(0)


@pytest.fixture
def opened(model, tmp_path):
    """Makes a door that listens: `opened(**options)` gives it and its port."""
    made = []

    def make(start=True, **options):
        client = Client(f"127.0.0.1:{model.port}").use_support_set("kept")
        door = Door(client, tmp_path / "out", ["kept"], pauses=(0.01,), **options)
        server, port = listen(door, "127.0.0.1", 0)
        made.append((door, server, client, start))
        return (door.start() if start else door), port

    yield make
    for door, server, client, started in made:
        server.shutdown()
        if started:
            door.close()
        client.close()


def store(port, *paths):
    """Statuses of C-STORE, as storescu asks."""
    entity = pynetdicom.AE()
    for name in (ULTRASOUND, CLIP, "1.2.840.10008.1.1"):
        entity.add_requested_context(name)
    association = entity.associate("127.0.0.1", port)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    statuses = [association.send_c_store(path).Status for path in paths]
    association.release()
    return statuses


def until(true):
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def study(folder):
    """A picture, a clip of three frames and an object whose pixels are cut off."""
    folder.mkdir()
    write(folder / "a.dcm", RAMP, "MONOCHROME2", SOPInstanceUID="1.9.1", **TAGS)
    write(folder / "cut.dcm", RAMP, "MONOCHROME2", SOPInstanceUID="1.9.2", **TAGS)
    data = pydicom.dcmread(folder / "cut.dcm")
    data.PixelData = data.PixelData[:100]
    data.save_as(folder / "cut.dcm")
    write(
        folder / "clip.dcm",
        np.stack([RAMP] * 3),
        "MONOCHROME2",
        SOPInstanceUID="1.9.3",
        SOPClassUID=CLIP,
        **TAGS,
    )
    data = pydicom.dcmread(folder / "clip.dcm")
    data.file_meta.MediaStorageSOPClassUID = CLIP
    data.save_as(folder / "clip.dcm")
    return [folder / name for name in ("a.dcm", "cut.dcm", "clip.dcm")]


def test_a_study_is_answered_past_a_bad_object(model, opened, tmp_path, monkeypatch):
    import highdicom

    model.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND]  # it is starting
    # A clip may have gigabytes, and is not read again for each frame.
    monkeypatch.delattr(dicom_seg, "read_dicom")
    _, port = opened()
    out = tmp_path / "out"
    assert store(port, *study(tmp_path / "in")) == [0, 0, 0]
    until(lambda: len(list(out.glob("*.dcm"))) == 4 and not list((out / ".incoming").glob("*.dcm")))
    assert sorted(path.name for path in out.glob("*.dcm")) == [
        "1.9.1_mask.dcm",
        *(f"1.9.3_f{frame}_mask.dcm" for frame in range(3)),
    ]
    right = np.zeros(RAMP.shape, bool)
    right[:, 32:] = True
    for path in out.glob("*.dcm"):
        np.testing.assert_array_equal(decode_mask(path, path.name)[0], right)
    made = highdicom.seg.segread(out / "1.9.3_f2_mask.dcm")
    assert made.get_source_image_uids() == [("1.2.3", "1.2.4", "1.9.3")]
    [source] = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert source.ReferencedFrameNumber == 3
    algorithm = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("panet", "7")
    assert [path.name for path in (out / "failed").iterdir()] == ["1.9.2.txt"]
    assert "frame 0 cannot be decoded" in (out / "failed" / "1.9.2.txt").read_text()
    assert set(model.asked) == {b"kept"} and len(model.asked) == 2 + 1 + 3


def test_an_object_is_one_trace_without_its_names(model, opened, tmp_path, spans):
    door, port = opened()
    files = study(tmp_path / "study")
    store(port, *files[:2])
    until(lambda: len([span for span in spans() if span.name == "DICOM object"]) == 2)
    good, bad = (span for span in spans() if span.name == "DICOM object")
    below = [span for span in spans() if span.context.trace_id == good.context.trace_id and span.parent]
    assert [span.name for span in below if span.parent.span_id == good.context.span_id] == [
        *("wait", "decode", "decode", "Client.predict", "encode"),
    ]
    assert good.attributes["panet.images"] == 1 and "tensorflow.serving" in "".join(s.name for s in below)
    assert bad.attributes["error.type"] == "Refused" and not bad.events and not bad.status.description
    told = "".join(span.to_json() for span in spans())
    assert "1.9." not in told and ".dcm" not in told and str(tmp_path) not in told


def test_a_bad_moment_is_not_a_bad_object(model, opened, tmp_path):
    """A deadline that passed once costs no object; one that always passes holds up no other."""
    codes = grpc.StatusCode
    model.refusals = [codes.DEADLINE_EXCEEDED, codes.INTERNAL, codes.CANCELLED]
    _, port = opened()  # one pause: one more attempt
    out, paths = tmp_path / "out", study(tmp_path / "in")
    assert store(port, paths[2], paths[0]) == [0, 0]
    until(lambda: len(list(out.glob("*.dcm"))) == 1 and (out / "failed" / "1.9.3.txt").is_file())
    assert [path.name for path in out.glob("*.dcm")] == ["1.9.1_mask.dcm"]
    assert "answered INTERNAL" in (out / "failed" / "1.9.3.txt").read_text()


def test_only_what_can_be_decoded_is_agreed_upon(opened):
    """A sender that has another syntax alone is told before it sends, and may convert."""
    _, port = opened(start=False)
    jpeg, video = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.102"
    entity = pynetdicom.AE()
    entity.add_requested_context(CLIP, video)
    entity.add_requested_context(ULTRASOUND, [video, jpeg])
    association = entity.associate("127.0.0.1", port)
    assert [context.transfer_syntax for context in association.accepted_contexts] == [[jpeg]]
    assert [context.abstract_syntax for context in association.rejected_contexts] == [CLIP]
    association.release()


def test_an_answer_that_cannot_be_sent_holds_up_no_other(opened, tmp_path, caplog):
    sent = []

    def send(path):
        if "1.9.1" in path.name:
            raise ValueError("no such context")
        sent.append(path.name)
        return 0

    _, port = opened(send=send)
    paths = study(tmp_path / "in")
    assert store(port, paths[0], paths[2]) == [0, 0]
    until(lambda: len(sent) == 3)
    out = tmp_path / "out"
    until(lambda: not list(out.glob("*.dcm")))
    assert [path.name for path in (out / "failed").iterdir()] == ["1.9.1_mask.dcm"]
    assert "1.9.1_mask.dcm cannot be sent: no such context; it lies in failed/" in caplog.text


def test_a_receiver_that_takes_no_seg_is_named(tmp_path, caplog):
    entity = pynetdicom.AE("PACS")
    entity.add_supported_context(CLIP)
    pacs = entity.start_server(("127.0.0.1", 0), block=False)
    target = f"PACS@127.0.0.1:{pacs.server_address[1]}"
    try:
        assert sender(target, "OURS")(tmp_path / "any.dcm") is None
    finally:
        pacs.shutdown()
    assert f"{target} takes no DICOM SEG; its administrator allows it, for our AE title OURS" in caplog.text


def test_what_waits_is_bounded_and_survives(model, opened, tmp_path):
    paths = study(tmp_path / "in")
    door, port = opened(start=False, max_waiting=1)
    assert store(port, paths[0], paths[2]) == [0, 0xA700]
    assert [path.name for path in door.incoming.glob("*.*")] == ["1.9.1.dcm"]
    (door.incoming / "1.9.5.part").write_bytes(b"half")
    (door.receiving / "tmp1.dcm").write_bytes(b"half")
    _, port = opened()  # as after a crash
    until(lambda: (tmp_path / "out" / "1.9.1_mask.dcm").is_file() and not list(door.incoming.glob("*.*")))
    assert not list(door.receiving.iterdir())
    assert len(model.asked) == 1


def test_answers_are_sent_on_until_they_are_taken(opened, tmp_path):
    taken, statuses = [], [0xA700, 0x0000]
    done = threading.Event()

    def take(event):
        status = statuses.pop(0)
        if status == 0:
            taken.append(pydicom.dcmread(event.dataset_path).SegmentSequence[0].SegmentLabel)
            done.set()
        return status

    entity = pynetdicom.AE("PACS")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.66.4")
    handlers = [(pynetdicom.evt.EVT_C_STORE, take)]
    pacs = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    _, port = opened(send=sender(f"PACS@127.0.0.1:{pacs.server_address[1]}"))
    try:
        assert store(port, study(tmp_path / "in")[0]) == [0]
        assert done.wait(20)
        until(lambda: not list((tmp_path / "out").glob("*.dcm")))
    finally:
        pacs.shutdown()
    assert taken == ["Lesion"] and statuses == []


def test_the_client_writes_segs(model, tmp_path, capsys):
    from serving.client import main as client

    paths = study(tmp_path / "in")
    out = tmp_path / "out"
    common = ["segment", "--server", f"127.0.0.1:{model.port}", "--support_set", "kept", "--out", str(out)]
    assert (
        client(
            [*common, "--format", "dicom-seg", "--query", str(tmp_path / "in"), "--csv", str(out / "a.csv")]
        )
        == 1
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "a.csv",
        "a_mask.dcm",
        "a_mask.png",
        "a_overlay.png",
    ]
    told = capsys.readouterr().err
    assert "cut.dcm: frame 0 cannot be decoded" in told and "clip.dcm: DICOM of 3 frames" in told
    mask = decode_mask(out / "a_mask.dcm", "a")[0]
    np.testing.assert_array_equal(mask, np.asarray(Image.open(out / "a_mask.png")) > 0)
    assert mask.sum() == RAMP.size / 2
    picture = tmp_path / "x.png"
    Image.fromarray(RAMP).save(picture)
    for more, message in (
        (["--query", str(picture), "--format", "dicom-seg"], "x.png: no DICOM; a DICOM SEG refers to"),
        (["--query", str(paths[0]), "--format", "dicom-seg"], "a_mask.dcm: there already"),
    ):
        assert client([*common, *more]) == 1 and message in capsys.readouterr().err


def test_what_the_command_refuses(tmp_path, capsys):
    common = ["--support-set", "kept", "--output", str(tmp_path / "out")]
    assert main([*common, "--send-to", "PACS"]) == 1
    assert "--send-to PACS: expected AE@HOST:PORT" in capsys.readouterr().err
    for wrong, said in (
        (["--ssl-root", str(tmp_path / "nowhere.pem")], "nowhere.pem"),
        (["--port", "70000"], "0-65535"),
    ):
        assert main([*common, *wrong]) == 1
        assert said in capsys.readouterr().err
    (tmp_path / "file").write_text("no folder")
    assert main(["--support-set", "kept", "--output", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err
