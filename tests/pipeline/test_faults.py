"""Each fault, planted in a copy of a good set, is found under its own name."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from panet_keras.data import write_phantom
from pipeline.orchestration.local_runner import LocalRunner
from pipeline.pipeline import create_pipeline
from pipeline.validation.image_checks import Row, check_rows
from tests.pipeline.test_run import config


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_phantom(
        tmp_path_factory.mktemp("data") / "good", patients=6, images=6, seed=2, size=(96, 128)
    )


def copy(good, tmp_path):
    return pathlib.Path(shutil.copytree(good, tmp_path / "data"))


def change(path, function):
    Image.fromarray(function(np.array(Image.open(path)))).save(path)


def info(folder, name, field, value):
    """Sets a field of a row of INFO.csv."""
    lines = (folder / "INFO.csv").read_text("utf-8-sig").splitlines()
    column = lines[0].split(";").index(field)
    for number, line in enumerate(lines):
        cells = line.split(";")
        if cells[0] == name:
            cells[column] = value
            lines[number] = ";".join(cells)
    (folder / "INFO.csv").write_text("\n".join(lines) + "\n")


def anomalies(runner_result):
    _, results, stop = runner_result
    done = {result.component: result for result in results}
    return json.loads(done["ExampleValidator"].outputs["anomalies"].anomalies.read_text()), stop


def test_every_fault_is_named_and_stops_the_run(good, tmp_path):
    folder = copy(good, tmp_path)
    images, masks = folder / "images", folder / "masks"

    def blue(mask):
        mask[5:9, 5:9] = (0, 0, 255)
        return mask

    change(masks / "PHAA_000.png", blue)
    cut = images / "PHAA_001.png"
    cut.write_bytes(cut.read_bytes()[:500])
    labels = dict(
        line.split(";")[::2][:2] for line in (folder / "INFO.csv").read_text("utf-8-sig").splitlines()[1:]
    )
    other = {"Benign": "Malignant", "Malignant": "Benign"}
    lesions = [
        name for name in sorted(labels) if labels[name] != "Normal" and name[:4] not in ("PHAA", "PHAB")
    ]
    wrong_label, emptied = lesions[:2]
    info(folder, wrong_label, "Label", other[labels[wrong_label]])
    change(masks / emptied, np.zeros_like)
    shutil.copy(images / "PHAD_000.png", images / "PHAE_005.png")
    for kind in (images, masks):
        (kind / "PHAF_005.png").rename(kind / "phad_005.png")
    text = (folder / "INFO.csv").read_text("utf-8-sig").replace("PHAF_005.png", "phad_005.png")
    (folder / "INFO.csv").write_text(text)
    change(masks / "PHAC_005.png", lambda mask: mask[::2, ::2])

    settings = ["data.test_patients=[PHAB,phad,PHAE]"]
    found, stop = anomalies(LocalRunner(config(folder, tmp_path / "run", *settings)).run())
    by_type = {item["type"]: item for item in found}
    listed, _, way = stop.partition("Mend the data")
    for kind, name in {
        "MASK_COLOUR": "PHAA_000.png: pixel x=5, y=5 has colour (0, 0, 255)",
        "IMAGE_UNREADABLE": "PHAA_001.png: cannot be decoded",
        "LABEL_MASK_DISAGREE": f"{wrong_label}: the label is {other[labels[wrong_label]]}, the mask shows a",
        "LESION_WITHOUT_MASK": f"{emptied}: the label is {labels[emptied]}, the mask is empty",
        "DUPLICATE_IMAGE": "PHAD_000.png, PHAE_005.png: one picture, pixel for pixel, of 2 patients, in test and train",
        "PATIENT_IN_TWO_SPLITS": "patient PHAD, phad is in test and train",
        "MASK_SIZE": "mask is 64 x 48, image PHAC_005.png is 128 x 96",
    }.items():
        assert any(name in item["description"] for item in found if item["type"] == kind), (kind, found)
        # The way on keeps what is let pass already.
        assert kind in way and (kind in listed) == by_type[kind]["stops"] == (kind != "MASK_SIZE")
    # Each by name: the run goes on past those it was told to, and no others.
    names = sorted({item["type"] for item in found if item["stops"]})
    _, stop = anomalies(
        LocalRunner(config(folder, tmp_path / "run", *settings, f"validator.go_on={names[1:]}")).run()
    )
    listed = stop.partition("Mend the data")[0]
    assert names[0] in listed and not any(name in listed for name in names[1:])
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    [proto] = {
        p.parent.name: p
        for p in (tmp_path / "run").rglob("ExampleValidator/*/anomalies/Split-test/SchemaDiff.pb")
    }.values()
    listed = anomalies_pb2.Anomalies.FromString(proto.read_bytes()).anomaly_info
    assert "DUPLICATE_IMAGE" in {reason.short_description for reason in listed["image/digest"].reason}


def test_drift_against_the_run_before_and_skew_between_splits(good, tmp_path):
    folder = copy(good, tmp_path)
    # Masks of another size are in every phantom: told to stop for everything, each run ends at the validator.
    settings = ["validator.go_on=[]", "data.test_patients=[PHAB,PHAE]"]

    def shifts(root):
        found, stop = anomalies(LocalRunner(config(folder, tmp_path / root, *settings)).run())
        assert stop
        return {(item["type"], item["feature"]) for item in found if item["type"].startswith("DATA_")}

    # Every patient has the same six shades.
    for path in sorted((folder / "images").iterdir()):
        change(path, lambda image, path=path: image // 64 + np.uint8(40 + 30 * int(path.stem[-1])))
    assert shifts("run") == set()
    for path in sorted((folder / "images").iterdir()):
        change(path, lambda image: image // 4)
    assert shifts("run") == {("DATA_DRIFT", "image/brightness"), ("DATA_DRIFT", "image/contrast")}
    for path in sorted((folder / "images").glob("PHA[BE]_*")):
        change(path, lambda image: image * 4)
    assert ("DATA_SKEW", "image/brightness") in shifts("another")


def row(number, label="Normal", **changes):
    classes = {"Normal": 0, "Benign": 1, "Malignant": 2}[label]
    base = Row(
        "train", f"P{number:02d}_0.png", f"P{number:02d}", label, classes, str(number), False, False, False
    )
    return dataclasses.replace(base, **changes)


def test_marks_on_lesion_images_only_are_a_leak():
    rows = [row(i, "Benign" if i % 2 else "Normal", marks=bool(i % 2)) for i in range(30)]
    [found] = check_rows(rows)
    assert (
        found["type"] == "FLAG_TELLS_LABEL"
        and "marks go with the label: 15 of 15 lesion images have it, and 0 of 15" in found["description"]
    )
    fair = [row(i, "Benign" if i % 2 else "Normal", marks=bool(i % 4 // 2)) for i in range(32)]
    assert check_rows(fair) == [] and check_rows([]) == []


def test_an_anomaly_that_does_not_exist_is_refused(good, tmp_path):
    from pipeline.errors import ConfigError

    with pytest.raises(
        ConfigError, match="validator.go_on has .'MASK_COLOR'.; expected names of .*MASK_COLOUR"
    ):
        LocalRunner(config(good, tmp_path / "run", "validator.go_on=[MASK_COLOR]")).run()


@pytest.mark.slow
def test_every_beam_runner_writes_the_same_examples(good, tmp_path, monkeypatch):
    """In this process, on Beam in memory, and on Beam with two worker processes."""
    from panet_keras.data import load_bus_uclm, split_by_patients
    from pipeline.components import shards
    from pipeline.errors import ConfigError
    from pipeline.orchestration.cache import digest_path

    monkeypatch.setattr(shards, "SHARD", 5)
    splits = split_by_patients(load_bus_uclm(good), ["PHAB", "PHAE"])
    written = []
    for number, (runner, *options) in enumerate(
        (
            ("",),
            ("DirectRunner",),
            ("DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        )
    ):
        scratch = tmp_path / f"scratch{number}"
        scratch.mkdir()
        work = shards.tasks(splits, lambda split, number=number: tmp_path / str(number) / split)
        assert len(work) == 8
        told = shards.run(work, {"runner": runner, "options": options}, scratch)
        written.append((digest_path(tmp_path / str(number)), told))
    assert written[0] == written[1] == written[2]
    # Another engine is no reason to compute anew.
    LocalRunner(config(good, tmp_path / "run", "validator.go_on=[]")).run()
    _, results, _ = LocalRunner(
        config(good, tmp_path / "run", "validator.go_on=[]", "beam.runner=DirectRunner")
    ).run()
    assert [result.state for result in results][:2] == ["CACHED", "CACHED"]
    for wrong, message in (
        ("beam.runner=DirctRunner", "beam.runner is 'DirctRunner'"),
        ("beam.options=[workers]", "expected flags such as"),
    ):
        with pytest.raises(ConfigError, match=message):
            LocalRunner(config(good, tmp_path / "x", "beam.runner=DirectRunner", wrong)).run()


def test_what_a_killed_process_left_is_swept_and_a_living_one_s_is_not(good, tmp_path):
    import os
    import subprocess

    from pipeline.orchestration.local_runner import _mark

    parent = tmp_path / "run" / "artifacts" / "Trainer"
    dead = subprocess.Popen(["true"])
    dead.wait()
    for number in (dead.pid, os.getpid()):
        (parent / f"{_mark()}{number}-x").mkdir(parents=True)
    (parent / ".building-another machine-1-x").mkdir()
    LocalRunner(config(good, tmp_path / "run", "validator.go_on=[]")).run()
    assert sorted(p.name for p in parent.iterdir()) == sorted(
        [f"{_mark()}{os.getpid()}-x", ".building-another machine-1-x"]
    )


@pytest.mark.slow
def test_what_was_annotated_in_the_page_has_no_anomaly(good, tmp_path, monkeypatch):
    from panet_keras.annotate.export import export
    from panet_keras.annotate.server import open_folder
    from pipeline.orchestration import local_runner

    said = []
    store, folder, _ = open_folder(
        good / "images", tmp_path / "out", ["Cyst", "Mass"], patient="^([^_]+)_", say=said.append
    )
    # The phantom's masks came in as accepted, but those of the patient whose masks have another size.
    left = [frame for frame in folder.frames.values() if not store.done(frame)]
    assert {frame.patient for frame in left} == {"PHAB"}
    for frame, state in zip(left, ("normal", "rejected")):
        store.decide(frame, state, store.version(frame))
    _, files, _ = export(store, ["dataset"])
    store.close()
    [table] = [path for path in files if path.endswith("dataset.csv")]
    monkeypatch.setattr(local_runner, "create_pipeline", lambda config: create_pipeline(config)[:4])
    runner = LocalRunner(
        config(table, tmp_path / "run", "data.layout=csv", "data.test_patients=[PHAB,PHAD,PHAE]")
    )
    found, stop = anomalies(runner.run())
    assert stop is None and [item for item in found if item["stops"]] == []
    findings = json.loads(next((tmp_path / "run").rglob("examples/findings.json")).read_text())
    # All but the one that was rejected and the four that nobody has seen.
    assert sum(len(names) for names in findings["files"].values()) == 36 - 5
