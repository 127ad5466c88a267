"""A folder of pictures: the same masks in this process and on a Beam runner, and no work done twice."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from panet_keras.data import load_bus_uclm
from panet_keras.pictures.provenance import read_provenance
from pipeline.__main__ import main
from pipeline.lineage import answers
from serving import tracing


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture
def folder(phantom, tmp_path):
    """Pictures in two folders, one of them broken."""
    folder = tmp_path / "query"
    (folder / "deep").mkdir(parents=True)
    images = sorted((phantom / "images").iterdir())
    shutil.copy(images[0], folder / "a.png")
    Image.open(images[1]).convert("L").save(folder / "d.jpg")
    shutil.copy(images[2], folder / "deep" / "b.png")
    (folder / "c.png").write_bytes(images[0].read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_same_masks_on_every_engine(saved, folder, phantom, tmp_path, capsys):
    lesion = next(
        record for record in load_bus_uclm(phantom) if record.label == "Benign" and record.patient == "PHAA"
    )
    command = [
        "infer",
        "--model",
        str(saved),
        "--support",
        f"{lesion.image}={lesion.masks[0]}",
        "--query",
        str(folder),
    ]
    found = {}
    beam = ["--beam_runner", "DirectRunner", "--beam_option=--direct_running_mode=in_memory"]
    for name, engine in (("here", []), ("beam", beam)):
        out = tmp_path / name
        assert main([*command, "--out", str(out), *engine]) == 1
        assert "4 pictures, 1 of them unreadable" in capsys.readouterr().out
        rows = list(csv.DictReader((out / "predictions.csv").open()))
        assert [row["file"] for row in rows] == ["a.png", "c.png", "d.jpg", "deep/b.png"]
        assert "c.png: cannot be decoded" in rows[1]["error"] and 0 <= float(rows[0]["presence"]) <= 1
        masks = {str(path.relative_to(out)): np.array(Image.open(path)) for path in out.rglob("*_mask.png")}
        assert sorted(masks) == ["a_mask.png", "d_mask.png", "deep/b_mask.png"]
        assert float(rows[3]["area"]) == pytest.approx((masks["deep/b_mask.png"] > 0).mean(), abs=1e-8)
        assert len(list(out.rglob("*_overlay.png"))) == 3
        assert [path.name for path in out.rglob(".*")] == [".progress"]
        # The same answer has the same id, and a line that says what it was made of, without a name.
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines] == [row["answer"] for row in rows if not row["error"]]
        assert len({line["id"] for line in lines}) == 2 + 1 and rows[1]["answer"] == ""
        assert {tuple(line["supports"]) for line in lines} == {(lesion.decode().digest[:32],)}
        found[name] = rows, masks
    assert found["here"][0] == found["beam"][0]
    for name, mask in found["here"][1].items():
        np.testing.assert_array_equal(mask, found["beam"][1][name])

    # Asked again, it goes on: what is there is not segmented a second time, and the mended picture is.
    here = tmp_path / "here"
    (here / "a_mask.png").write_bytes(b"corrected")
    shutil.copy(folder / "a.png", folder / "c.png")
    assert main([*command, "--out", str(here)]) == 0
    assert (here / "a_mask.png").read_bytes() == b"corrected" and (here / "c_mask.png").is_file()
    assert not any(row["error"] for row in csv.DictReader((here / "predictions.csv").open()))

    # Another picture of a name that is done gets no old mask.
    shutil.copy(folder / "deep" / "b.png", folder / "c.png")
    assert main([*command, "--out", str(here)]) == 1
    assert (
        "c_mask.png" in (said := capsys.readouterr().err) and "there already" in said and "a_mask" not in said
    )
    shutil.copy(folder / "a.png", folder / "c.png")

    # Another support must not mix in, and neither must foreign files or a mask from elsewhere.
    other = [*command, "--support", f"{lesion.image}={lesion.masks[0]}", "--out", str(here)]
    assert main(other) == 1
    assert "files of something else" in capsys.readouterr().err
    assert main([*command, "--presence-threshold", "1", "--out", str(here)]) == 1
    assert main([*command, "--out", str(folder)]) == 1
    assert "files of something else" in capsys.readouterr().err
    (here / "a_overlay.png").unlink()
    assert main([*command, "--out", str(here)]) == 1
    assert "a_mask.png: there already" in capsys.readouterr().err
    assert (
        main(
            [
                *command,
                "--presence-threshold",
                "1",
                "--overwrite",
                "--csv",
                str(here / "new.csv"),
                "--out",
                str(here),
            ]
        )
        == 0
    )
    assert not np.array(Image.open(here / "a_mask.png")).any() and (here / "new.csv").is_file()


def test_a_run_cut_off_between_the_files_of_a_picture_goes_on(
    saved, folder, phantom, tmp_path, monkeypatch, spans
):
    """The record is written before the overlay, and the mask last: no moment of a kill leaves files that the next run
    does not know."""
    from panet_keras.commands import answer

    out, table = tmp_path / "out", tmp_path / "table.csv"
    (folder / "c.png").unlink()
    pair = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    common = ["infer", "--model", str(saved), "--size", "64", "64", "--support", pair]
    command = [*common, "--query", str(folder), "--out", str(out), "--csv", str(table)]
    monkeypatch.setattr(tracing, "stop", lambda: None)  # the fixture's spans go on
    write = answer.write_whole
    for name in ("a_overlay.png", "d_mask.png", "deep/b_mask.png"):

        def killed(path, content, name=name):
            if path == out / name:
                raise KeyboardInterrupt
            write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(answer, "write_whole", killed)
            assert main(command) == 130
        assert not (out / name).exists() and not table.exists()
    assert (out / "d_overlay.png").is_file() and (out / ".progress" / "a.png.json").is_file()
    first = (out / "a_mask.png").stat().st_mtime_ns
    before = len(spans())
    assert main(command) == 0 and (out / "a_mask.png").stat().st_mtime_ns == first
    rows = list(csv.DictReader(table.open()))
    assert [row["file"] for row in rows] == ["a.png", "d.jpg", "deep/b.png"] and all(
        row["answer"] for row in rows
    )
    # A table of its own is written again; one of somebody else's is not.
    assert main(command) == 0
    (tmp_path / "other.csv").write_text("mine")
    assert main([*command[:-1], str(tmp_path / "other.csv")]) == 1

    *stages, run = spans()[before : before + 4]
    assert (run.name, [span.name for span in stages]) == (
        "pipeline infer",
        ["open model", "segment", "write"],
    )
    assert {span.parent.span_id for span in stages} == {run.context.span_id}
    line = json.loads((out / "answers.jsonl").read_text().splitlines()[0])
    told = {"images": 3, "supports": 1, "model_digest": line["model_digest"], "state": line["state"]}
    assert dict(run.attributes) == {f"panet.{name}": value for name, value in told.items()}
    assert dict(stages[1].attributes) == {"panet.images": 3, "panet.unreadable": 0}
    assert not [value for span in spans() for value in span.attributes.values() if "a.png" in str(value)]

    # Anew, and a picture that was readable is not any more: no old mask is left for it.
    (folder / "d.jpg").write_bytes(b"broken")
    assert main([*command, "--overwrite"]) == 1
    assert not (out / "d_mask.png").exists() and not (out / "d_overlay.png").exists()
    assert (out / "a_mask.png").is_file()


def test_mistakes_are_said_before_anything_is_written(saved, folder, phantom, tmp_path, capsys):
    pair = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    never = ["--out", str(tmp_path / "never")]
    assert main(["infer", "--support", pair, "--query", str(folder / "no"), *never]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert main(["infer", "--support", pair, "--query", str(folder / "empty"), *never]) == 1
    assert "no picture in it" in capsys.readouterr().err
    # A support that is not there is one mistake, not one for each picture, and nothing is written for it.
    assert (
        main(
            [
                "infer",
                "--model",
                str(saved),
                "--support",
                f"{tmp_path}/no.png=y.png",
                "--query",
                str(folder),
                *never,
            ]
        )
        == 1
    )
    assert "no.png: no such file" in capsys.readouterr().err
    assert main(["infer", "--support", "x.png", "--query", str(folder), *never]) == 1
    assert "--support x.png: expected IMAGE=MASK" in capsys.readouterr().err
    shutil.copy(folder / "d.jpg", folder / "a.jpg")
    assert main(["infer", "--support", pair, "--query", str(folder), *never]) == 1
    assert "a.jpg and" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_segment_writes_the_same_files(saved, folder, phantom, tmp_path):
    from panet_keras.__main__ import main as library

    (folder / "c.png").unlink()
    pair = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    command = [
        "--model",
        str(saved),
        "--support",
        pair,
        "--query",
        str(folder),
        "--size",
        "64",
        "64",
        "--recursive",
    ]
    assert main(["infer", *command, "--out", str(tmp_path / "a")]) == 0
    assert (
        library(
            [
                "segment",
                *command,
                "--csv",
                str(tmp_path / "b" / "predictions.csv"),
                "--out",
                str(tmp_path / "b"),
            ]
        )
        is None
    )
    files = [
        sorted(path.relative_to(tmp_path / out) for path in (tmp_path / out).rglob("[!.]*.*")) for out in "ab"
    ]
    own = {".progress", "answers.jsonl"}
    visible = [[path for path in found if path.parts[0] not in own] for found in files]
    assert visible[0] == visible[1] and len(visible[0]) == 7
    for path in visible[0]:
        if path.name != "predictions.csv":
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
    tables = [list(csv.DictReader((tmp_path / out / "predictions.csv").open())) for out in "ab"]
    assert tables[0] == tables[1] and len({row["answer"] for row in tables[0]}) == 3
    # The id in the table is that in the mask.
    for row in tables[0]:
        mask = tmp_path / "a" / f"{row['file'].rpartition('.')[0]}_mask.png"
        assert read_provenance(mask)["id"] == row["answer"] and answers.is_id(row["answer"])


def test_the_model_is_adapted_once_for_all(saved, scanner, quick_tuning, tmp_path, monkeypatch, capsys):
    """A run that goes on, and every process, opens the model that was fine-tuned; `segment` gives its masks,
    too."""
    from panet_keras import presets
    from panet_keras.__main__ import main as library
    from panet_keras.inference.segmenter import FewShotSegmenter

    query, out = tmp_path / "query", tmp_path / "out"
    (query / "adapted").mkdir(parents=True)
    shutil.copy(scanner / "l0.png", query / "a.png")
    shutil.copy(scanner / "normals" / "n0.png", query / "adapted" / "b.png")
    command = ["--size", "64", "64", "--support-dir", str(scanner), "--query", str(query)]
    adapted = ["infer", "--model", str(saved), *command, "--adapt", "--out", str(out)]
    assert main(adapted) == 0
    said = capsys.readouterr().err
    assert said.count("adapt: ") == said.count("set by 4 annotated pictures and 2 normal frames") == 1
    folder = out / ".progress" / "adapted"
    assert presets.read(folder)[0]["about"]["calibrated"]

    def never(self, *args, **options):
        raise AssertionError("adapted a second time")

    monkeypatch.setattr(FewShotSegmenter, "adapt", never)
    shutil.copy(scanner / "l1.png", query / "c.png")
    assert main(adapted) == 0
    again = ["segment", "--model", str(folder), *command, "--recursive", "--out", str(tmp_path / "again")]
    assert library(again) is None and "presence threshold" not in capsys.readouterr().err
    masks = sorted(path.relative_to(out) for path in out.rglob("*_mask.png"))
    assert [str(path) for path in masks] == ["a_mask.png", "adapted/b_mask.png", "c_mask.png"]
    for path in masks:
        assert (out / path).read_bytes() == (tmp_path / "again" / path).read_bytes()

    steps = presets.read(folder)[0]["about"]["adaptation_steps"]
    assert [json.loads(line)["adapted"] for line in open(out / "answers.jsonl")] == [steps] * 3

    # Without --adapt the threshold is calibrated, once, and from eight pictures on --adapt is named, once.
    more = [f"--support={scanner}/l{number}.png={scanner}/l{number}_mask.png" for number in range(4)]
    calibrated = ["infer", "--model", str(saved), *command, *more, "--out", str(tmp_path / "calibrated")]
    assert main(calibrated) == 0
    said = capsys.readouterr().err
    assert said.count("set by 8 annotated pictures and 2 normal frames") == said.count("--adapt fine") == 1


def test_a_name_that_is_no_utf_8_costs_no_table(tmp_path):
    from panet_keras.commands.table import write_table

    row = {"file": os.fsdecode(b"b\xff.png"), "presence": 0.5, "area": 0.1, "error": "", "answer": "id"}
    write_table(tmp_path / "t.csv", [row])
    assert (tmp_path / "t.csv").read_bytes().splitlines()[1] == b"b\xff.png,0.5,0.1,,id"
