import logging
import sqlite3
import threading
import time

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import load_config
from pipeline.errors import MetadataError
from pipeline.lineage import queries
from pipeline.lineage.metadata import OUTPUT, Metadata, state_name
from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, WorkDir, component
from pipeline.orchestration.artifacts import Examples, ExampleStatistics, Model, PushedModel
from pipeline.orchestration.cache import digest_path
from pipeline.orchestration.local_runner import LocalRunner
from pipeline.terminal import show_log


def test_folder_is_made_and_a_foreign_file_is_left_alone(tmp_path):
    Metadata(tmp_path / "new" / "dir" / "m.db")
    assert (tmp_path / "new" / "dir" / "m.db").is_file()
    foreign = tmp_path / "notes.db"
    foreign.write_bytes(b"x" * 200)
    with pytest.raises(MetadataError, match="notes.db: not an SQLite database.*Name another"):
        Metadata(foreign)
    assert foreign.read_bytes() == b"x" * 200


def test_the_newest_complete_execution_is_the_cache_hit(tmp_path):
    metadata = Metadata(tmp_path / "m.db")
    run = metadata.start_run("r1")
    for number, state in enumerate(("COMPLETE", "COMPLETE", "FAILED"), 1):
        output = (
            {"examples": Examples(tmp_path / str(number), digest=str(number))} if state == "COMPLETE" else {}
        )
        metadata.put_execution("Gen", run, {}, output, state, cache_key="k")
    _, outputs = metadata.find_cached("Gen", "k")
    assert outputs["examples"].digest == "2"
    assert metadata.find_cached("Gen", "other") is None
    model = Model(tmp_path / "m", digest="m")
    metadata.put_execution("Train", run, {"examples": outputs["examples"]}, {"model": model}, "COMPLETE")
    assert [a.type_name() for a, _, _ in metadata.ancestors(model.id)] == ["Model", "Examples"]
    assert len(metadata.executions(run)) == 4


def test_component_reads_its_annotations():
    @component
    def Copy(examples: InputArtifact[Examples], times: Parameter[int], model: OutputArtifact[Model]):
        pass

    assert (
        dict(Copy.inputs) == {"examples": Examples}
        and dict(Copy.outputs) == {"model": Model}
        and dict(Copy.parameters) == {"times": int}
    )
    with pytest.raises(TypeError, match=r"Copy got \['times'\]; expected \['examples', 'times'\]"):
        Copy(times=1)
    with pytest.raises(TypeError, match="expected one of"):

        @component
        def Wrong(x: int):
            pass


