"""What travels with a pushed model and with a data set: signature, card, list of software, description."""

import datetime
import json

import pytest

from pipeline.__main__ import main
from pipeline.components import Pusher
from pipeline.errors import PipelineError
from pipeline.orchestration.artifacts import (
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
)
from pipeline.papers.croissant import FIELDS, croissant
from pipeline.papers.model_card import model_card
from pipeline.papers.sbom import locked, sbom
from pipeline.papers.signing import PASSWORD, sign
from serving.models.signatures import SignatureCheck, SignatureError

NAN = float("nan")


def interval(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


@pytest.fixture
def artifacts(tmp_path):
    """Folders as the stages leave them, tiny: dictionary of name to artifact."""
    kinds = {
        "model": Model,
        "blessing": ModelBlessing,
        "infra_blessing": InfraBlessing,
        "pushed_model": PushedModel,
        "evaluation": ModelEvaluation,
        "examples": Examples,
    }
    made = {name: kind(tmp_path / name) for name, kind in kinds.items()}
    for artifact in made.values():
        artifact.path.mkdir()
    made["model"].properties |= {"steps": 1200, "encoder": "lite0"}
    made["model"].serving.mkdir()
    (made["model"].serving / "saved_model.pb").write_bytes(b"graph")
    made["blessing"].write(True, ["mean Dice 0.700 is at least evaluator.min_dice 0.5"])
    made["infra_blessing"].write(True, ["largest difference of a probability 0"])
    row = {
        "dice": interval(0.7, 0.6, 0.8),
        "iou": interval(0.6, 0.5, 0.7),
        "sensitivity": interval(0.9, 0.8, 1.0),
        "precision": interval(NAN, NAN, NAN),
        "miss_rate": 0.25,
        "normal": {"false_any": 0.5},
        "n": 4,
        "patients": 2,
        "by_patient": {"ANNA": 0.7},
    }
    scores = {"headline": "1 shot", "table": {"1 shot": row}, "strata": {"size: small": {"dice": 0.4}}}
    scores["table"]["5 shots"] = row | {"normal": {"n": 0}}  # as of data without normal frames
    made["evaluation"].evaluation.write_text(json.dumps(scores | {"notes": ["a note"], "skipped": []}))
    findings = {
        "counts": {"train": 3, "test": 1},
        "patients": {"train": ["ANNA", "BERTA"], "test": ["CLARA"]},
        "labels": {"train": {"Benign": 2, "Normal": 1}, "test": {"Benign": 1}},
    }
    made["examples"].findings.write_text(json.dumps(findings))
    for split in Examples.SPLITS:
        made["examples"].split(split).mkdir()
        (made["examples"].split(split) / "data_tfrecord-00000-of-00001.gz").write_bytes(split.encode())
    return made


def test_a_pushed_version_carries_its_papers_signed(artifacts, tmp_path, signing_keys):
    served = tmp_path / "served" / "panet"
    said = Pusher.function(**artifacts, destination=str(served), signing_key=str(signing_keys / "ours.pem"))
    assert said["summary"] == f"version 1 in {served}, signed"
    assert json.loads(artifacts["pushed_model"].pushed.read_text())["signed"] is True
    version, check = served / "1", SignatureCheck(signing_keys / "ours.pub")
    check(version)
    papers = {"BLESSED", "INFRA_BLESSED", "model_card.json", "sbom.cdx.json", "model.sig", "saved_model.pb"}
    assert {file.name for file in version.iterdir()} == papers
    component = json.loads((version / "sbom.cdx.json").read_text())["metadata"]["component"]
    assert (component["name"], component["version"]) == ("panet", "1")
    assert component["type"] == "machine-learning-model"
    for name in sorted(papers - {"model.sig"}):
        content = (version / name).read_bytes()
        (version / name).write_bytes(content + b" ")
        with pytest.raises(SignatureError, match=f"changed: {name}$|changed: {name}[.;]"):
            check(version)
        (version / name).write_bytes(content)
    check(version)


def test_the_card_has_the_scores_and_no_patient(artifacts):
    text = model_card(
        "panet",
        3,
        artifacts["model"],
        [("Evaluator", artifacts["blessing"])],
        artifacts["evaluation"],
        artifacts["examples"],
        datetime.date(2026, 11, 26),
    )
    card = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(card) == [
        "schema_version",
        "model_details",
        "model_parameters",
        "quantitative_analysis",
        "considerations",
    ]
    assert card["schema_version"] == "0.0.2"
    assert card["model_details"]["version"] == {"name": "3", "date": "2026-11-26"}
    assert (
        card["model_details"]["documentation"]
        == "Evaluator: mean Dice 0.700 is at least evaluator.min_dice 0.5"
    )
    metrics = {
        (item["type"], item["slice"]): item for item in card["quantitative_analysis"]["performance_metrics"]
    }
    assert metrics["Dice", "1 shot"]["value"] == 0.7
    assert metrics["Dice", "1 shot"]["confidence_interval"] == {"lower_bound": 0.6, "upper_bound": 0.8}
    assert metrics["lesions missed whole, share", "1 shot"]["value"] == 0.25
    assert metrics["frames without lesion that are marked, share", "1 shot"]["value"] == 0.5
    assert metrics["Dice", "size: small"]["value"] == 0.4
    assert ("precision of pixels", "1 shot") not in metrics, "undefined is left out"
    descriptions = [item["description"] for item in card["model_parameters"]["data"]]
    assert descriptions == ["3 images of 2 patients; 2 Benign, 1 Normal", "1 images of 1 patients; 1 Benign"]
    assert "lite0, 1200 training steps" in card["model_parameters"]["model_architecture"]
    limits = [item["description"] for item in card["considerations"]["limitations"]]
    assert (
        limits[0].startswith("Not a medical device")
        and "4 images of 2 patients" in limits[1]
        and "a note" in limits
    )
    assert not any(name in text for name in ("ANNA", "BERTA", "CLARA"))


def test_the_bill_of_materials_is_the_lock_and_valid():
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="pip install 'cyclonedx-python-lib[json-validation]'"
    )
    from cyclonedx.schema import SchemaVersion

    text = sbom()
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    found = {(part["name"], part["version"]) for part in document["components"]}
    assert found == set(locked()) and len(found) > 100
    # One generation of the lock, that of this Python.
    assert len([version for name, version in found if name == "tensorflow"]) == 1
    [root] = [item for item in document["dependencies"] if item["ref"].startswith("panet-bus@")]
    assert len(root["dependsOn"]) == len(found)
    assert all(
        part["purl"] == f"pkg:pypi/{part['name'].lower()}@{part['version']}"
        for part in document["components"]
    )
    again = json.loads(sbom())
    assert document.pop("metadata") and again.pop("metadata") and again == document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a==1\n\n# a comment\nB==2.0 ; python_version >= '3.11'  # why\n", [("B", "2.0"), ("a", "1")]),
        ("a==1 ; python_version < '3'\n", []),
        ("a>=1\n", "line 1 is 'a>=1'; expected name==version"),
        ("a==1\nb\n", "line 2 is 'b'; expected name==version"),
        (None, "No such file"),
    ],
)
def test_what_a_lock_pins(tmp_path, text, expected):
    lock = tmp_path / "lock.txt"
    if text is not None:
        lock.write_text(text)
    if isinstance(expected, list):
        assert locked(lock) == expected
    else:
        with pytest.raises(PipelineError, match=expected):
            locked(lock)


