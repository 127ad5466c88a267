"""Acceptance: who supports whom, figures and limits by arithmetic, drift, and what lets the Pusher push. (On a
real model: tests/pipeline/test_run.py.)"""

import json
import math
import pathlib
import types

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.acceptance import limits as rules
from pipeline.acceptance import plan, summary
from pipeline.acceptance.models import content_digest
from pipeline.components import Pusher
from pipeline.errors import ConfigError
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.artifacts import (
    AcceptanceBlessing,
    Examples,
    ExampleStatistics,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
)
from pipeline.terminal import show_log
from pipeline.validation import drift

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_no_patient_and_no_copy_is_on_both_sides_and_every_picture_is_scored():
    rng = np.random.default_rng(0)
    patients = np.array([f"p{n}" for n in range(12) for _ in range(4)])
    lesion = rng.random(48) < 0.7
    digests = np.arange(48).astype(str)
    digests[47] = digests[0]
    sets, skipped = plan.draw(patients, lesion, digests, shots=(1, 5, 40), repeats=2)
    assert [one.shots for one in sets] == [1] * 4 + [5] * 4 and "40 annotated pictures" in skipped[0]
    for one in sets:
        assert not set(patients[one.frames]) & set(patients[list(one.queries)])
        assert not set(digests[one.frames]) & set(digests[list(one.queries)])
        assert lesion[list(one.lesions)].all() and not lesion[list(one.normals)].any()
        assert len(one.lesions) == one.shots and 0 < len(one.normals) <= min(one.shots, 5)
        # Of as many patients as may be.
        assert len(set(patients[list(one.lesions)])) == min(one.shots, 6)
    scored = {query for one in sets if one.shots == 5 for query in one.queries}
    assert scored == set(range(48)) or scored == set(range(48)) - {0} or scored == set(range(48)) - {47}

    alone = plan.fixed(patients, [*digests, "x", digests[5]], 1, 1)
    assert alone.lesions == (48,) and alone.normals == (49,)
    assert set(alone.queries) == set(np.flatnonzero(patients != patients[5]))


def row(query, lesion, presence, dice=math.nan, found=(), false=()):
    return {
        "query": query,
        "lesion": lesion,
        "presence": presence,
        "fitted": 0.2,
        "dice": dice,
        "false_any": float(bool(false)),
        "false_area": 0.1 * len(false),
        "found": list(found),
        "false": list(false),
        "counts": [[10, 0], [2, 0], [4.0, 0]],
    }


ROWS = [
    row(0, True, 0.9, 0.8, [0.9], [0.6]),
    row(1, True, 0.4, 0.6, [0.8]),
    row(2, False, 0.3, false=[0.7, 0.6]),
    row(3, False, 0.1, false=[0.6]),
]
PATIENTS = ["a", "b", "a", "c"]


def test_figures_are_those_of_the_threshold():
    own = summary.figures(ROWS, PATIENTS, "preset", 0.5)
    fitted = summary.figures(ROWS, PATIENTS, "fitted", 0.5)
    # At 0.5 the second lesion is emptied, and both normal frames; at 0.2 the last frame alone.
    assert own["dice"]["mean"] == 0.4 and fitted["dice"]["mean"] == pytest.approx(0.7)
    assert own["missed"]["mean"] == 0.5 and fitted["missed"]["mean"] == 0.0
    assert own["marked_normals"]["mean"] == 0.0 and fitted["marked_normals"]["mean"] == 0.5
    assert own["lesions_found"]["mean"] == 0.5 and fitted["lesions_found"]["mean"] == 1.0
    assert own["false_marks"]["mean"] == 1 / 4 and fitted["false_marks"]["mean"] == 3 / 4
    # A false mark in four images is allowed: all above 0.65, the second of the normal frame's, so that 0.6 is lost.
    weak = [row(0, True, 0.9, 0.8, [0.6]), ROWS[1], row(2, False, 0.3, false=[0.7, 0.65]), ROWS[3]]
    froc = summary.figures(weak, PATIENTS, "fitted", 0.5)["froc"]
    assert froc == {"0.25": 0.5, "0.5": 1.0, "1.0": 1.0, "2.0": 1.0}
    # None of two patients: Clopper and Pearson, 1 - 0.025 ** (1 / 2).
    assert fitted["missed"]["high"] == pytest.approx(1 - 0.025**0.5)
    # 0.4 is said of pixels of which 0.2 are lesion.
    assert fitted["ece"]["mean"] == pytest.approx(0.2)
    assert (fitted["n"], fitted["patients"], fitted["normals"]) == (2, 2, 2)

    two = types.SimpleNamespace(
        devices=["A", "B", "", ""], labels=["Benign"] * 4, patients=np.array(PATIENTS)
    )
    groups = summary.groups(ROWS, two, "fitted", 0.5)
    assert {name: group["dice"]["mean"] for name, group in groups.items()} == {
        "device: A": 0.8,
        "device: B": 0.6,
    }
    assert [query for query, _ in summary.worst(ROWS, two, "fitted", 0.5)] == [1, 0, 2]


def test_limits_are_read_judged_and_refused_when_unknown(tmp_path):
    assert rules.read_limits(PROJECT / "pipeline/configs/limits.yaml") == rules.Limits()
    file = tmp_path / "limits.yaml"
    file.write_text("max_mised: 0.1\n")
    with pytest.raises(ConfigError, match=r"limits.yaml:1: unknown key max_mised; did you mean max_missed\?"):
        rules.read_limits(file)
    file.write_text("min_dice: 0.65\nmin_patients: null\nmax_ece: 0.5\ngroup_size: 1\nmax_false_marks: 1\n")
    figures = summary.figures(ROWS, PATIENTS, "fitted", 0.5)
    judged = {
        one.what: one.kept
        for one in rules.judge(rules.read_limits(file), figures, {"device: B": figures}, None)
    }
    assert judged == {
        "Dice": True,
        "lesions missed": True,
        "normal frames marked": False,
        "lesions found": True,
        "false marks an image": True,
        "calibration error (ECE)": True,
        "Dice of device: B": True,
    }
    # The worse end of the interval; and what cannot be told is not kept.
    file.write_text("bound: end\nmin_dice: 0.65\nmax_drift: 0.2\n")
    no_normals = summary.figures(ROWS[:2], PATIENTS, "fitted", 0.5)
    judged = {one.what: one for one in rules.judge(rules.read_limits(file), no_normals, {}, None)}
    assert not judged["Dice"].kept and judged["Dice"].value == pytest.approx(0.6)
    assert judged["normal frames marked"].value is None and not judged["drift of the pictures"].kept
    assert not any(one.kept for one in rules.judge(rules.Limits(), None, {}, None))


def test_drift_is_told_in_plain_words():
    training = {
        "image/brightness": drift.Numbers(
            np.array([0.0, 0.5]), np.array([0.5, 1.0]), np.array([50.0, 50.0]), 0.5
        ),
        "image/width": drift.Numbers.of([856] * 10),
        "label": drift.Texts({"Benign": 0.8, "Malignant": 0.2}),
    }
    same = {
        "image/brightness": drift.Numbers.of([0.2, 0.3, 0.6, 1.0]),
        "image/width": drift.Numbers.of([856]),
    }
    assert [(one.value, one.moved) for one in drift.compare(training, same)] == [(0.0, False)] * 2
    moved = {
        "image/brightness": drift.Numbers.of([0.1, 0.2]),
        "image/width": drift.Numbers.of([900]),
        "label": drift.Texts.of(["Malignant", "Benign"]),
    }
    found = drift.compare(training, moved)
    # (1/2, 1/2) against (1, 0): 1/2 [1/2 log2(1/2 / 3/4) + 1/2 log2(1/2 / 1/4) + log2(1 / 3/4)].
    expected = 0.5 * (0.5 * math.log2(2 / 3) + 0.5 * 1 + math.log2(4 / 3))
    assert [one.value for one in found] == pytest.approx([expected, 1.0, 0.3])
    assert [one.moved for one in found] == [True, True, True]
    assert found[0].text == "brightness: darker, mean 0.15 against 0.5 in training"
    assert "wider" in found[1].text and found[2].text == "label Benign: 50% against 80% in training"


def test_drift_is_tfdv_s_on_the_same_buckets(tmp_path):
    """The measurements that TFDV's own comparators make of two histograms with the same edges."""
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

    from pipeline.validation.tfdv import import_tfdv
    from serving.api.statistics import Values

    def statistics(name, brightness, benign):
        listed = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = listed.datasets.add(num_examples=40)
        number = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
        number.path.step.append("image/brightness")
        values = Values(np.linspace(0, 1, 11))
        for value in brightness:
            values.add(value)
        values.write(number)
        text = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
        text.path.step.append("label")
        text.string_stats.common_stats.CopyFrom(number.num_stats.common_stats)
        for label, count in (("Benign", benign), ("Normal", 40 - benign)):
            text.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
        (tmp_path / name).write_bytes(listed.SerializeToString())
        return listed

    rng = np.random.default_rng(0)
    training = statistics("training.pb", rng.random(40), 30)
    own = statistics("own.pb", rng.random(40) ** 2, 21)
    schema = schema_pb2.Schema()
    number = schema.feature.add(name="image/brightness", type=schema_pb2.FLOAT)
    number.drift_comparator.jensen_shannon_divergence.threshold = 0.0
    label = schema.feature.add(name="label", type=schema_pb2.BYTES)
    label.drift_comparator.infinity_norm.threshold = 0.0
    told = import_tfdv().validate_statistics(own, schema, previous_statistics=training)
    expected = {one.path.step[0]: one.drift_measurements[0].value for one in told.drift_skew_info}
    found = drift.compare(*(drift.features_of(tmp_path / f"{name}.pb")[0] for name in ("training", "own")))
    assert {one.feature: one.value for one in found} == pytest.approx(expected, abs=1e-6)
    assert expected["image/brightness"] > 0.05 and expected["label"] == pytest.approx(9 / 40)


def blessing(folder, accepted, model):
    artifact = AcceptanceBlessing(folder / "blessing")
    artifact.path.mkdir(parents=True)
    artifact.write(accepted, ["kept: Dice", "NOT kept: lesions missed"] if not accepted else ["kept: Dice"])
    told = {"model": "m", "model_digest": content_digest(model.serving), "patients": {"P1": {"x.png": "d"}}}
    artifact.acceptance.write_text(json.dumps(told))
    return folder


