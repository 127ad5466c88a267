"""Costly things, made once a session."""

import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import signal
import sys
import tempfile

import numpy as np
import pytest

from tests import warm_python

PROJECT = pathlib.Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared"
COLD = sys.executable


def pytest_configure(config):
    """One warm Python for all workers; it imports nothing before it is asked."""
    if sys.version_info >= (3, 12):
        # The packages of that generation of the lock have other deprecations, which nobody has listed yet.
        for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
            config.addinivalue_line(
                "filterwarnings", f"ignore::{kind}:(?!panet_keras|pipeline|serving|tests|benchmarks)"
            )
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="warm")
        server, os.environ["WARM_PYTHON"] = warm_python.start(folder.name)
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(server.communicate)


def pytest_collection_modifyitems(items):
    """Files with the most slow tests go first, so that no worker is left with one when the others are done."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    size = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -size[item.path]))


@pytest.fixture(scope="session")
def bus_uclm():
    """The real data set."""
    path = SHARED / "data" / "BUS-UCLM"
    if not path.is_dir():
        pytest.skip(f"{path} is absent: BUS-UCLM may not be committed (non-commercial use)")
    return path


@pytest.fixture(scope="session")
def reference():
    """Inputs and outputs of the original PANet code."""
    path = SHARED / "reference"
    if not path.is_dir():
        pytest.skip(f"{path} is absent: it holds the original code's outputs")
    return path


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """A small synthetic data set: 4 patients, 3 images each, 96 x 128."""
    from panet_keras.data import write_phantom

    return write_phantom(
        tmp_path_factory.mktemp("data") / "phantom", patients=4, images=3, seed=1, size=(96, 128)
    )


@pytest.fixture(scope="session")
def records(phantom):
    """Records of the phantom; its second patient has masks of another size, which warns when decoded."""
    from panet_keras.data import load_bus_uclm

    return [record for record in load_bus_uclm(phantom) if record.patient != "PHAB"]


@pytest.fixture(scope="session")
def tiny_encoder():
    """Functional encoder of strides 2 to 16 with a few channels: fast, and foreign to the library."""

    def build(seed=0):
        import keras

        keras.utils.set_random_seed(seed)
        x = images = keras.Input((None, None, 3))
        outputs = []
        for stage, channels in enumerate((8, 8, 16, 16)):
            x = keras.layers.Conv2D(
                channels, 3, strides=2, padding="same", activation="relu", name=f"stage{stage}"
            )(x)
            outputs.append(x)
        return keras.Model(images, outputs, name="tiny")

    return build


@pytest.fixture(scope="session")
def model(tiny_encoder):
    """An untrained model with the U-Net decoder."""
    from panet_keras import PANet

    return PANet(tiny_encoder(), decoder="unet")


@pytest.fixture(scope="session")
def saved_model(model, tmp_path_factory):
    """The model, exported."""
    from panet_keras import export_saved_model

    return export_saved_model(model, tmp_path_factory.mktemp("export") / "1", image_size=(64, 64))


@pytest.fixture
def episode():
    """Makes a random episode: `episode(ways, shots, queries, size)` gives inputs and labels."""

    def make(ways=1, shots=1, queries=1, size=(64, 64), batch=1, seed=0):
        rng = np.random.default_rng(seed)
        height, width = size
        masks = np.zeros((batch, ways, shots, height, width, 1), np.uint8)
        masks[..., height // 4 : height // 2, width // 4 : width // 2, :] = 1
        inputs = {
            "support_images": rng.random((batch, ways, shots, height, width, 3), np.float32),
            "support_masks": masks,
            "query_images": rng.random((batch, queries, height, width, 3), np.float32),
        }
        return inputs, rng.integers(0, ways + 1, (batch, queries, height, width, 1)).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def scanner(tmp_path_factory):
    """Support folder of a made-up scanner, 64 x 64: four dark squares on tissue (l0.png, l0_mask.png ...),
    and normals/n0.png, n1.png."""
    from PIL import Image

    rng, folder = np.random.default_rng(2), tmp_path_factory.mktemp("scanner")
    (folder / "normals").mkdir()
    for number in range(4):
        image, mask = rng.integers(90, 160, (64, 64), np.uint8), np.zeros((64, 64), np.uint8)
        if number < 2:
            Image.fromarray(image).save(folder / "normals" / f"n{number}.png")
        y, x = rng.integers(4, 40, 2)
        mask[y : y + 18, x : x + 18] = 255
        image[mask > 0] //= 4
        Image.fromarray(image).save(folder / f"l{number}.png")
        Image.fromarray(mask).save(folder / f"l{number}_mask.png")
    return folder


@pytest.fixture(autouse=True)
def signals_stay():
    """A server in this process takes SIGTERM and SIGINT, and tests take others; the next test has them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def quick_tuning(monkeypatch):
    """In place of training, which tests/panet_keras/test_segmenter.py does: a copy with slightly larger
    weights, judged as ever."""

    def run(self, inside, steps, run):
        self.tuned = [weight * 1.01 for weight in self.start]
        for _ in range(steps):
            self.note()

    monkeypatch.setattr("panet_keras.inference.adapt.Tuner.run", run)
    monkeypatch.setattr("panet_keras.inference.adapt.length", lambda lesions: 2)


@pytest.fixture(scope="session")
def python():
    """Runs a script in a process of its own: `python(code)` gives its output. TensorFlow is imported there
    already (tests/warm_python.py) unless `warm=False`."""
    import subprocess

    def run(code, *arguments, check=True, cwd=PROJECT, warm=True):
        done = subprocess.run(
            [os.environ["WARM_PYTHON"] if warm else COLD, "-c", code, *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if check and done.returncode:
            raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def spans():
    """Traces everything in this process; `spans()` gives what has ended so far, in that order."""
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: pip install .[tracing]")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from serving import tracing

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter.get_finished_spans
    tracing.use(None)


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory):
    """Folder with the key pairs ours and theirs: NAME.pem and NAME.pub, of the curve P-256."""
    pytest.importorskip(
        "model_signing.signing", reason="model signing is not installed: pip install model-signing pyopenssl"
    )
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{name}.pem").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder
