"""From an answer's id to model and patients, and from a patient to the answers."""

import gzip
import json
import shutil

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

    for name, expected in (("P1", [ids[1]]), ("c.png", [ids[2]]), ("b.png", [])):
        masks, untold = answers.of_patient(metadata, files, name)
        assert [one["id"] for one in masks] == expected and untold == 1  # nobody told what s3 was made of
    text = answers.masks_text(*answers.of_patient(metadata, files, "P2"))
    assert "1 answers had a picture" in text and "NOT known: of 1 more" in text
    [accepted] = queries.forward(metadata, "P2")
    assert "a model was judged on it" in queries.forward_text([accepted])

    assert answers.is_id(ids[0]) and not answers.is_id("PHAA") and not answers.is_id("12")
    with pytest.raises(PipelineError, match="no answer in .*log has this id"):
        answers.resolve(metadata, files, ids[4])
    for wrong, message in ([], "give --audit_log FILE"), ([tmp_path / "none"], "none: no such file"):
        with pytest.raises(PipelineError, match=message):
            answers.resolve(metadata, wrong, ids[0])


def test_logs_that_another_program_rotated_are_read_and_other_files_are_no_empty_logs(metadata, tmp_path):
    """logrotate names full files by number or date, and packs them."""
    log, ids = tmp_path / "audit.log", [new_id() for _ in range(5)]

    def line(number, **more):
        asked = {"id": ids[number], "signature": "segment", "pictures": ["9" * 32], "state": f"s{number}"}
        return f"{json.dumps({**asked, 'supports': ['a' * 32], **more})}\n"

    names = ("audit.log-20261125.gz", "audit.log-20261126", "audit.log.2.gz", "audit.log.1", "audit.log")
    for number, name in enumerate(names):
        opened = gzip.open if name.endswith(".gz") else open
        with opened(tmp_path / name, "wt") as file:
            file.write(line(number))
    (tmp_path / "audit.log.md").write_text("notes")
    (tmp_path / "audit.log2").write_text(line(0))
    masks, untold = answers.of_patient(metadata, [log, tmp_path / "audit.log.1"], "P1")
    assert sorted(one["id"] for one in masks) == sorted(ids) and not untold  # each once
    numbered = [one["id"] for one in masks if one["id"] in ids[2:]]
    assert numbered == ids[2:]  # the oldest first
    assert answers.resolve(metadata, [tmp_path / names[0]], ids[0])["supports"][0]["patient"] == "P1"

    (tmp_path / "predictions.csv").write_text("file,presence\na.png,0.5\n")
    (tmp_path / "cut.gz").write_bytes((tmp_path / names[0]).read_bytes()[:-9])
    for wrong, message in ("predictions.csv", "no line of an audit log"), ("cut.gz", "cannot be unpacked"):
        with pytest.raises(PipelineError, match=f"{wrong}: {message}"):
            answers.of_patient(metadata, [tmp_path / wrong], "P1")
    (tmp_path / "new").write_text("")
    assert answers.of_patient(metadata, [tmp_path / "new"], "P1") == ([], 0)


def test_the_version_that_answered_is_told_where_another_has_its_weights(metadata, tmp_path):
    """A run with other settings may push the same weights again."""
    shutil.copytree(tmp_path / "serving" / "1", tmp_path / "serving" / "2")
    again = PushedModel(
        tmp_path / "again", digest="q", properties={"version": 2, "destination": str(tmp_path / "serving")}
    )
    metadata.put_execution("Pusher", metadata.start_run("r2"), {}, {"pushed_model": again}, "COMPLETE")
    log, weights = tmp_path / "log", "0123456789abcdef"
    asked = {"time": "t", "model": "panet", "model_version": weights, "signature": "segment", "adapted": 300}
    versions = {new_id(): version for version in (1, 2, 3)}
    log.write_text("".join(json.dumps({**asked, "id": i, "version": v}) + "\n" for i, v in versions.items()))
    for answer, version in versions.items():
        found = answers.resolve(metadata, [log], answer)
        assert found["model"][0]["path"] == str(tmp_path / ("pushed" if version == 1 else "again"))
        assert "fine-tuned on the supports (300 steps)" in answers.resolved_text(found)
