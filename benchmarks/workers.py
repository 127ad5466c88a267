"""Do 1, 2 and 4 workers write the same bytes as this process, and what does a worker cost?

    pip install pyspark            # 3.5 or 4; carries Spark, asks for Java 17
    python -m benchmarks.workers [PICTURES] [MASKS] [PASSES] [ENGINE,...]
                                   # 2,560, 128, 1 and all without; about 15 minutes where nothing else runs

ExampleGen and StatisticsGen over PICTURES synthetic frames (96 x 128), and `python -m pipeline infer` with the
shipped preset over MASKS of them: in this process, on a Spark standalone cluster (master and workers are
processes of their own on this machine, which talk over TCP), on Beam's DirectRunner with worker processes, and on
Spark with one of two workers killed (SIGKILL) in the middle. Everything has one thread, so that a worker stands
for a core; a machine with fewer cores than workers shows what they cost, not what they gain.

Every measurement is a process of its own; the engines alternate, and each pass goes through all of them. What was
measured is kept in FOLDER (`PANET_WORKERS`, by default /tmp/panet-workers) and not measured again, so that an
interrupted run goes on; PASSES 0 measures nothing and writes the result of what is there. The folder is removed when
every engine has been measured. `each` is the time from the first output to the last over
the outputs between, `start` all before the first: Java, Spark, TensorFlow, the model.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import record
from benchmarks.spark_cluster import cluster, kill

WORKERS = (1, 2, 4)
ENGINES = [
    ("this process", 1),
    *(("Spark", number) for number in WORKERS),
    ("Spark with one worker killed", 2),
]
ENGINES += [("Beam DirectRunner", number) for number in WORKERS]
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
STAGES = {
    "ExampleGen": "*/data_tfrecord-*.gz",
    "StatisticsGen": "*/FeatureStats.pb",
    "infer": "**/*_mask.png",
}
FOLDER = pathlib.Path(os.environ.get("PANET_WORKERS", pathlib.Path(tempfile.gettempdir()) / "panet-workers"))


def stage(name, data, out, engine):
    """Runs ExampleGen or StatisticsGen in this process."""
    from pipeline.components import ExampleGen, StatisticsGen
    from pipeline.orchestration.artifacts import Examples, ExampleStatistics

    with tempfile.TemporaryDirectory(dir=FOLDER) as work:
        if name == "ExampleGen":
            how = {"layout": "bus_uclm", "test_patients": (), "test_share": 0.5, "split_seed": 0}
            ExampleGen.function(data_path=data, engine=engine, work_dir=work, examples=Examples(out), **how)
        else:
            examples = Examples(FOLDER / "examples")
            StatisticsGen.function(
                examples=examples, engine=engine, work_dir=work, statistics=ExampleStatistics(out)
            )


def digest(folder):
    """Of the names and bytes of all outputs; answers without the time at which they were given."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.startswith(".progress"):
            continue
        content = file.read_bytes()
        if name == "answers.jsonl":
            lines = map(json.loads, content.splitlines())
            content = json.dumps([{**line, "time": ""} for line in lines]).encode()
        found.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return found.hexdigest()


def command(name, masks, out, engine):
    if name != "infer":
        return [sys.executable, "-m", "benchmarks.workers", "--stage", name, out, json.dumps(engine)]
    from panet_keras.data import load_bus_uclm

    support = next(one for one in load_bus_uclm(FOLDER / "data") if one.label != "Normal")
    options = [f"--beam_option={option}" for option in engine["options"]]
    runner = ["--beam_runner", engine["runner"]] if engine["runner"] else []
    pair = f"{support.image}={support.masks[0]}"
    return [
        *(sys.executable, "-m", "pipeline", "infer", "--support", pair),
        *("--query", masks, "--out", out, *runner, *options),
    ]


