"""The whole pipeline on a tiny phantom: run, cache, change, refusal."""

import json
import os
import shutil

import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.config import LAYOUTS, PROTOCOLS, load_config
from pipeline.errors import ConfigError
from pipeline.orchestration import built_before
from pipeline.orchestration.local_runner import LocalRunner
from pipeline.pipeline import create_pipeline
from pipeline.terminal import show_log
from tests.checks import write_bus_uclm

TINY = [
    "trainer.size=64",
    "trainer.steps=2",
    "trainer.steps_per_epoch=1",
    "trainer.batch_size=1",
    "trainer.queries=1",
    "data.test_share=0.5",
    "evaluator.repeats=1",
    "evaluator.shots=[1]",
    "evaluator.min_dice=0.0",
    "evaluator.max_drop=1.0",
]

LIGHT = [*TINY, "trainer.decoder=bilinear", "trainer.contrast_weight=0.0"]
"""The model that is traced fastest, where a test runs the pipeline again and again."""


def config(data, root, *more):
    return load_config(None, [f"data.path={data}", f"run.root={root}", *TINY, *more])


def states(results):
    return {result.component: result.state for result in results}


@pytest.fixture(scope="module")
def first(phantom, tmp_path_factory):
    runner = LocalRunner(config(phantom, tmp_path_factory.mktemp("run")))
    return runner, runner.run()


@pytest.fixture(scope="module")
def data(phantom, tmp_path_factory):
    """A copy of the phantom that tests may change."""
    return shutil.copytree(phantom, tmp_path_factory.mktemp("data") / "copy")


@pytest.fixture(scope="module")
def light(data, tmp_path_factory):
    """A run of `LIGHT` on data, and from a root, that tests may change."""
    runner = LocalRunner(config(data, tmp_path_factory.mktemp("light"), *LIGHT))
    return runner, runner.run()


@pytest.mark.slow
def test_every_stage_ran_and_left_its_artifacts(first):
    runner, (name, results, stop) = first
    assert stop is None and set(states(results).values()) == {"COMPLETE"} and len(results) == 8
    outputs = {r.component: r.outputs for r in results}
    examples = outputs["ExampleGen"]["examples"]
    findings = json.loads(examples.findings.read_text())
    assert not set(findings["patients"]["train"]) & set(findings["patients"]["test"])
    assert findings["counts"] == {"train": 6, "test": 6}
    assert outputs["Evaluator"]["blessing"].blessed and outputs["InfraValidator"]["blessing"].blessed
    pushed = json.loads(outputs["Pusher"]["pushed_model"].pushed.read_text())
    served = runner.root / "serving" / "panet" / "1"
    assert pushed["version"] == 1 and os.listdir(runner.root / "serving" / "panet") == ["1"]
    model = outputs["Trainer"]["model"].serving
    tree = sorted(p.relative_to(model) for p in model.rglob("*") if p.is_file())
    papers = {"BLESSED", "INFRA_BLESSED", "model_card.json", "sbom.cdx.json"}
    there = sorted(p.relative_to(served) for p in served.rglob("*") if p.is_file())
    assert tree == [p for p in there if str(p) not in papers] and papers - set(map(str, there)) <= {
        "sbom.cdx.json"
    }
    card = json.loads((served / "model_card.json").read_text())
    assert card["model_parameters"]["data"][0]["description"].startswith("6 images of 2 patients")
    assert all((model / p).read_bytes() == (served / p).read_bytes() for p in tree)
    leftovers = [p for p in runner.root.rglob("*") if p.name.startswith((".building", ".pushing"))]
    assert not leftovers and not any((runner.root / "work").iterdir())


def test_report_is_one_file_with_everything(first):
    runner, (name, results, _) = first
    page = (runner.root / "runs" / name / "report.html").read_text()
    for section in (
        "Stages",
        "Data",
        "Training",
        "Scores",
        "Gallery",
        "Grad-CAM",
        "Lineage of the pushed model",
    ):
        assert f"<h2>{section}" in page
    assert page.count("<rect") >= 5 and 'aria-label="Lineage of the pushed model"' in page
    assert page.count("data:image/png;base64,") >= 9
    assert "http://" not in page and "https://" not in page and "<script" not in page
    scores = json.loads(results[5].outputs["evaluation"].evaluation.read_text())
    # Whose pictures they are, and how many annotated ones it took: test patients' lesions, each once however
    # often it was drawn.
    for kind, item in scores["gallery"].items():
        assert (
            page.count(
                f"<figcaption>{kind}: {item['file']}, Dice {item['dice']:.3f}; supports {item['supports'][0]}"
            )
            == 2
        )
    supports = {
        file for image in scores["per_image"].values() for drawn in image["supports"] for file in drawn
    }
    assert set(scores["supports"]) == supports and supports <= set(scores["per_image"])
    assert scores["table"]["cross-patient, 1 shot"]["annotated"] == len(supports)
    assert f"took {len(supports)} different ones as supports" in page
    patient = {file: image["patient"] for file, image in scores["per_image"].items()}
    for file, image in scores["per_image"].items():
        assert all(patient[support] != patient[file] for drawn in image["supports"] for support in drawn)
    # A first run has nobody to compare with, which is no fault of it.
    assert (
        '<p class="good">Version 1 was pushed to' in page
        and '<p class="note">Note: no blessed model before this one' in page
    )


