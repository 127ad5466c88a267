"""InfraValidator: can our server load the model, and does it answer as the model does?"""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import Examples, InfraBlessing, Model

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


@component
def InfraValidator(
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    size: Parameter[tuple],
    timeout: Parameter[float],
    tolerance: Parameter[float],
    blessing: OutputArtifact[InfraBlessing],
):
    """Starts `python -m serving` on a copy of the SavedModel, asks over gRPC, and compares with the model in
    this process.

    A server that does not come up or answers otherwise withholds the blessing; the run goes on to say so. No
    answer may be the fault of a busy machine: it is not taken from the cache, the next run asks again.
    """
    try:
        difference = _ask(examples, model, size, timeout)
    except Exception as error:  # whatever kept the server from answering is the finding
        slow = isinstance(error, TimeoutError) or "DEADLINE_EXCEEDED" in str(error)
        way = f" Give it longer with --set infra_validator.timeout={2 * timeout:g}." if slow else ""
        what, _, said = str(error).partition("\n")
        blessing.write(
            False, [f"the server gave no answer: {type(error).__name__}: {what}{way}", *said.splitlines()]
        )
        return {"summary": f"NOT blessed: {what}{way} The next run asks again.", "keep": False}
    blessed = difference <= tolerance
    reason = f"largest difference of a probability {difference:.2g}, tolerance {tolerance:.2g}"
    blessing.write(blessed, [reason])
    return {"summary": f"{'blessed' if blessed else 'NOT blessed'}: {reason}"}


def _ask(examples, model, size, timeout):
    """Largest absolute difference between served and local probabilities."""
    import numpy as np
    import tensorflow as tf

    from panet_keras.data import read_examples
    from panet_keras.evaluation import TestImages, episode_list
    from serving.client import Client

    # Only as many records as an episode needs are decoded.
    records = [record for record in read_examples(examples.split("test")) if record.label != "Normal"]
    test = TestImages(records, tuple(size))
    episode = episode_list(test.patients, test.lesion, 1, 1)[0]
    images, masks = test.support(episode.supports)
    inputs = {"support_images": images, "support_masks": masks, "query_images": test.query(episode.query)}
    local = tf.saved_model.load(str(model.serving)).signatures["serving_default"](
        **{k: tf.constant(v) for k, v in inputs.items()}
    )
    with (
        serving_process(model.serving, timeout) as port,
        Client(f"127.0.0.1:{port}", "panet", tuple(size), timeout) as client,
    ):
        served = client.call("serving_default", inputs)
        client.set_support([images[0, 0, 0]], [masks[0, 0, 0]])
        answer = client.predict(records[episode.query].image)
    if answer.mask.shape != test.truths[episode.query].shape:
        raise ValueError(
            f"segment_encoded answered {answer.mask.shape} for an image of {test.truths[episode.query].shape}"
        )
    return float(np.abs(served["probabilities"] - local["probabilities"].numpy()).max())


@contextlib.contextmanager
def serving_process(saved_model, timeout):
    """Runs our server on a copy of a SavedModel as version 1; yields its port."""
    with tempfile.TemporaryDirectory(prefix="infra-") as folder:
        shutil.copytree(saved_model, pathlib.Path(folder) / "1")
        command = [
            sys.executable,
            "-m",
            "serving",
            "--port",
            "0",
            "--model_name",
            "panet",
            "--model_base_path",
            folder,
        ]
        process = subprocess.Popen(
            [*command, "--file_system_poll_wait_seconds", "0"],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield _port(process, timeout)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process, timeout):
    """Port from the line that says the server runs; its other lines go into the error."""
    lines, found = [], []

    def read():
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("Running gRPC ModelServer at "):
                found.append(int(line.split()[4].rpartition(":")[2]))

    threading.Thread(target=read, daemon=True).start()
    end = time.monotonic() + timeout
    while time.monotonic() < end and not found and process.poll() is None:
        time.sleep(0.05)
    if not found:
        said = "\n".join(["", *lines[-10:]])
        if process.poll() is None:
            raise TimeoutError(
                f"the server did not start within infra_validator.timeout, {timeout:g} s.{said}"
            )
        raise RuntimeError(f"the server ended with exit code {process.poll()} before it answered.{said}")
    return found[0]