def measure(name, engine_name, workers, masks):
    """Runs a stage once, as a process of its own; a row of the result."""
    out = FOLDER / "out"
    shutil.rmtree(out, ignore_errors=True)
    if name != "infer":
        out.mkdir()
    with tempfile.TemporaryDirectory(dir=FOLDER) as logs:
        if engine_name.startswith("Spark"):
            with cluster(workers, logs) as (url, processes):
                options = (f"--master={url}", "--conf=spark.driver.host=127.0.0.1")
                doomed = processes[0] if "killed" in engine_name else None
                return _timed(
                    name, engine_name, workers, masks, out, {"runner": "PySpark", "options": options}, doomed
                )
        options = ("--direct_running_mode=multi_processing", f"--direct_num_workers={workers}")
        beam = engine_name.startswith("Beam")
        engine = {"runner": "DirectRunner" if beam else "", "options": options if beam else ()}
        return _timed(name, engine_name, workers, masks, out, engine, None)


def _timed(name, engine_name, workers, masks, out, engine, doomed):
    began, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryFile(dir=FOLDER) as log:
        process = subprocess.Popen(
            command(name, masks, out, engine), env=os.environ | ONE_THREAD, stdout=log, stderr=log
        )
        while process.poll() is None:
            if doomed and any(out.glob(STAGES[name])):
                kill(doomed)
                doomed = None
            time.sleep(0.1)
        seconds = time.time() - began
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{name}, {engine_name}: {log.read().decode(errors='replace')[-4000:]}")
    if doomed:
        raise RuntimeError(f"{name}: nothing was there while it ran, and no worker was killed")
    times = sorted(file.stat().st_mtime for file in out.glob(STAGES[name]))
    row = {"stage": name, "engine": engine_name, "workers": workers, "seconds": seconds, "load": load}
    if name != "StatisticsGen":
        row |= {"start": times[0] - began, "each": (times[-1] - times[0]) / max(1, len(times) - 1)}
    row["digest"] = digest(out)
    if name == "ExampleGen" and not (FOLDER / "examples").exists():
        os.replace(out, FOLDER / "examples")
    return row


def main(pictures="2560", masks="128", passes="1", engines=""):
    from panet_keras.data import write_phantom

    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = engines.split(",") if engines else [name for name, _ in ENGINES]
    asked, data, queries = [pictures, masks], FOLDER / "data", FOLDER / "queries"
    if not data.exists():
        write_phantom(data, patients=int(pictures) // 20, images=20, seed=0, size=(96, 128))
    queries.mkdir(exist_ok=True)
    for image in sorted((data / "images").iterdir())[: int(masks)]:
        if not (queries / image.name).exists():
            os.link(image, queries / image.name)
    kept = FOLDER / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    if any(row["asked"] != asked for row in rows):
        raise SystemExit(f"{FOLDER} holds another size's measurements; remove it, or give the same numbers")
    done = {(row["stage"], row["engine"], row["workers"], row["pass"]) for row in rows}
    for number in range(int(passes)):
        for engine, workers in ENGINES:
            for name in STAGES:
                if engine not in wanted:
                    continue
                if name == "StatisticsGen" and "killed" in engine:
                    continue  # its outputs are written at the end: there is no middle to see
                if (name, engine, workers, number) not in done:
                    row = measure(name, engine, workers, queries) | {"pass": number, "asked": asked}
                    rows.append(row)
                    with open(kept, "a") as stream:
                        stream.write(f"{json.dumps(row)}\n")
                    print(row, flush=True)
    same = {name: len({row["digest"] for row in rows if row["stage"] == name}) == 1 for name in STAGES}
    record.write(
        "workers",
        "Do 1, 2 and 4 workers write the same bytes as this process, and what does a worker cost?",
        {"pictures": int(pictures), "masks": int(masks), "same bytes": same, "rows": rows},
    )
    if {(name, *engine) for engine in ENGINES for name in STAGES} <= {
        (row["stage"], row["engine"], row["workers"]) for row in rows
    } | {("StatisticsGen", *engine) for engine in ENGINES if "killed" in engine[0]}:
        shutil.rmtree(FOLDER)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        stage(sys.argv[2], str(FOLDER / "data"), pathlib.Path(sys.argv[3]), json.loads(sys.argv[4]))
    else:
        main(*sys.argv[1:])