def test_lineage_goes_back_to_the_examples(first):
    runner, (_, results, _) = first
    pushed = results[-1].outputs["pushed_model"]
    kinds = {artifact.type_name() for artifact, _, _ in runner.metadata.ancestors(pushed.id)}
    assert {"PushedModel", "Model", "ModelBlessing", "InfraBlessing", "Examples"} <= kinds


def test_lineage_answers_both_ways(first, capsys):
    runner, (name, _, _) = first

    def ask(*what):
        code = main(["lineage", *what, "--root", str(runner.root)])
        out = capsys.readouterr()
        return code, out.out, out.err

    code, out, _ = ask(str(runner.root / "serving" / "panet" / "1"), "--json")
    entries = json.loads(out)
    assert code == 0 and entries[0]["type"] == "PushedModel"
    examples = next(entry for entry in entries if entry["type"] == "Examples")
    trainer = next(entry for entry in entries if entry.get("component") == "Trainer")
    assert (
        json.loads(trainer["parameters"])["settings"]["recipe"]["seed"] == 0
        and trainer["code"]
        and "tensorflow" in trainer["packages"]
    )
    assert ask(name)[1].splitlines()[0] == ask(str(entries[0]["artifact"]))[1].splitlines()[0]

    seen = examples["files"]["train"][0]
    for what in (seen, examples["patients"]["train"][0]):
        code, out, _ = ask(what)
        assert (
            code == 0
            and "trained on it" in out
            and f"PUSHED to {runner.root / 'serving' / 'panet' / '1'}" in out
        )
    assert "only scored on it" in ask(examples["patients"]["test"][0])[1]
    code, _, error = ask("ZZZZ")
    assert code == 1 and "no run had an image or a patient 'ZZZZ'" in error and name in error


def test_the_pushed_model_is_accepted_on_other_patients_and_that_is_recorded(first, data, tmp_path, capsys):
    runner, (_, results, _) = first
    show_log()
    limits = tmp_path / "limits.yaml"
    limits.write_text(
        "supports: 1\nmin_patients: 2\nmax_drift: 1\n"
        + "".join(
            f"{key}: null\n"
            for key in (
                "min_dice",
                "max_missed",
                "max_marked_normals",
                "min_lesions_found",
                "max_false_marks",
                "max_ece",
                "min_group_dice",
            )
        )
    )
    served, output = runner.root / "serving" / "panet" / "1", tmp_path / "accepted"
    command = ["accept", "--model", str(served), "--data", str(data), "--shots", "1,20"]
    assert main([*command, "--limits", str(limits), "--output", str(output)]) == 0
    out = capsys.readouterr().out
    # The model has seen half of the patients, whose pictures prove nothing.
    assert "left out: 6 pictures of 2 patients that the model was trained on" in out
    assert "kept: patients with a lesion 2, limit at least 2" in out and "ACCEPTED" in out
    told = json.loads((output / "blessing" / "acceptance.json").read_text())
    examples = results[0].outputs["examples"]
    tested = json.loads(examples.findings.read_text())["patients"]["test"]
    assert sorted(told["patients"]) == tested and told["model_version"]
    assert "20 annotated pictures" in told["skipped"][0]
    assert {one["feature"] for one in told["drift"]} >= {"image/brightness", "label"}
    page = (output / "report.html").read_text()
    assert page.count('src="worst/') == len(list((output / "worst").iterdir())) > 0
    assert "http://" not in page and not list(tmp_path.glob(".*"))
    # Lineage goes on from the pushed model; another acceptance does not overwrite this one.
    blessing = runner.metadata.all_artifacts("AcceptanceBlessing")[-1]
    kinds = {artifact.type_name() for artifact, _, _ in runner.metadata.ancestors(blessing.id)}
    assert blessing.blessed and {"PushedModel", "Model", "Examples"} <= kinds
    assert main([*command, "--output", str(output), "--limits", str(limits)]) == 1
    required = config(data, runner.root, f"pusher.require_acceptance={output}")
    assert create_pipeline(required)[-1].arguments["acceptance"] == (str(output),)


