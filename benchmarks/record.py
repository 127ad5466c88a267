"""What every benchmark writes beside its numbers, and how."""

import json
import os
import pathlib
import platform
import re
import subprocess
import time

from panet_keras.files import write_whole

RESULTS = pathlib.Path(__file__).parent / "results"


def machine():
    """Processor, cores and versions of this machine."""
    import keras
    import tensorflow as tf

    model = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set"),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def write(name, question, result, shown=True):
    """Writes results/NAME.json whole, and prints it unless told not to."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"question": question, "machine": machine(), **result}, indent=1)
    # A list of plain values takes one line, not one for each value.
    text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    write_whole(RESULTS / f"{name}.json", text + "\n")
    if shown:
        print(text)
