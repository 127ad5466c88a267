"""How long until the first mask, when nothing is loaded yet?

    python -m benchmarks.cold_start [ROUNDS]         about 4 minutes for 7 rounds on a quiet machine

Three processes take turns: `python -m panet_keras segment` for one picture with one annotated (phantom,
shipped preset), `python -c "import tensorflow"`, and the same import as the commands do it
(`panet_keras.commands.start`). Seconds by the clock and of the processor, medians; the processor's seconds
hold on a busy machine, too.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import record

LEAN = "from panet_keras.commands.start import prepare_tensorflow, import_tensorflow; prepare_tensorflow(); import_tensorflow()"
# Python does as at a command's start: `import panet_keras` alone would import all of it.
COMMAND = f"import sys; sys.orig_argv, sys.argv = ['python', '-m', 'panet_keras'], ['-m']; {LEAN}"


def spent(command):
    """Seconds of a process: (by the clock, of the processor)."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds=7):
    from panet_keras.data import write_phantom

    with tempfile.TemporaryDirectory() as folder:
        write_phantom(folder, 2, 1)
        images, masks = (
            sorted(os.path.join(folder, kind, name) for name in os.listdir(os.path.join(folder, kind)))
            for kind in ("images", "masks")
        )
        segment = ["-m", "panet_keras", "segment", "--support", f"{images[0]}={masks[0]}"]
        segment += ["--query", images[1], "--overwrite", "--out", os.path.join(folder, "out")]
        sides = {
            "first mask of `segment`": segment,
            "`import tensorflow`": ["-c", "import tensorflow"],
            "the same, as commands do it": ["-c", COMMAND],
        }
        spans = {name: [] for name in sides}
        for round_ in range(rounds + 1):
            for name, arguments in sides.items():
                seconds = spent([sys.executable, *arguments])
                if round_:
                    spans[name].append(seconds)
    base = spans["`import tensorflow`"]
    table = {
        name: {
            "clock, s": statistics.median(clock for clock, _ in found),
            "processor, s": statistics.median(cpu for _, cpu in found),
            "clock, of the import": statistics.median(a[0] / b[0] for a, b in zip(found, base)),
            "processor, of the import": statistics.median(a[1] / b[1] for a, b in zip(found, base)),
        }
        for name, found in spans.items()
    }
    record.write(
        "cold_start",
        "How long until the first mask, when nothing is loaded yet?",
        {"rounds": rounds, "load after": os.getloadavg()[0], "table": table},
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
