"""An acceptance that is interrupted goes on, and one with a fixed support set; a stand-in answers for the model."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from panet_keras.data import load_bus_uclm
from pipeline.__main__ import main
from pipeline.acceptance import accept, report
from pipeline.errors import MetadataError
from pipeline.lineage import answers, queries
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.artifacts import Examples, Model
from pipeline.terminal import show_log


class Answers:
    """Takes for a lesion what is as dark as the support's lesions; notes which supports it was given."""

    size, threshold, own_threshold, version = (32, 48), 0.5, 0.5, "0123456789abcdef"
    stop_after = None

    def __init__(self, path):
        self.asked = []

    def prepare(self, frames, note):
        self.frames = frames

    def state(self, indices, masks):
        self.asked.append(tuple(indices))
        if self.stop_after is not None and len(self.asked) > self.stop_after:
            raise KeyboardInterrupt
        dark = [self.frames[index][mask].mean() for index, mask in zip(indices, masks) if mask.any()]
        return np.mean(dark) if dark else 0.0

    def segment(self, state, indices):
        grey = np.stack([self.frames[index].mean(-1) for index in indices])
        return np.clip(0.5 + (state - grey) / 100, 0, 1).astype(np.float32)


@pytest.fixture
def made(monkeypatch):
    """The stand-ins that were opened."""
    opened = []

    def open_model(path):
        opened.append(Answers(path))
        return opened[-1]

    monkeypatch.setattr(accept, "open_model", open_model)
    show_log()
    return opened


def command(data, output, *more):
    common = ["accept", "--model", "bus_multi_lite0", "--data", str(data), "--output", str(output)]
    return [*common, "--shots", "1,2", "--repeats", "1", *more]


def scores(output):
    told = json.loads((output / "scores.json").read_text("utf-8"))
    told["result"].pop("time")
    return told


def page(output):
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "", (output / "report.html").read_text("utf-8"))


def test_what_was_scored_before_ctrl_c_is_kept_and_the_page_is_whole(
    phantom, made, tmp_path, monkeypatch, capsys
):
    limits = tmp_path / "limits.yaml"
    limits.write_text("supports: 1\n")
    whole, output = tmp_path / "whole", tmp_path / "interrupted"
    judged = main(command(phantom, whole, "--limits", str(limits)))
    assert judged in (0, 3)
    every = made[-1].asked

    work = output.with_name(".interrupted.work")
    with monkeypatch.context() as patch:
        # In the third of four support sets.
        patch.setattr(Answers, "stop_after", 3)
        assert main(command(phantom, output, "--limits", str(limits))) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    done = sorted(file.name for file in work.glob("0*.json"))
    assert done and not output.exists()
    with monkeypatch.context() as patch:
        # While the page is written: all is scored, and no half page is left.
        def interrupted(*_):
            raise KeyboardInterrupt

        patch.setattr(report, "write_report", interrupted)
        assert main(command(phantom, output, "--limits", str(limits))) == 130
    assert not output.exists() and not list(tmp_path.glob(".interrupted-*"))
    assert len(list(work.glob("0*.json"))) == 4 > len(done)
    assert 0 < len(made[-1].asked) < len(every)

    assert main(command(phantom, output, "--limits", str(limits))) == judged
    assert not work.exists() and (output / "blessing" / "acceptance.json").is_file()
    assert scores(output) == scores(whole) and page(output) == page(whole)
    pictures = sorted(path.name for path in (output / "worst").iterdir())
    assert pictures and pictures == sorted(path.name for path in (whole / "worst").iterdir())