def test_the_pusher_wants_the_acceptance_of_this_very_model(tmp_path):
    models = []
    for name in ("one", "other"):
        model = Model(tmp_path / name)
        (model.serving / "variables").mkdir(parents=True)
        (model.serving / "saved_model.pb").write_bytes(name.encode())
        models.append(model)
    good, infra = ModelBlessing(tmp_path / "good"), InfraBlessing(tmp_path / "infra")
    for one in (good, infra):
        one.path.mkdir()
        one.write(True, ["fine"])

    def push(*folders):
        pushed = PushedModel(tmp_path / f"pushed{len(list(tmp_path.iterdir()))}")
        pushed.path.mkdir()
        Pusher.function(models[0], good, infra, str(tmp_path / "served"), pushed, acceptance=folders)
        return json.loads(pushed.pushed.read_text())["reason"]

    assert "is no acceptance yet (pusher.require_acceptance); make it: python -m pipeline accept" in push(
        tmp_path
    )
    assert push(blessing(tmp_path / "a", False, models[0])) == "acceptance: NOT kept: lesions missed"
    assert "is of another model" in push(blessing(tmp_path / "b", True, models[1]))
    assert not (tmp_path / "served").exists()
    accepted = blessing(tmp_path / "c", True, models[0])
    assert push(accepted) == "" and (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    # What is put beside the model, such as a signature, makes it no other.
    (models[0].serving / "model.sig").write_text("signed")
    assert push(accepted) == ""


def test_the_blessing_has_lineage_and_is_no_run_of_the_pipeline(tmp_path):
    metadata = Metadata(tmp_path / "m.db")
    run = metadata.start_run("accept-1", "AcceptanceRun", data="d")
    model = Model(tmp_path / "model", digest="m")
    made = AcceptanceBlessing(tmp_path / "blessing", digest="b")
    metadata.put_execution("Acceptance", run, {"model": model}, {"blessing": made}, "COMPLETE")
    metadata.end_run(run, "complete")
    assert [a.type_name() for a, _, _ in metadata.ancestors(made.id)] == ["AcceptanceBlessing", "Model"]
    assert metadata.runs() == []


def test_what_a_server_was_asked_is_compared_with_the_training(tmp_path, capsys):
    """From the server's own files, through the store, to an exit code and plain words."""
    from serving.api.statistics import Statistics, facts_of

    metadata = Metadata(tmp_path / "metadata.db")
    run = metadata.start_run("r1")
    versions = tmp_path / "serving"

    def push(number):
        """A version with a training of its own: its folder, and the training's statistics, still to be written."""
        examples, model, statistics = (
            kind(tmp_path / f"{letter}{number}", digest=f"{letter}{number}")
            for kind, letter in ((Examples, "e"), (Model, "m"), (ExampleStatistics, "s"))
        )
        facts = {"version": number, "destination": str(versions)}
        pushed = PushedModel(tmp_path / f"p{number}", digest=f"p{number}", properties=facts)
        for name, read, made in (
            ("ExampleGen", {}, {"examples": examples}),
            ("StatisticsGen", {"examples": examples}, {"statistics": statistics}),
            ("Trainer", {"examples": examples}, {"model": model}),
            ("Pusher", {"model": model}, {"pushed_model": pushed}),
        ):
            metadata.put_execution(name, run, read, made, "COMPLETE")
        statistics.split("train").parent.mkdir(parents=True)
        (versions / str(number)).mkdir(parents=True)
        (versions / str(number) / "saved_model.pb").touch()
        return versions / str(number), statistics.split("train")

    served, training = push(1)

    def ask(folder, brightness, width, contrast=0.02):
        observer = Statistics(tmp_path / folder, period=1e6)
        rng = np.random.default_rng(0)
        for _ in range(40):
            picture = np.clip(rng.normal(brightness, contrast, (4, 4, 3)), 0, 1)
            observer._add(("panet", 1), [{**facts_of(picture), "image/width": width, "mask/empty": 1}], 1)
        observer.close()
        return next((tmp_path / folder).rglob("*.pb"))

    training.write_bytes(ask("training", 0.3, 856).read_bytes())
    ask("same", 0.3, 856)
    ask("moved", 0.1, 1024)
    ask("flat", 0.3, 856, 0.005)

    def drifted(*arguments):
        code = main(["drift", "--model", str(served), "--statistics", *map(str, arguments)])
        return code, capsys.readouterr()

    show_log()
    code, out = drifted(tmp_path / "same")
    assert code == 0 and "40 answers; nothing moved" in out.out and "share of empty masks: 1" in out.out
    code, out = drifted(tmp_path / "moved")
    assert code == 3 and "MOVED: brightness: darker, mean 0.0" in out.out
    assert "MOVED: width in pixels: wider, mean 1024 against 856 in training; Jensen-Shannon 1.00" in out.out
    assert drifted(tmp_path / "moved", "--threshold", "1")[0] == 0
    code, out = drifted(tmp_path / "flat")
    assert code == 3 and "MOVED: contrast: flatter, mean 0.00" in out.out and out.out.count("MOVED") == 1
    code, out = drifted(tmp_path / "moved", "--threshold", "image/brigtness=0.5")
    assert code == 1 and "no such feature" in out.err
    assert "saved_model.pb: no statistics in it" in drifted(tmp_path / "serving")[1].err
    assert "no file of statistics" in drifted(tmp_path / "nowhere")[1].err
    bare = tmp_path / "bare.pb"
    from tensorflow_metadata.proto.v0 import statistics_pb2

    bare.write_bytes(statistics_pb2.DatasetFeatureStatisticsList(datasets=[{}]).SerializeToString())
    code, out = drifted(bare)
    assert code == 1 and "0 answers, and no fact of them" in out.err and "Nothing was compared" in out.err
    assert "several versions; name one of" in drifted(tmp_path)[1].err

    # A later version was trained on other pictures; the folder of both means the one that was served.
    second, training = push(2)
    training.write_bytes(ask("bright", 0.9, 856).read_bytes())
    command = ["drift", "--statistics", str(tmp_path / "same"), "--model"]
    assert main([*command, str(served.parent)]) == 0 and "NOTE" not in capsys.readouterr().out
    assert main([*command, str(second)]) == 3
    assert f"NOTE: the statistics are of panet/1, the training is that of {second}" in capsys.readouterr().out
    (served / "saved_model.pb").unlink()
    assert main([*command, str(served.parent)]) == 1
    assert "no version 1, of which the statistics are (panet/1)" in capsys.readouterr().err


def test_statistics_of_texts_are_compared_and_nothing_in_common_is_no_all_clear(tmp_path):
    """TFDV's own files, as StatisticsGen writes them, have the label, too."""
    from pipeline.validation.drift_command import joined, text

    texts, numbers = drift.Texts, drift.Numbers
    parts = [
        ({"label": texts({"Benign": 1.0}), "image/width": numbers.of([8.0] * 30)}, 30),
        ({"label": texts({"Benign": 0.5, "Normal": 0.5})}, 10),
    ]
    own, count = joined(parts)
    assert count == 40 and own["label"].shares == {"Benign": (30 + 5) / 40, "Normal": 5 / 40}
    training = {"label": texts({"Normal": 1.0})}
    [moved] = drift.compare(training, own)
    assert moved.moved and moved.value == pytest.approx(35 / 40)
    assert "MOVED: label Benign: 88% against 0% in training" in text([moved], own, training, count)


def test_a_threshold_is_fitted_as_by_the_segmenter_and_the_page(model, tmp_path):
    """Of a preset that was calibrated before, on other frames: what was fitted there is no beginning anywhere."""
    from panet_keras import FewShotSegmenter
    from panet_keras.annotate.model import LocalModel
    from pipeline.acceptance.models import KerasAnswers
    from pipeline.acceptance.scoring import fit

    rng = np.random.default_rng(3)
    frames = list(rng.integers(0, 256, (10, 64, 64, 3), np.uint8))
    masks = [np.zeros((64, 64), bool) for _ in frames]
    for mask in masks[:7]:
        mask[10:30, 20:50] = True
    given = FewShotSegmenter(model, size=(64, 64), presence_threshold=0.9)
    given.set_support(frames[:4], masks[:4], normals=frames[7:]).calibrate().save(tmp_path / "calibrated")
    segmenter = FewShotSegmenter(tmp_path / "calibrated")
    assert segmenter.presence_threshold == given.presence_threshold != 0.9

    answers = KerasAnswers(tmp_path / "calibrated")
    answers.prepare(frames, lambda *_: None)
    chosen = plan.SupportSet(2, 0, (4, 5), (7, 8), ())
    found = fit(answers, types.SimpleNamespace(masks=masks), chosen)
    segmenter.set_support(frames[4:6], masks[4:6], normals=frames[7:9])
    seen = segmenter._held_out(segmenter._features("test")).presence
    expected = segmenter.calibrate().presence_threshold
    assert found == pytest.approx(expected, abs=1e-4)
    local = LocalModel(FewShotSegmenter(tmp_path / "calibrated"), "calibrated")
    assert local.presence_threshold == given.presence_threshold
    assert local.fit_threshold(seen[:2], seen[2:]) == pytest.approx(expected, abs=1e-4)