def test_compare_pairs_the_images_of_two_runs(first, capsys):
    runner, (name, results, _) = first
    assert main(["compare", name, name, "--root", str(runner.root), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    table = json.loads(results[5].outputs["evaluation"].evaluation.read_text())["table"]
    dice = table["cross-patient, 1 shot"]["dice"]["mean"]
    assert result["rows"]["cross-patient, 1 shot"] == [dice, dice] and result["difference"]["mean"] == 0.0
    assert main(["compare", name, "other", "--root", str(runner.root)]) == 1
    assert "run 'other' is unknown" in capsys.readouterr().err


def test_a_moved_root_keeps_cache_and_lineage(first, phantom, tmp_path, capsys):
    runner, _ = first
    moved = shutil.copytree(runner.root, tmp_path / "Läufe")
    name, results, _ = LocalRunner(config(phantom, moved)).run()
    assert set(states(results).values()) == {"CACHED"}
    assert os.listdir(moved / "serving" / "panet") == ["1"]
    assert results[-1].summary == f"version 1 in {moved / 'serving' / 'panet'}"
    page = (moved / "runs" / name / "report.html").read_text("utf-8")
    assert f"pushed to {moved / 'serving' / 'panet'}." in page and str(runner.root) + "/" not in page
    # In the report and the configuration as people write it.
    assert "Läufe" in (moved / "runs" / name / "config.yaml").read_text("utf-8")
    assert main(["lineage", str(moved / "serving" / "panet" / "1"), "--root", str(moved)]) == 0
    assert f"PushedModel {results[-1].outputs['pushed_model'].id}: {moved}" in capsys.readouterr().out


AS_A_COMMAND = """
import runpy, sys
sys.argv = ["pipeline", "run", "--config", sys.argv[1]]
try:
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code
print("TensorFlow:", "yes" if "tensorflow" in sys.modules else "no")
"""


def test_second_run_takes_all_from_the_cache(first, capsys, python, spans):
    runner, _ = first
    show_log()
    name, results, _ = LocalRunner(runner.config).run()
    assert set(states(results).values()) == {"CACHED"}
    *stages, run = spans()
    assert (run.name, run.attributes["panet.run"]) == ("pipeline run", name)
    assert [stage.name for stage in stages] == [result.component for result in results]
    assert {stage.parent.span_id for stage in stages} == {run.context.span_id}
    ids = {f"panet.output.{output}": a.id for output, a in results[4].outputs.items()}
    ids["panet.input.examples"] = results[0].outputs["examples"].id
    assert dict(stages[4].attributes) == {**ids, "panet.cached": True} and all(ids.values())
    assert "Trainer: cached" in capsys.readouterr().out
    settings = max((runner.root / "runs").glob("*/config.yaml"))
    # TensorFlow's import would take most of such a run. (The light model is built once, to check it.)
    built_before.check(runner.config.trainer.recipe, runner.root)
    output = python(AS_A_COMMAND, settings, warm=False).stdout
    assert output.count(": cached.") == 8 and "TensorFlow: no" in output


@pytest.mark.slow
def test_a_changed_pixel_is_no_cache_hit(light, data):
    runner, _ = light
    mask = data / "masks" / "PHAA_000.png"
    before = mask.stat()
    image = Image.open(mask).convert("RGB")
    image.putpixel((0, 0), (0, 255, 0))
    image.save(mask)
    os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
    _, results, _ = LocalRunner(runner.config).run()
    found = states(results)
    assert found["ExampleGen"] == "COMPLETE" and found["Trainer"] == "COMPLETE"


def test_a_damaged_artifact_or_a_missing_push_is_no_cache_hit(light, spans):
    runner, _ = light
    version = max((runner.root / "serving" / "panet").iterdir())
    shutil.rmtree(version)
    _, results, _ = LocalRunner(runner.config).run()
    pusher = next(span for span in spans() if span.name == "Pusher")
    assert pusher.attributes["panet.cached"] is False
    assert pusher.attributes["panet.output.pushed_model"] == results[-1].outputs["pushed_model"].id
    found = states(results)
    assert found["Trainer"] == "CACHED" and found["Pusher"] == "COMPLETE" and version.is_dir()
    statistics = next(r for r in results if r.component == "StatisticsGen").outputs["statistics"]
    with open(statistics.split("train"), "ab") as file:
        file.write(b"x")
    _, results, _ = LocalRunner(runner.config).run()
    assert states(results)["StatisticsGen"] == "COMPLETE"


def test_runs_lists_runs_with_scores(light, capsys):
    runner, (name, _, _) = light
    assert main(["runs", "--root", str(runner.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(runner.metadata.runs()) and "Trainer" not in "".join(lines)
    [line] = [line for line in lines if line.startswith(f"{name}: complete, Dice 0.")]
    assert f"pushed to {runner.root / 'serving' / 'panet' / '1'}, data {runner.config.data.path}" in line
    assert main(["runs", "--root", str(runner.root), "--verbose"]) == 0
    out = capsys.readouterr().out
    assert (
        f"{name}: complete" in out
        and "Evaluator" in out
        and "serving" not in out.split("Pusher")[0].partition("\n")[2]
    )
    assert main(["runs", "--root", "/nowhere"]) == 1


def test_broken_files_stop_the_run_before_anything_is_written(tmp_path, capsys, spans):
    rows = [(f"{patient}_{i:03d}.png", "Benign") for patient in ("AAAA", "BBBB", "CCCC") for i in range(4)]
    folder = write_bus_uclm(tmp_path / "data", rows)
    image = folder / "images" / "AAAA_003.png"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    (folder / "masks" / "BBBB_001.png").unlink()
    shutil.copy(folder / "masks" / "CCCC_000.png", folder / "masks" / "ZZZZ_000.png")
    with open(folder / "INFO.csv", "a") as file:
        file.write("AAAA_099.png;64x48;Benign;No;No;No\n")
    settings = [x for s in (f"data.path={folder}", f"run.root={tmp_path}/run", *TINY) for x in ("--set", s)]
    assert main(["run", *settings]) == 1
    assert [dict(span.attributes)["error.type"] for span in spans()] == ["DataError"] * 2
    error = capsys.readouterr().err
    for name in (
        "AAAA_003.png: cannot be decoded",
        "masks/BBBB_001.png: missing",
        "images/AAAA_099.png: missing",
        "ZZZZ_000.png",
    ):
        assert name in error, error
    artifacts = [p for p in (tmp_path / "run" / "artifacts").rglob("*") if p.is_file()]
    assert artifacts == []


def test_anomalies_stop_the_run_unless_told_otherwise(data, tmp_path, capsys):
    schema = tmp_path / "strict.pbtxt"
    from pipeline.pipeline import SCHEMA

    text = (
        SCHEMA.read_text()
        .replace("min_examples_count: 4", "min_examples_count: 10")
        .replace("max: 4096", "max: 100")
    )
    schema.write_text(text)
    strict = config(data, tmp_path / "run", f"validator.schema={schema}")
    name, results, stop = LocalRunner(strict).run()
    assert [r.component for r in results][-1] == "ExampleValidator"
    for expected in ("image/width", "INT_TYPE_BIG_INT", "DATASET_LOW_NUM_EXAMPLES"):
        assert expected in stop, stop
    assert "Stopped after ExampleValidator" in (tmp_path / "run" / "runs" / name / "report.html").read_text()
    # The second time the finding comes from the cache, and stops the run just so.
    _, results, again = LocalRunner(strict).run()
    assert results[-1].state == "CACHED" and again == stop


def test_an_unblessed_model_is_not_pushed(light, data, capsys):
    runner, (earlier, _, _) = light
    pushed = sorted(p.name for p in (runner.root / "serving" / "panet").iterdir())
    name, results, _ = LocalRunner(config(data, runner.root, *LIGHT, "evaluator.min_dice=0.999")).run()
    assert states(results)["Trainer"] == "CACHED"
    assert (
        not results[-1].outputs["pushed_model"].properties["pushed"]
        and "below evaluator.min_dice" in results[-1].summary
    )
    assert sorted(p.name for p in (runner.root / "serving" / "panet").iterdir()) == pushed
    page = (runner.root / "runs" / name / "report.html").read_text()
    assert (
        '<p class="bad">Nothing was pushed: Evaluator: mean Dice' in page
        and "no blessed model" not in page.split("<h2>")[0]
    )
    # No word and no colour of a pushed model.
    assert "Lineage of the model, which was not pushed" in page and ">Nothing pushed " in page
    assert "#c9e7cd" not in page and "PushedModel" not in page and "was pushed to" not in page

    # The data have changed since the first run; of the settings only what decides the blessing.
    assert main(["compare", earlier, name, "--root", str(runner.root)]) == 0
    out = capsys.readouterr().out
    assert "scored by the same protocol, on the same" in out and "NOT the same data" in out
    assert "evaluator.min_dice           0.0 | 0.999" in out and "trainer." not in out


def test_a_quick_evaluation_is_a_look_and_blesses_nothing(light, data, capsys):
    runner, (earlier, _, _) = light
    name, results, _ = LocalRunner(
        config(data, runner.root, *LIGHT, "evaluator.quick=true", "evaluator.shots=[1,2]")
    ).run()
    scores = json.loads(results[5].outputs["evaluation"].evaluation.read_text())
    assert states(results)["Trainer"] == "CACHED" and list(scores["table"]) == ["cross-patient, 1 shot"]
    assert "evaluator.quick is a look" in results[-1].summary
    capsys.readouterr()
    assert main(["compare", earlier, name, "--root", str(runner.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == {
        "evaluator.quick": [False, True],
        "evaluator.shots": [[1], [1, 2]],
    }


def test_a_server_that_is_too_slow_is_asked_again(light, data):
    runner, _ = light
    for _ in range(2):
        _, results, _ = LocalRunner(config(data, runner.root, *LIGHT, "infra_validator.timeout=0.01")).run()
        assert states(results)["Evaluator"] == "CACHED" and states(results)["InfraValidator"] == "COMPLETE"
        assert "Give it longer with --set infra_validator.timeout=0.02" in results[6].summary
    assert "infra_validator.timeout" in results[7].summary


@pytest.mark.slow
def test_a_forced_run_executes_all_and_is_what_later_runs_take(light):
    runner, _ = light
    _, forced, _ = LocalRunner(config(runner.config.data.path, runner.root, *LIGHT, "run.cache=false")).run()
    assert set(states(forced).values()) == {"COMPLETE"}
    _, later, _ = LocalRunner(runner.config).run()
    assert set(states(later).values()) == {"CACHED"}
    for one, other in zip(forced, later):
        assert {name: a.id for name, a in one.outputs.items()} == {
            name: a.id for name, a in other.outputs.items()
        }


def test_missing_test_patients_are_told_with_the_command_that_goes_on(data, tmp_path, capsys):
    arguments = [
        x
        for s in (f"data.path={data}", f"run.root={tmp_path}", "data.test_patients=[PHAA,ANFO]")
        for x in ("--set", s)
    ]
    assert main(["run", *arguments]) == 1
    error = capsys.readouterr().err
    assert "['ANFO'] have no image" in error and "--set data.test_patients=[]" in error


def test_choices_are_those_of_the_code_behind_them():
    from panet_keras import evaluation
    from pipeline.components import ExampleGen

    assert PROTOCOLS == evaluation.PROTOCOLS
    arguments = {
        "test_patients": (),
        "test_share": 0.5,
        "split_seed": 0,
        "engine": {},
        "work_dir": "",
        "examples": None,
    }
    with pytest.raises(ConfigError) as error:
        ExampleGen.function(data_path="/nowhere", layout="?", **arguments)
    assert str(sorted(LAYOUTS)) in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("validator.schema=/nowhere.pbtxt", "validator.schema is /nowhere.pbtxt: no such file"),
        (f"pusher.destination={__file__}", "which is a file; expected a folder"),
        ("beam.runner=DirctRunner", "beam.runner is 'DirctRunner'"),
        (
            "trainer.start_from=bus_mutli",
            "trainer.recipe begins from .*/bus_mutli: neither a file of weights nor",
        ),
        ("trainer.weights=/nowhere.h5", "trainer.recipe begins from /nowhere.h5: neither"),
        ("data.path={tmp}", "run.root is .*, in the data .*Name a folder outside"),
        ("data.sources=[[/a], [{tmp}, folder]]", "run.root is .*, in the data"),
        ("pusher.destination=/nowhere/served", "pusher.destination is /nowhere/served, in the data"),
    ],
)
def test_what_a_later_stage_would_stumble_over_is_refused_before_the_first(setting, message, tmp_path):
    runner = LocalRunner(config("/nowhere", tmp_path, setting.format(tmp=tmp_path.parent)))
    with pytest.raises(ConfigError, match=message):
        runner.run()
    assert runner.metadata.runs() == []
