"""Does a pipeline that is killed at any moment end as one that was left alone?

    python -m benchmarks.crash [KILLS]        about 10 minutes for 8 kills

Runs the pipeline on a small phantom once undisturbed. Then, in a new root, starts it and kills it (SIGKILL) after a random time, again and
again, and lets the last start run to its end. Compares the content of every artifact, and looks for leftovers.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks import record

SETTINGS = ["trainer.size=64", "trainer.steps=6", "trainer.steps_per_epoch=1", "trainer.batch_size=1", "data.test_share=0.5"]
SETTINGS += ["evaluator.repeats=1", "evaluator.shots=[1]", "evaluator.min_dice=0.0", "evaluator.protocols=[moved-support]"]
VARYING = {"InfraValidator": "it notes how long the server took"}


def start(data, root):
    settings = [x for s in (f"data.path={data}", f"run.root={root}", *SETTINGS) for x in ("--set", s)]
    command = [sys.executable, "-m", "pipeline", "run", *settings]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def contents(root):
    """Digest of each component's newest outputs, by component and output."""
    from pipeline.cache import digest_path
    from pipeline.metadata import OUTPUT, Metadata

    metadata = Metadata(pathlib.Path(root) / "metadata.db")
    found = {}
    for execution in metadata.executions(metadata.runs()[-1]):
        for name, artifact in metadata.artifacts_of(execution.id, OUTPUT).items():
            found[f"{execution.type}.{name}"] = digest_path(artifact.path)
    return found


def main(kills="8"):
    from panet_keras.data import write_phantom

    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        data = write_phantom(folder / "data", patients=4, images=3, seed=1, size=(96, 128))
        began = time.monotonic()
        undisturbed = start(data, folder / "whole")
        output, _ = undisturbed.communicate()
        whole = time.monotonic() - began
        assert undisturbed.returncode == 0, output
        stages = []
        for _ in range(int(kills)):
            process = start(data, folder / "killed")
            time.sleep(rng.uniform(0.1, 1.0) * whole)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            lines = process.communicate()[0].splitlines()
            stages.append(next((line for line in reversed(lines) if line.startswith("[")), "before the first stage"))
        last = start(data, folder / "killed")
        output, _ = last.communicate()
        first, second = contents(folder / "whole"), contents(folder / "killed")
        different = sorted(name for name in first if first[name] != second.get(name))
        leftovers = [str(p.relative_to(folder)) for p in (folder / "killed").rglob(".building-*")]
        result = {
            "undisturbed, s": whole,
            "killed": len(stages),
            "last line before each kill": stages,
            "exit code of the last start": last.returncode,
            "artifacts": len(first),
            "different": different,
            "different, expected": {name: why for name, why in VARYING.items() if any(d.startswith(name) for d in different)},
            "leftover folders of killed executions": len(leftovers),
        }
    record.write("crash", "Does a pipeline that is killed at any moment end as one that was left alone?", result)
    assert last.returncode == 0, output


if __name__ == "__main__":
    main(*sys.argv[1:])
