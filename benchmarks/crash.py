"""Does a pipeline that is killed at any moment end as one that was left alone?

    python -m benchmarks.crash [KILLS]        about a minute for each kill

Runs the pipeline on a small phantom once undisturbed. Then, each time in a new root, starts it, kills it
(SIGKILL) after a random time, and starts it again. Compares what the artifacts hold: the content of Examples,
statistics, schema and anomalies, the model's weights bit for bit, and every score. (Files that note a time or
a place, such as the training curve, differ between any two runs.)
"""

import hashlib
import io
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

from benchmarks import record

SETTINGS = [
    "trainer.size=64",
    "trainer.steps=6",
    "trainer.steps_per_epoch=1",
    "trainer.batch_size=1",
    "data.test_share=0.5",
]
SETTINGS += [
    "evaluator.repeats=1",
    "evaluator.shots=[1]",
    "evaluator.min_dice=0.0",
    "evaluator.protocols=[moved-support]",
]


def start(data, root):
    settings = [x for s in (f"data.path={data}", f"run.root={root}", *SETTINGS) for x in ("--set", s)]
    command = [sys.executable, "-m", "pipeline", "run", *settings]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def contents(root):
    """Digest of what each output of the newest run holds, by component and output."""
    from pipeline.lineage.metadata import OUTPUT, Metadata
    from pipeline.orchestration.cache import digest_path

    metadata = Metadata(pathlib.Path(root) / "metadata.db")
    found = {}
    for execution in metadata.executions(metadata.runs()[-1]):
        for name, artifact in metadata.artifacts_of(execution.id, OUTPUT).items():
            if execution.type == "Trainer":
                found["Trainer.weights"] = weights(artifact.keras)
            elif execution.type == "Evaluator" and name == "evaluation":
                found["Evaluator.rows"] = digest_path(artifact.rows)
            elif execution.type not in ("InfraValidator", "Pusher"):
                found[f"{execution.type}.{name}"] = digest_path(artifact.path)
    return found


def weights(file):
    """Digest of all arrays of a .keras file."""
    import h5py

    digest = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + item[()].tobytes())

    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as stored:
        stored.visititems(add)
    return digest.hexdigest()


def main(kills="6"):
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
        expected, rows = contents(folder / "whole"), []
        for number in range(int(kills)):
            root = folder / str(number)
            process = start(data, root)
            time.sleep((number + rng.random()) / int(kills) * whole)
            os.killpg(process.pid, signal.SIGKILL)
            lines = [line for line in process.communicate()[0].splitlines() if line.startswith("[")]
            again = start(data, root)
            output, _ = again.communicate()
            found = contents(root) if again.returncode == 0 else {}
            rows.append(
                {
                    "killed in": lines[-1] if lines else "before the first stage",
                    "exit code of the second start": again.returncode,
                    "different": sorted(name for name in expected if expected[name] != found.get(name)),
                    "leftover folders": len(list(root.rglob(".building-*")))
                    + len(list(root.rglob(".pushing-*"))),
                }
            )
            print(rows[-1], flush=True)
        result = {"undisturbed, s": whole, "compared": sorted(expected), "kills": rows}
    record.write(
        "crash", "Does a pipeline that is killed at any moment end as one that was left alone?", result
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