def test_croissant_describes_the_examples(artifacts):
    import hashlib

    text = croissant(artifacts["examples"], "bus", license="https://creativecommons.org/licenses/by-nc/4.0/")
    document = json.loads(text)
    assert "train: 3 frames of 2 patients; test: 1 frames of 1 patients" in document["description"]
    files = {part["@id"]: part for part in document["distribution"] if part["@type"] == "cr:FileObject"}
    for split in Examples.SPLITS:
        part = files[f"Split-{split}/data_tfrecord-00000-of-00001.gz"]
        assert part["sha256"] == hashlib.sha256(split.encode()).hexdigest()
        assert part["contentSize"] == f"{len(split)} B"
    assert [record["@id"] for record in document["recordSet"]] == ["train", "test"]
    assert not any(name in text for name in ("ANNA", "BERTA", "CLARA"))
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="mlcroissant is not installed: pip install mlcroissant"
    )
    read = mlcroissant.Dataset(jsonld=document)
    assert not read.metadata.ctx.issues.errors
    assert {record.id for record in read.metadata.record_sets} == {"train", "test"}


def test_croissant_knows_every_feature():
    """Those that each Example has; read as text, for importing them starts TensorFlow."""
    import ast
    import pathlib

    import panet_keras

    source = (pathlib.Path(panet_keras.__file__).parent / "data" / "examples.py").read_text("utf-8")
    [features] = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "FEATURES"
    ]
    assert set(FIELDS) == {key.value for key in features.keys}


def test_commands(artifacts, tmp_path, signing_keys, capsys, monkeypatch):
    from cryptography.hazmat.primitives import serialization

    model = artifacts["model"].serving
    assert main(["sign", str(model), "--key", str(signing_keys / "ours.pem")]) == 0
    assert main(["verify", str(model), "--key", str(signing_keys / "ours.pub")]) == 0
    assert "is as it was signed" in capsys.readouterr().out
    for arguments, message in [
        (["verify", str(model), "--key", str(signing_keys / "theirs.pub")], "made with another key"),
        (["sign", str(model), "--key", str(tmp_path / "none.pem")], "none.pem: No such file"),
        (["sign", str(model), "--key", str(signing_keys / "ours.pub")], "expected a private key in PEM form"),
        (["sign", str(tmp_path), "--key", str(signing_keys / "ours.pem")], "has no saved_model.pb"),
        (["croissant", str(tmp_path), "--out", str(tmp_path / "c.json")], "has no findings.json"),
    ]:
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
    key = serialization.load_pem_private_key((signing_keys / "ours.pem").read_bytes(), None)
    locked_key = tmp_path / "locked.pem"
    locked_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(PipelineError, match=PASSWORD):
        sign(model, locked_key)
    monkeypatch.setenv(PASSWORD, "secret")
    sign(model, locked_key)
    SignatureCheck(signing_keys / "ours.pub")(model)
    assert main(["croissant", str(artifacts["examples"].path), "--out", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["@type"] == "sc:Dataset"


def test_a_wrong_signing_key_is_found_before_the_first_stage(tmp_path, signing_keys):
    from pipeline.config import load_config
    from pipeline.errors import ConfigError
    from pipeline.orchestration.local_runner import check

    (tmp_path / "data").mkdir()
    settings = [f"data.path={tmp_path / 'data'}", f"run.root={tmp_path}"]
    check(load_config(None, [*settings, f"pusher.signing_key={signing_keys / 'ours.pem'}"]))
    with pytest.raises(
        ConfigError, match="pusher.signing_key: signing key .*ours.pub: .*expected a private key"
    ):
        check(load_config(None, [*settings, f"pusher.signing_key={signing_keys / 'ours.pub'}"]))
