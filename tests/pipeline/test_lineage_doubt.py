"""Names that mean several things, and what lineage cannot answer: it says so."""

import json
import shutil

import pytest

from pipeline.__main__ import main
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.artifacts import Examples, Model, PushedModel

UUID = "8d6f1f0e-4b2a-4c1e-9a53-1f6a2f3c9b10"


@pytest.fixture
def root(tmp_path):
    """A store with three data sets, of patients 2, 0002, a UUID and hospitals' P; and a model of each, pushed."""
    metadata = Metadata(tmp_path / "metadata.db")
    run = metadata.start_run("r1")
    sets = (["2", "P"], ["0002", UUID, "A/P"], ["B/P"])
    for number, patients in enumerate(sets, 1):
        examples = Examples(tmp_path / f"e{number}", digest=f"e{number}")
        examples.path.mkdir()
        told = {
            "files": {"train": [f"{number}.png"], "test": []},
            "patients": {"train": patients, "test": []},
        }
        examples.findings.write_text(json.dumps(told))
        metadata.put_execution("ExampleGen", run, {}, {"examples": examples}, "COMPLETE")
        model = Model(tmp_path / f"m{number}", digest=f"m{number}")
        metadata.put_execution("Trainer", run, {"examples": examples}, {"model": model}, "COMPLETE")
        version = min(number, 2)  # the third took the number of the second, which somebody had removed
        facts = {"version": version, "destination": str(tmp_path / "serving")}
        pushed = PushedModel(tmp_path / f"p{number}", digest=f"p{number}", properties=facts)
        metadata.put_execution("Pusher", run, {"model": model}, {"pushed_model": pushed}, "COMPLETE")
        (tmp_path / "serving" / str(version)).mkdir(parents=True, exist_ok=True)
    return tmp_path


def test_a_patient_is_found_whatever_else_the_name_could_mean(root, capsys):
    def ask(what, *more):
        code = main(["lineage", what, "--root", str(root), *more])
        out = capsys.readouterr()
        return code, out.out, out.err

    # Artifact 2 is the first model; patient 2 is of the first Examples.
    code, out, _ = ask("2")
    artifact, patient = out.split("2 is an image or a patient, too:")
    assert code == 0 and artifact.startswith("Model 2:") and "Examples 1, split train" in patient
    kinds = [set(entry) & {"artifact", "examples"} for entry in json.loads(ask("2", "--json")[1])]
    assert kinds == [{"artifact"}, {"artifact"}, {"examples"}]
    assert ask("3")[1].startswith("PushedModel 3:") and "too:" not in ask("3")[1]
    # Zeros in front make no artifact of it; a UUID may be a patient's pseudonym.
    for what in ("0002", UUID):
        code, out, _ = ask(what)
        assert code == 0 and out.startswith("Examples 4, split train"), out
    assert "give --audit_log FILE" in ask(UUID.replace("8", "9"))[2]

    # A later run may have had the patient under a hospital's name; nobody knows whether it is the same.
    code, out, _ = ask("P")
    assert code == 0 and "Examples 1, split train" in out and "does not speak: A/P, B/P" in out


def test_what_is_gone_and_what_was_replaced_is_said(root, capsys):
    def ask(what):
        code = main(["lineage", what, "--root", str(root)])
        return code, "".join(capsys.readouterr())

    served = root / "serving"
    assert f"PUSHED to {served / '2'}, where another model lies now\n" in ask("A/P")[1]
    assert ask("B/P")[1].endswith(f"PUSHED to {served / '2'}\n")
    shutil.rmtree(served / "1")
    assert f"PUSHED to {served / '1'}, which is gone\n" in ask("P")[1]
    # Without its files nobody can tell who was in a data set.
    shutil.rmtree(root / "e3")
    lost = (
        f"Examples 7, whose files are gone ({root / 'e3'}), of which came what was pushed to {served / '2'}"
    )
    code, said = ask("B/P")
    assert code == 1 and "no run had an image or a patient 'B/P'" in said and f"Not searched: {lost}." in said
    code, said = ask("A/P")
    assert code == 0 and f"NOT searched: {lost}" in said
