"""What each stage costs at 100, 1,000 and 10,000 images.

    python -m benchmarks.scale [IMAGES ...]        about 20 minutes for 10,000 images

A synthetic data set of each size (20 frames a patient, 96 x 128) goes through the pipeline in a process of
its own. The Trainer takes the same 10 steps at every size; the Evaluator scores one support for each test
image. Time is the runner's own; memory is the resident memory of the process and its children, read 10 times
a second. Then the same command again, all of it from the cache. Growth is the slope of the time over the
images between the two largest sizes, both logarithms: 1 is linear. BulkInferrer is `python -m pipeline infer`
with the shipped preset, at 256 x 256, over all the images.
"""

import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

from benchmarks import record

SETTINGS = [
    "trainer.size=64",
    "trainer.steps=10",
    "trainer.steps_per_epoch=10",
    "trainer.batch_size=1",
    "data.test_share=0.5",
]
SETTINGS += ["evaluator.repeats=1", "evaluator.shots=[1]", "evaluator.min_dice=0.0", "evaluator.protocols=[]"]
FRAMES = 20
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(process_id):
    """Bytes in memory of a process and its descendants."""
    try:
        total = int(pathlib.Path(f"/proc/{process_id}/statm").read_text().split()[1]) * PAGE
        children = pathlib.Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return total + sum(map(resident, children))


def size_of(folder):
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def bulk(data, out):
    """Seconds, peak memory and bytes of `pipeline infer` over a data set's images."""
    from panet_keras.data import load_bus_uclm

    support = next(record for record in load_bus_uclm(data) if record.label != "Normal")
    command = [sys.executable, "-m", "pipeline", "infer", "--support", f"{support.image}={support.masks[0]}"]
    began, peak = time.monotonic(), 0
    with subprocess.Popen(
        [*command, "--query", data / "images", "--out", out], stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {"seconds": time.monotonic() - began, "peak_memory": peak, "bytes": size_of(out)}


def measure(images, folder):
    """Seconds, peak memory and bytes written of each stage."""
    from panet_keras.data import write_phantom

    data = write_phantom(
        folder / "data", patients=max(2, images // FRAMES), images=FRAMES, seed=0, size=(96, 128)
    )
    settings = [
        x for s in (f"data.path={data}", f"run.root={folder / 'run'}", *SETTINGS) for x in ("--set", s)
    ]
    command = [sys.executable, "-m", "pipeline", "run", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stage, peaks, told = "start", {}, []

    def watch():
        while process.poll() is None:
            peaks[stage] = max(peaks.get(stage, 0), resident(process.pid))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = {}
    for line in process.stdout:
        told.append(line)
        if found := re.match(r"\[\d/8\] (\w+) \.\.\.", line):
            stage = found[1]
            peaks[stage] = resident(process.pid)  # a stage may be over before the watcher looks
        elif found := re.match(r"\[\d/8\] (\w+): ([\d.]+) s\.", line):
            seconds[found[1]] = float(found[2])
    watcher.join()
    if process.returncode:
        raise RuntimeError("".join(told))
    sizes = {name: size_of(folder / "run" / "artifacts" / name) for name in seconds}
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    cached = time.monotonic() - began
    stages = {
        name: {"seconds": seconds[name], "peak_memory": peaks[name], "bytes": sizes[name]} for name in seconds
    }
    stages["BulkInferrer"] = bulk(data, folder / "masks")
    return stages | {"whole run from the cache": {"seconds": cached, "peak_memory": 0, "bytes": 0}}


def growth(first, second, factor):
    return math.log(max(second, 1e-3) / max(first, 1e-3)) / math.log(factor)


def draw(found, file):
    """Two panels, time and memory over images, a line for each stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    sizes = sorted(found)
    for name in found[sizes[0]]:
        axes[0].plot(sizes, [max(found[n][name]["seconds"], 0.05) for n in sizes], marker="o", label=name)
        if found[sizes[0]][name]["peak_memory"]:
            axes[1].plot(sizes, [found[n][name]["peak_memory"] / 1e9 for n in sizes], marker="o")
    axes[0].set(xscale="log", yscale="log", xlabel="images", ylabel="seconds")
    axes[1].set(xscale="log", ylim=(0, None), xlabel="images", ylabel="peak resident memory, GB")
    figure.legend(loc="outside right center")
    figure.savefig(file, dpi=100)


def main(*sizes):
    sizes = sorted(map(int, sizes or (100, 1_000, 10_000)))
    found = {}
    for images in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[images] = measure(images, pathlib.Path(folder))
        print(images, found[images], flush=True)
    table = {}
    for name in found[sizes[0]]:
        table[name] = {str(images): found[images][name] for images in sizes}
        if len(sizes) > 1:
            small, large = sizes[-2:]
            factor = large / small
            table[name]["growth of time"] = growth(
                found[small][name]["seconds"], found[large][name]["seconds"], factor
            )
            if found[small][name]["peak_memory"]:
                table[name]["growth of memory"] = growth(
                    found[small][name]["peak_memory"], found[large][name]["peak_memory"], factor
                )
    record.write("scale", "What does each stage cost at 100, 1,000 and 10,000 images?", {"stages": table})
    draw(found, record.RESULTS / "scale.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
