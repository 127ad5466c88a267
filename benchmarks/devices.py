"""What does each way of running the preset bring: milliseconds, bytes, Dice?

    python -m benchmarks.devices [DATA [PICTURES]]      about 5 minutes on a quiet machine with 100 pictures

One picture of 256 x 256 with a support of five, on one and on two threads: Keras layer by layer (eager), a
`tf.function`, the same compiled by XLA (`jit_compile=True`), and TensorFlow Lite files of every `--quantize`
(XNNPACK). The ways take turns, each figure is a median; processor time is beside the clock's, since it holds on
a busy machine, too. The limit is the operation count at the rate of a large matrix product, on the same threads.

Dice is of BUSI (DATA/BUSI; PICTURES lesions, drawn once, five other patients' as support) at model size, after
the presence threshold; without DATA the column stays empty. The preset was trained on BUSI: it says what a way
loses against the first, not how good the model is. int8's ranges are measured on the support and its mirror
images.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import record

REPEATS, SHOTS, SEED = 15, 5, 0


def pictures(data, count):
    """(support, queries), lists of (image uint8 [H, W, 3], mask bool [H, W]): lesions of BUSI of as many
    patients as can be, or of the phantom where `data` is None."""
    from panet_keras.data import load_bus_uclm, load_csv, write_phantom

    if data is None:
        folder = tempfile.mkdtemp()
        records = load_bus_uclm(write_phantom(folder, SHOTS + count, 1))
    else:
        records = load_csv(pathlib.Path(data) / "BUSI" / "table.csv")
    lesions = [record_ for record_ in records if record_.masks]
    order = np.random.default_rng(SEED).permutation(len(lesions))
    samples, patients = [], set()
    for index in order:
        if lesions[index].patient in patients or len(samples) == SHOTS + count:
            continue
        sample = lesions[index].decode()
        if sample.mask.any():
            patients.add(lesions[index].patient)
            samples.append((sample.image, sample.mask > 0))
    return samples[:SHOTS], samples[SHOTS:]


def opened(support):
    """The preset with its support."""
    from panet_keras import FewShotSegmenter

    return FewShotSegmenter().set_support(*zip(*support))


def ways(segmenter, folder, threads):
    """Functions of query_images [1, 1, H, W, 3] to (masks) by name, and bytes of the files among them."""
    import tensorflow as tf

    from panet_keras.export.answer import answer
    from panet_keras.export.tflite import QUANTIZE, export_tflite, open_tflite

    def direct(images):
        return answer(segmenter.model.segment(segmenter.state, images), segmenter.presence_threshold)["masks"]

    traced = tf.function(direct, autograph=False)
    compiled = tf.function(direct, autograph=False, jit_compile=True)
    found = {
        "Keras, eager": lambda images: direct(tf.constant(images)).numpy(),
        "tf.function": lambda images: traced(tf.constant(images)).numpy(),
        "XLA, jit_compile": lambda images: compiled(tf.constant(images)).numpy(),
    }
    sizes = {}
    frames = segmenter.support_images
    frames = [*frames, *frames[:, :, ::-1]]
    for quantize in QUANTIZE:
        name = f"TensorFlow Lite, {'float32' if quantize == 'none' else quantize}"
        file = pathlib.Path(folder) / f"{quantize}.tflite"
        if not file.exists():
            export_tflite(
                segmenter.model,
                segmenter.state,
                file,
                segmenter.size,
                segmenter.presence_threshold,
                quantize,
                frames,
            )
        sizes[name] = file.stat().st_size
        run = open_tflite(file, threads)
        found[name] = lambda images, run=run: run(query_images=images)["masks"]
    return found, sizes


def measure(data, count, folder, threads):
    """Rows of one number of threads, in a process of its own; Dice where `count` is above 0."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from benchmarks.speed import operations, seconds
    from panet_keras.evaluation.scores import dice

    support, queries = pictures(data, max(1, count))
    segmenter = opened(support)
    pairs = [segmenter.prepare_pair(image, mask, 0, place) for place, (image, mask) in enumerate(queries)]
    found, sizes = ways(segmenter, folder, threads)
    image = pairs[0][0][None, None]
    spans, failed = {name: [] for name in found}, {}
    for round_ in range(REPEATS + 1):
        for name, run in found.items():
            if name in failed:
                continue
            clock, processor = time.perf_counter(), time.process_time()
            try:
                run(image)
            except Exception as error:  # a way that cannot run this model is an answer, too
                failed[name] = str(error).strip().splitlines()[0][:200]
                continue
            if round_:
                spans[name].append((time.perf_counter() - clock, time.process_time() - processor))
    matrix = tf.random.stateless_uniform((2048, 2048), [0, 1])
    product = 2 * 2048**3 / seconds(lambda: (matrix @ matrix).numpy(), 9)
    count_ = operations(lambda x: segmenter.model.segment(segmenter.state, x), tf.constant(image))
    rows = {}
    for name, run in found.items():
        rows[name] = {"bytes": sizes.get(name)}
        if name in failed:
            rows[name]["failed"] = failed[name]
            continue
        clock, processor = (statistics.median(column) for column in zip(*spans[name]))
        rows[name] |= {
            "clock, ms": 1000 * clock,
            "processor, ms": 1000 * processor,
            "times the limit": clock * product / count_,
        }
        if count and name != "Keras, eager":
            rows[name]["dice"] = float(
                np.mean([dice(mask > 0, run(x[None, None])[0, 0] > 0) for x, mask in pairs])
            )
    return {"matrix product, GFLOP/s": product / 1e9, "GFLOP": count_ / 1e9, "rows": rows}


def main(data=None, count=100):
    sides = {}
    with tempfile.TemporaryDirectory() as folder:
        for threads in (1, 2):
            # Dice does not depend on the threads.
            scored = int(count) if data and threads == 1 else 0
            command = [sys.executable, "-m", "benchmarks.devices", "--measure", data or "", str(scored)]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
            done = subprocess.run(
                [*command, folder, str(threads)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            sides[threads] = json.loads(done.stdout.splitlines()[-1])
    table = {
        name: {
            "bytes": row["bytes"],
            "dice": row.get("dice"),
            "failed": row.get("failed"),
            "by threads": {threads: sides[threads]["rows"][name] for threads in sides},
        }
        for name, row in sides[1]["rows"].items()
    }
    limits = {
        threads: {key: side[key] for key in ("matrix product, GFLOP/s", "GFLOP")}
        for threads, side in sides.items()
    }
    skipped = None if data else "no DATA was given, so there is no Dice"
    record.write(
        "devices",
        "What does each way of running the preset bring: milliseconds, bytes, Dice?",
        {
            "preset": "bus_multi_lite0",
            "shots": SHOTS,
            "pictures": int(count) if data else 0,
            "skipped": skipped,
            "load after": os.getloadavg()[0],
            "limits": limits,
            "table": table,
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        given, number, place, cores = sys.argv[2:]
        print(json.dumps(measure(given or None, int(number), place, int(cores))))
    else:
        main(*sys.argv[1:])