def test_a_fixed_support_set_is_scored_on_all_other_patients(phantom, made, tmp_path, monkeypatch, spans):
    records = load_bus_uclm(phantom)
    support, limits = tmp_path / "support", tmp_path / "limits.yaml"
    (support / "normals").mkdir(parents=True)
    own = [record.decode() for record in records if record.patient == "PHAA"]
    for sample in own:
        place = support if sample.mask.any() else support / "normals"
        Image.fromarray(sample.image).save(place / f"own_{sample.record.filename}")
        if sample.mask.any():
            mask = (sample.mask > 0).astype(np.uint8) * np.uint8(255)
            Image.fromarray(mask).save(place / f"own_{sample.record.filename.removesuffix('.png')}_mask.png")
    lesions = sum(bool(sample.mask.any()) for sample in own)
    limits.write_text("".join(f"{name}: null\n" for name in LIMITS))
    output = tmp_path / "out"
    more = ["--limits", str(limits), "--support-dir", str(support)]
    assert main(command(phantom, output, *more)) == 0
    told = scores(output)
    assert list(told["rows"]) == [str(lesions)] and told["result"]["support_dir"] == str(support)
    scored = {records[row["query"]].patient for row in told["rows"][str(lesions)]}
    assert scored == {"PHAB", "PHAC", "PHAD"} and len(told["rows"][str(lesions)]) == 9
    assert "PHAA" not in page(output).partition("worst/")[2]
    *stages, run = spans()
    parts = ["open model", "read pictures", "support set", "score", "judge", "write"]
    assert (run.name, [span.name for span in stages]) == ("pipeline accept", parts)
    below = {span.name: span.parent.span_id for span in stages}
    assert below.pop("support set") == stages[3].context.span_id and set(below.values()) == {
        run.context.span_id
    }
    metadata = Metadata(output / "metadata.db")
    [blessing] = metadata.all_artifacts("AcceptanceBlessing")
    # Its frames are found again, by file and by digest.
    [found] = queries.forward(metadata, f"own_{own[0].record.filename}")
    assert found["acceptance"] == blessing.id
    places = answers.pictures(metadata)[own[0].digest[: answers.DIGITS]]
    assert {"file": f"own_{own[0].record.filename}", "patient": None} in [
        {name: place[name] for name in ("file", "patient")} for place in places
    ]
    facts = {"accepted": True, "model_version": Answers.version, "output.blessing": blessing.id}
    assert dict(run.attributes) == {f"panet.{name}": value for name, value in facts.items()}
    assert dict(stages[1].attributes) == {"panet.images": 12}
    assert dict(stages[2].attributes) == {"panet.supports": len(own), "panet.images": 9, "panet.kept": False}

    # Interrupted, and the mask of a support was corrected since: what was scored with the old one does not count.
    again = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(accept, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(command(phantom, again, *more)) == 130
    [file] = [path for path in support.glob("*_mask.png")][:1]
    mask = np.asarray(Image.open(file)).copy()
    mask[:20] = 255
    Image.fromarray(mask).save(file)
    assert main(command(phantom, again, *more)) == 0
    assert scores(again)["rows"] != told["rows"]
    shutil.rmtree(again)


def test_a_store_that_may_not_be_written_costs_no_acceptance(phantom, made, tmp_path, monkeypatch, capsys):
    """A root may be mounted read-only, and the Examples of it be gone."""
    known = Metadata(tmp_path / "root" / "metadata.db")
    run = known.start_run("r1")
    examples, model = Examples(tmp_path / "gone", digest="e"), Model(tmp_path / "root" / "m", digest="m")
    known.put_execution("ExampleGen", run, {}, {"examples": examples}, "COMPLETE")
    known.put_execution("Trainer", run, {"examples": examples}, {"model": model}, "COMPLETE")
    model.serving.mkdir(parents=True)
    (model.serving / "saved_model.pb").write_bytes(b"x")
    limits, output = tmp_path / "limits.yaml", tmp_path / "out"
    limits.write_text("supports: 1\n" + "".join(f"{name}: null\n" for name in LIMITS))

    def refuse(self, *_, **__):
        if self.root == tmp_path / "root":
            raise MetadataError("metadata.db: attempt to write a readonly database")
        return start(self, *_, **__)

    start = Metadata.start_run
    monkeypatch.setattr(Metadata, "start_run", refuse)
    asked = [*command(phantom, output, "--limits", str(limits))]
    asked[2] = str(model.path)
    assert main(asked) == 0
    said = capsys.readouterr().err
    assert f"the lineage goes into {output / 'metadata.db'}: metadata.db: attempt to write" in said
    assert "the Examples that it was trained on are gone" in said
    assert "Not told: which of the pictures the model was trained on; the Examples that" in page(output)
    [blessing] = Metadata(output / "metadata.db").all_artifacts("AcceptanceBlessing")
    assert blessing.path == output / "blessing" and known.all_artifacts("AcceptanceBlessing") == []

    assert main(command(phantom, phantom / "accepted")) == 1
    assert f"--output {phantom / 'accepted'}: in the data" in capsys.readouterr().err
    assert not (phantom / "accepted").exists()


LIMITS = (
    "min_patients",
    "min_dice",
    "max_missed",
    "max_marked_normals",
    "min_lesions_found",
    "max_false_marks",
    "max_ece",
    "min_group_dice",
    "max_drift",
)
