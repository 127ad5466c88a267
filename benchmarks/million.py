"""What would ten million pictures cost, and what breaks first?

    python -m benchmarks.million [SMALL] [LARGE]        20,000 and 80,000 without; about 5 quiet minutes

Each step that one process does for all pictures runs at two sizes, each time in a process of its own: seconds,
resident memory that it added, bytes that it wrote. A unit cost is the difference between the sizes over the
difference in pictures, so that imports do not count; growth is the slope of the time, both logarithms: 1 is linear.
Ten million is the larger measurement and the unit cost from there: an extrapolation, which a growth over 1 makes
too low. What workers share (decoding, counting, masks) is measured by `benchmarks.workers`, and stages on 10,000
pictures by `benchmarks.scale`. Pictures are names here (hard links of one small file) where a step does not look
into them.
"""

import json
import math
import multiprocessing
import os
import pathlib
import pickle
import queue
import resource
import sys
import tempfile
import time

from benchmarks import record

GOAL = 10_000_000
FRAMES = 20
"""Pictures of a patient."""


def records(count):
    from panet_keras.data import Record

    labels = ("Normal", "Benign", "Malignant")
    return [
        Record(f"P{n // FRAMES:07d}_{n % FRAMES:03d}.png", f"P{n // FRAMES:07d}", labels[n // FRAMES % 3], f"/data/images/P{n // FRAMES:07d}_{n % FRAMES:03d}.png", (f"/data/masks/P{n // FRAMES:07d}_{n % FRAMES:03d}.png",))
        for n in range(count)
    ]  # fmt: skip


def split(count, folder):
    """ExampleGen: the records of an index, the drawn split (digests given), and the shards' tasks as handed out."""
    from panet_keras.data import hold_out
    from pipeline.components import shards
    from pipeline.orchestration import pieces

    yield
    made = records(count)
    # One patient in a hundred shares a picture with the one before.
    content = [f"{n if n % (100 * FRAMES) else max(0, n - FRAMES):064x}" for n in range(count)]
    sides = hold_out(made, 0.5, 0, content)
    pieces.lay_out(shards.tasks(sides, lambda name: f"/out/Split-{name}"), folder)


def findings(count, folder):
    """ExampleGen: findings.json, with the names of all files and patients."""
    from panet_keras.data import patients

    yield
    made = records(count)
    told = {"files": {"train": [one.filename for one in made]}, "patients": {"train": patients(made)}}
    (folder / "findings.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")


def statistics(count, folder):
    """StatisticsGen: merging the shards' accumulators, 128 Examples each."""
    from pipeline.components import partial_statistics
    from pipeline.components.shards import SHARD
    from pipeline.validation.tfdv import import_tfdv

    import_tfdv()
    import pyarrow as pa
    from tensorflow_data_validation.statistics import stats_impl

    def texts(values):
        return pa.array([[value.encode()] for value in values], pa.large_list(pa.large_binary()))

    def batch(number):
        names = [f"P{number:07d}_{n:03d}.png" for n in range(SHARD)]
        columns = {
            "image/filename": texts(names),
            "image/digest": texts(f"{hash(name):064x}" for name in names),
        }
        columns["patient/id"] = texts(f"P{number:07d}{n // FRAMES}" for n in range(SHARD))
        columns["label"] = texts(("Normal", "Benign")[n % 2] for n in range(SHARD))
        for feature in range(9):
            numbers = [[float((number * 31 + n * (feature + 7)) % 1000)] for n in range(SHARD)]
            columns[f"number{feature}"] = pa.array(numbers, pa.large_list(pa.float32()))
        return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    options, made = partial_statistics._options(), partial_statistics.generators()
    work = partial_statistics.shards_of(map(str, range(count // SHARD)), (), folder)
    for number, one in enumerate(work):
        counted = stats_impl.generate_partial_statistics_in_memory(batch(number), options, made)
        compact = [generator.compact(part) for generator, part in zip(made, counted)]
        pathlib.Path(one.target).write_bytes(pickle.dumps(compact))
    yield
    partial_statistics.merge(work)


def validator(count, folder):
    """ExampleValidator and lineage: the rows of the index, and the checks of the whole set."""
    from pipeline.components.shards import SHARD
    from pipeline.validation.image_checks import Row, check_rows, read_rows, write_rows

    made = records(count)
    classes = {"Normal": 0, "Benign": 1, "Malignant": 2}
    for number in range(0, count, SHARD):
        rows = [
            Row("train", one.filename, one.patient, one.label, classes[one.label], f"{number + n:064x}", False, False, False)
            for n, one in enumerate(made[number : number + SHARD])
        ]  # fmt: skip
        write_rows(rows, folder / "Split-train", number // SHARD)
    del made
    yield
    check_rows(read_rows(folder / "Split-train", "train"))


def plan(count, folder):
    """infer: the pictures of a folder tree, and the places of their outputs."""
    from PIL import Image

    from panet_keras.commands.outputs import ENDINGS, plan_outputs
    from panet_keras.commands.queries import find_queries

    for n in range(count):
        place = folder / "in" / f"{n // 1000:05d}"
        if not n % 1000:
            place.mkdir(parents=True)
            Image.new("L", (8, 8)).save(place / f"P{n:08d}.png")
            first = place / f"P{n:08d}.png"
        else:
            os.link(first, place / f"P{n:08d}.png")
    yield
    queries, _ = find_queries([folder / "in"], True, folder / "out")
    plan_outputs(queries, folder / "out", ENDINGS)


def tables(count, folder):
    """infer: rows, predictions.csv and answers.jsonl."""
    from panet_keras.commands.table import write_table
    from pipeline.bulk_inferrer import _told, write_answers
    from pipeline.row_file import RowFile

    source = {
        "asked": {},
        "model": "m",
        "model_digest": "0" * 64,
        "signature": "infer",
        "state": "0" * 32,
        "supports": ["0" * 32],
    }
    rows = (
        {"file": f"{n // 1000:05d}/P{n:08d}.png", "presence": 0.123456, "area": 0.0123456, "error": "", "picture": "0" * 32, "answer": "0" * 36}
        for n in range(count)
    )  # fmt: skip
    yield
    kept = RowFile(folder / "rows.jsonl", rows)
    write_table(folder / "predictions.csv", map(_told, kept))
    write_answers(folder / "answers.jsonl", kept, source)


def lineage(count, folder):
    """Metadata store: runs of eight stages, taken from the cache (a run for each five hundred pictures of `count`)."""
    from pipeline.lineage.metadata import Metadata
    from pipeline.orchestration.artifacts import Examples

    metadata = Metadata(folder / "metadata.db")
    for number in range(count // 500):
        run = metadata.start_run(f"r{number}", code="0" * 40, data="d")
        for stage in range(8):
            made = {"out": Examples(folder / f"{number}-{stage}", None, "0" * 64)}
            facts = {"cache_key": f"{number}-{stage}", "parameters": "x" * 300, "packages": "x" * 200}
            metadata.put_execution(f"Stage{stage}", run, {}, made, "COMPLETE", **facts)
    yield
    for stage in range(8):
        metadata.find_cached(f"Stage{stage}", "0-0")


def hashing(count, folder):
    """Cache keys, artifacts and Croissant: SHA-256 of files of 0.3 MB (a pass; data has one, Examples have two)."""
    from pipeline.orchestration.cache import digest_path

    content, count = os.urandom(300_000), count // 20
    for n in range(count):
        (folder / f"{n:06d}.png").write_bytes(content)
    yield
    for _ in range(20):
        digest_path(folder)


STEPS = (split, findings, statistics, validator, plan, tables, hashing, lineage)


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def one(step, count, answer):
    """Runs a step in this process, and puts what it cost into a queue."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        work = step(count, folder)
        next(work)
        before, disk = resident(), _written(folder)
        began, cpu = time.monotonic(), time.process_time()
        for _ in work:
            pass
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        laid_out = step in (hashing, lineage, statistics, validator)  # before the clock
        written = disk if laid_out else _written(folder) - disk
    answer.put({"seconds": seconds, "cpu": cpu, "memory": max(0, peak - before), "bytes": written})


def forked(step, count):
    """What a step costs in a process of its own, which forks from this one and has its imports."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=one, args=(step, count, answer))
    child.start()
    while True:
        try:
            found = answer.get(timeout=1)
            break
        except queue.Empty:
            if not child.is_alive():
                raise RuntimeError(f"{step.__name__} of {count} ended with {child.exitcode}") from None
    child.join()
    return found


def _written(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and "in" not in file.parts)


def main(small="20000", large="80000"):
    import panet_keras.data  # noqa: F401  imports TensorFlow, once for all steps
    from pipeline.validation.tfdv import import_tfdv

    import_tfdv()
    sizes, steps = [int(small), int(large)], {}
    for step in STEPS:
        found = []
        for count in sizes:
            found.append(forked(step, count))
            print(step.__name__, count, found[-1], flush=True)
        more = sizes[1] - sizes[0]
        unit = {key: max(0.0, found[1][key] - found[0][key]) / more for key in found[0]}
        growth = math.log(max(found[1]["cpu"], 1e-3) / max(found[0]["cpu"], 1e-3)) / math.log(
            sizes[1] / sizes[0]
        )
        goal = {key: found[1][key] + unit[key] * (GOAL - sizes[1]) for key in unit}
        steps[step.__name__] = {
            "what": step.__doc__.rstrip("."),
            **dict(zip(map(str, sizes), found)),
            "of a picture": unit,
            "growth of time": growth,
            "ten million": goal,
        }
    record.write("million", "What would ten million pictures cost, and what breaks first?", {"steps": steps})


if __name__ == "__main__":
    main(*sys.argv[1:])
