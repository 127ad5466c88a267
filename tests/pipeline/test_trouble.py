"""What a machine does to a run: full disks, locked files, a neighbour on the same root, a kill while
pushing."""

import os
import sqlite3
import subprocess
import sys

import pytest

from pipeline.errors import MetadataError
from pipeline.lineage.metadata import Metadata, properties
from tests.checks import write_bus_uclm
from tests.conftest import PROJECT
from tests.pipeline.test_run import TINY


def settings(data, root, *more):
    return [
        x for setting in (f"data.path={data}", f"run.root={root}", *TINY, *more) for x in ("--set", setting)
    ]


def test_a_full_disk_is_named_and_leaves_nothing_half(tmp_path, python):
    # A limit on file size stands for the full disk: the same failing write, without a disk to fill.
    script = """
import resource, signal, sys
from pipeline.__main__ import main
from pipeline.lineage.metadata import Metadata
Metadata(sys.argv[1] + "/metadata.db")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
sys.exit(main(["run", *sys.argv[3:]]))
"""
    root = tmp_path / "run"
    # Room for the metadata of a run, not for the images.
    limit = 100_000 + _size_of_new_metadata(tmp_path)
    images = [(f"{patient}_{i:03d}.png", "Benign") for patient in ("AAAA", "BBBB") for i in range(4)]
    data = write_bus_uclm(tmp_path / "data", images, size=(300, 400))
    done = python(script, root, limit, *settings(data, root), check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "pipeline run: ExampleGen: " in done.stderr
        and "File too large" in done.stderr
        and "make room" in done.stderr
    )
    assert [path for path in root.rglob("artifacts/**/*") if path.is_file()] == []
    [run] = Metadata(root / "metadata.db").runs()
    assert properties(run)["state"] == "failed"


def _size_of_new_metadata(tmp_path):
    Metadata(tmp_path / "size.db")
    return (tmp_path / "size.db").stat().st_size


def test_a_locked_database_is_waited_for(tmp_path):
    metadata = Metadata(tmp_path / "m.db")
    holder = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
        "print('held', flush=True); time.sleep(2); c.execute('ROLLBACK')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "m.db")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(tmp_path / "m.db", timeout=0).execute("BEGIN EXCLUSIVE")
        metadata.start_run("waited")
    assert [run.name for run in metadata.runs()] == ["waited"]


def test_a_failing_database_is_named(tmp_path):
    metadata = Metadata(tmp_path / "m.db")
    metadata.start_run("once")
    with pytest.raises(
        MetadataError, match=r"m\.db: put_contexts failed \(.*already exists.*run the same command again"
    ):
        metadata.start_run("once")
    (tmp_path / "file").write_text("")
    with pytest.raises(MetadataError, match="cannot be made"):
        Metadata(tmp_path / "file" / "m.db")


@pytest.mark.slow
def test_two_runs_at_once_on_one_root(tmp_path):
    rows = [
        (f"{patient}_{i:03d}.png", label)
        for patient in ("AAAA", "BBBB")
        for i, label in enumerate(("Benign", "Normal"))
    ]
    data = write_bus_uclm(tmp_path / "data", rows)
    command = [sys.executable, "-m", "pipeline", "run", *settings(data, tmp_path / "run")]
    runs = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    told = [run.communicate(timeout=300)[0] for run in runs]
    # The set is too small, so that both stop after four stages and the test is short.
    assert [run.returncode for run in runs] == [2, 2], told
    metadata = Metadata(tmp_path / "run" / "metadata.db")
    recorded = [[execution.type for execution in metadata.executions(run)] for run in metadata.runs()]
    assert recorded == [["ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator"]] * 2
    assert not [path for path in (tmp_path / "run").rglob(".building*")]


def test_a_push_that_is_killed_shows_no_version(tmp_path, python):
    script = """
import os, shutil, sys
from pipeline.orchestration.artifacts import InfraBlessing, Model, ModelBlessing, PushedModel
from pipeline.components import Pusher
import pathlib
root = pathlib.Path(sys.argv[1])
model, good, infra, pushed = Model(root / "m"), ModelBlessing(root / "b"), InfraBlessing(root / "i"), PushedModel(root / "p")
for artifact in (good, infra, pushed):
    artifact.path.mkdir(exist_ok=True)
for blessing in (good, infra):
    blessing.write(True, ["fine"])
if sys.argv[2] == "kill":
    copy = shutil.copy2
    def once(*arguments, **options):
        copy(*arguments, **options)
        os._exit(9)
    shutil.copytree.__defaults__ = tuple(once if default is copy else default for default in shutil.copytree.__defaults__)
Pusher.function(model, good, infra, str(root / "served"), pushed)
"""
    serving = tmp_path / "m" / "Format-Serving"
    serving.mkdir(parents=True)
    for name in ("saved_model.pb", "variables.data"):
        (serving / name).write_bytes(b"x")
    assert python(script, tmp_path, "kill", check=False).returncode == 9
    assert [name for name in os.listdir(tmp_path / "served") if not name.startswith(".")] == []
    python(script, tmp_path, "go on")
    papers = {"BLESSED", "INFRA_BLESSED", "model_card.json", "sbom.cdx.json"}
    there = set(os.listdir(tmp_path / "served" / "1"))
    assert there - papers == {"saved_model.pb", "variables.data"} and "model_card.json" in there