def test_a_database_of_something_else_or_another_version_is_named_and_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "album.db") as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    with pytest.raises(
        MetadataError, match=r"album.db: an SQLite database of something else \(tables \['photos'\]\)"
    ):
        Metadata(tmp_path / "album.db")
    with sqlite3.connect(tmp_path / "album.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]
    Metadata(tmp_path / "m.db")
    for version in (99, 6):
        with sqlite3.connect(tmp_path / "m.db") as connection:
            connection.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
        with pytest.raises(
            MetadataError,
            match=f"m.db: written by another version of ML Metadata .*{version}.*another run.root",
        ):
            Metadata(tmp_path / "m.db")


def test_a_moved_root_keeps_its_artifacts(tmp_path):
    here = tmp_path / "old" / "Läufe"
    metadata = Metadata(here / "metadata.db")
    run = metadata.start_run("r1")
    places = [here / "artifacts" / "Gen" / f"k-{number}" / "examples" for number in (1, 2)]
    for place in places:
        place.mkdir(parents=True)
    examples = Examples(places[0], digest="1")
    pushed = PushedModel(here / "artifacts" / "Pusher" / "k-1" / "pushed_model", digest="2")
    pushed.properties |= {"version": 3, "destination": str(here / "serving" / "panet")}
    outside = Examples(tmp_path / "elsewhere", digest="3")
    metadata.put_execution(
        "Gen", run, {}, {"examples": examples, "other": outside}, "COMPLETE", summary=f"in {here}/x"
    )
    metadata.put_execution("Pusher", run, {"examples": examples}, {"pushed_model": pushed}, "COMPLETE")
    # As older versions wrote it.
    old = pb.Artifact(type_id=metadata._artifact_types["Examples"], uri=str(places[1]))
    [old_id] = metadata.store.put_artifacts([old])
    old_push = pb.Artifact(
        type_id=metadata._artifact_types["PushedModel"],
        uri=str(here / "artifacts" / "Pusher" / "k-2" / "gone"),
    )
    old_push.custom_properties["destination"].string_value = str(here / "serving" / "old")
    old_push.custom_properties["version"].int_value = 7
    [old_push_id] = metadata.store.put_artifacts([old_push])
    (here / "serving" / "old").mkdir(parents=True)
    assert {a.path for a in metadata.all_artifacts("Examples")} == {*places, outside.path}

    there = tmp_path / "new"
    here.rename(there)
    metadata = Metadata(there / "metadata.db")
    found = {artifact.id: artifact.path for artifact in metadata.all_artifacts()}
    assert found[examples.id] == there / "artifacts" / "Gen" / "k-1" / "examples"
    assert found[old_id] == there / "artifacts" / "Gen" / "k-2" / "examples"
    assert found[outside.id] == outside.path
    assert queries.backward(metadata, there / "serving" / "old" / "7")[0]["artifact"] == old_push_id
    [execution, _] = metadata.executions(metadata.runs()[0])
    assert metadata.facts(execution)["summary"] == f"in {there}/x"
    entries = queries.backward(metadata, there / "serving" / "panet" / "3")
    assert [entry["type"] for entry in entries] == ["PushedModel", "Examples"]
    assert queries.summary(metadata, metadata.runs()[0])["pushed"] == str(there / "serving" / "panet" / "3")


def test_earlier_statistics_that_are_gone_give_a_note(tmp_path, capsys):
    show_log()
    metadata = Metadata(tmp_path / "metadata.db")
    run = metadata.start_run("r1")
    for number in (1, 2):
        folder = tmp_path / "artifacts" / "StatisticsGen" / f"k-{number}" / "statistics"
        folder.mkdir(parents=True)
        (folder / "FeatureStats.pb").write_text(str(number))
        statistics = ExampleStatistics(folder, digest=digest_path(folder))
        metadata.put_execution("StatisticsGen", run, {}, {"statistics": statistics}, "COMPLETE")
    assert metadata.latest("StatisticsGen", "statistics", other_than="now").path == folder
    metadata = Metadata(tmp_path / "metadata.db")
    (folder / "FeatureStats.pb").unlink()
    assert metadata.latest("StatisticsGen", "statistics", other_than="now").path.parent.name == "k-1"
    assert (
        f"note: ExampleStatistics of an earlier run changed or gone, and not compared with: {folder}"
        in capsys.readouterr().out
    )


CALLS = []


@component
def Steady(times: Parameter[int], model: OutputArtifact[Model]):
    (model.path / "weights").write_text("w")
    CALLS.append("Steady")
    return {"summary": "fine"}


@component
def Flaky(times: Parameter[int], model: OutputArtifact[Model]):
    CALLS.append("Flaky")
    return {"summary": "the machine was busy", "keep": False}


@component
def Stopped(times: Parameter[int], model: OutputArtifact[Model]):
    raise KeyboardInterrupt


def test_what_the_cache_takes_and_how_an_interrupted_run_is_told(tmp_path, capsys):
    """A stage as the runner executes it: kept, not kept because the machine decided, made again when a file
    is gone, interrupted."""
    runner = LocalRunner(load_config(None, ["data.path=/d", f"run.root={tmp_path}"]))
    context = runner.metadata.start_run("r1")

    def states(stage, count):
        return [runner._execute(stage(times=1), context, [])[0].state for _ in range(count)]

    CALLS.clear()
    assert states(Steady, 2) == ["COMPLETE", "CACHED"] and states(Flaky, 2) == ["COMPLETE", "COMPLETE"]
    assert CALLS == ["Steady", "Flaky", "Flaky"]
    [weights] = tmp_path.glob("artifacts/Steady/*/model/weights")
    weights.unlink()
    assert states(Steady, 2) == ["COMPLETE", "CACHED"]
    with pytest.raises(KeyboardInterrupt):
        states(Stopped, 1)
    stopped = runner.metadata.executions(context)[-1]
    assert state_name(stopped) == "CANCELED" and runner.metadata.facts(stopped)["error"] == "interrupted"
    assert runner.metadata.artifacts_of(stopped.id, OUTPUT) == {}


HELD, GO = threading.Event(), threading.Event()


@component
def Slow(times: Parameter[int], work_dir: WorkDir, model: OutputArtifact[Model]):
    CALLS.append("Slow")
    HELD.set()
    assert GO.wait(60)
    (model.path / "weights").write_text("w")


def test_two_runs_at_one_stage_do_not_write_over_each_other_s_checkpoints(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    caplog.set_level(logging.INFO)
    told = {}

    def run(name):
        runner = LocalRunner(load_config(None, ["data.path=/d", f"run.root={tmp_path}"]))
        context = runner.metadata.start_run(name)
        told[name] = runner._execute(Slow(times=1), context, [])[0]

    CALLS.clear()
    first, second = (threading.Thread(target=run, args=(name,)) for name in ("first", "second"))
    first.start()
    assert HELD.wait(60)
    second.start()
    while "waiting for another run" not in caplog.text:
        assert second.is_alive()
        time.sleep(0.01)
    GO.set()
    for thread in (first, second):
        thread.join(60)
    assert CALLS == ["Slow"] and [told[name].state for name in ("first", "second")] == ["COMPLETE", "CACHED"]
    assert not list((tmp_path / "work").iterdir())


def test_an_older_copy_does_where_the_newest_is_damaged(tmp_path):
    runner = LocalRunner(load_config(None, ["data.path=/d", f"run.root={tmp_path}", "run.cache=false"]))
    context = runner.metadata.start_run("r1")
    first, second = (runner._execute(Steady(times=1), context, [])[0].outputs["model"] for _ in range(2))
    (second.path / "weights").unlink()
    cached = LocalRunner(load_config(None, ["data.path=/d", f"run.root={tmp_path}"]))
    result = cached._execute(Steady(times=1), context, [])[0]
    assert result.state == "CACHED" and result.outputs["model"].id == first.id


def test_a_run_that_was_killed_is_told_from_one_at_work(tmp_path, python):
    python(
        "import sys; from pipeline.lineage.metadata import Metadata; Metadata(sys.argv[1]).start_run('dead')",
        tmp_path / "m.db",
        warm=False,
    )
    metadata = Metadata(tmp_path / "m.db")
    metadata.end_run(metadata.start_run("stopped by hand"), "interrupted", error="Trainer: interrupted")
    metadata.start_run("at work")
    told = [queries.run_line(queries.summary(metadata, run)) for run in metadata.runs()]
    assert [line.split(", ")[0] for line in told] == [
        "dead: killed",
        "stopped by hand: interrupted",
        "at work: running",
    ]
    assert "Trainer: interrupted" in told[1]
