"""From an answer's id to model and patients, and from a patient to the answers."""

import json

import pytest

from pipeline.errors import PipelineError
from pipeline.lineage import answers, queries
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.artifacts import AcceptanceBlessing, Model, PushedModel
from serving.api.provenance import AuditLog, new_id

DIGESTS = {"P1": {"a.png": "a" * 64, "b.png": "b" * 64}, "P2": {"c.png": "c" * 64}}


@pytest.fixture
def metadata(tmp_path):
    """A store with a pushed model, and an acceptance of it on two patients."""
    metadata = Metadata(tmp_path / "metadata.db")
    run = metadata.start_run("r1")
    model = Model(tmp_path / "model", digest="m")
    metadata.put_execution("Trainer", run, {}, {"model": model}, "COMPLETE", code="c0ffee")
    served = tmp_path / "serving" / "1" / "assets.extra"
    served.mkdir(parents=True)
    (served / "panet.json").write_text(json.dumps({"model_version": "0123456789abcdef"}))
    facts = {"version": 1, "destination": str(tmp_path / "serving")}
    pushed = PushedModel(tmp_path / "pushed", digest="p", properties=facts)
    metadata.put_execution("Pusher", run, {"model": model}, {"pushed_model": pushed}, "COMPLETE")
    blessing = AcceptanceBlessing(tmp_path / "blessing", digest="b")
    blessing.path.mkdir()
    blessing.acceptance.write_text(json.dumps({"patients": DIGESTS, "data": "/data/own"}))
    metadata.put_execution("Acceptance", run, {"model": pushed}, {"blessing": blessing}, "COMPLETE")
    return metadata


def test_an_id_leads_to_the_model_and_the_patients_of_its_supports(metadata, tmp_path):
    log = AuditLog(tmp_path / "log", max_bytes=500, keep=9)
    ids = [new_id() for _ in range(5)]
    common = {"time": "t", "model": "panet", "version": 1, "model_version": "0123456789abcdef"}
    asked = {
        **common,
        "signature": "segment_encoded",
        "pictures": ["9" * 32],
        "presence": [0.8],
        "marked": [0.02],
    }
    log.write(
        {
            **common,
            "id": ids[0],
            "signature": "encode_support",
            "state": "s1",
            "supports": ["a" * 32, "f" * 32],
        }
    )
    log.write({**asked, "id": ids[1], "state": "s1", "supports": None})
    log.write({**asked, "id": ids[2], "state": "s2", "supports": ["c" * 32], "support_set": "ours"})
    log.write({**asked, "id": ids[3], "state": "s3", "supports": None, "model_version": "other"})
    log.close()
    with open(tmp_path / "log", "a") as file:
        file.write('{"id": "cut o')
    assert (tmp_path / "log.1").is_file()  # the oldest lines are in a full file
    files = [tmp_path / "log"]

    found = answers.resolve(metadata, files, ids[1])
    assert [(one["file"], one["patient"]) for one in found["supports"]] == [("a.png", "P1"), (None, None)]
    assert [entry["type"] for entry in found["model"]] == ["PushedModel", "Model"]
    text = answers.resolved_text(found)
    for part in (
        ids[1],
        "a.png, patient P1, AcceptanceBlessing",
        "/data/own",
        "in no Examples",
        "2.00% of the frame",
        "c0ffee",
    ):
        assert part in text
    unknown = answers.resolved_text(answers.resolve(metadata, files, ids[3]))
    assert "nobody told their digests" in unknown and "does not know this model" in unknown

    assert [one["id"] for one in answers.of_patient(metadata, files, "P1")] == [ids[1]]
    assert [one["id"] for one in answers.of_patient(metadata, files, "c.png")] == [ids[2]]
    assert answers.of_patient(metadata, files, "b.png") == []
    assert "1 answers had a picture" in answers.masks_text(answers.of_patient(metadata, files, "P2"))
    [accepted] = queries.forward(metadata, "P2")
    assert "a model was judged on it" in queries.forward_text([accepted])

    assert answers.is_id(ids[0]) and not answers.is_id("PHAA") and not answers.is_id("12")
    with pytest.raises(PipelineError, match="no answer in .*log has this id"):
        answers.resolve(metadata, files, ids[4])
    for wrong, message in ([], "give --audit_log FILE"), ([tmp_path / "none"], "none: no such file"):
        with pytest.raises(PipelineError, match=message):
            answers.resolve(metadata, wrong, ids[0])
