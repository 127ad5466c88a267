"""How long does a training step of the paper's model take, against the same graph in PyTorch?

    python -m venv TORCH && TORCH/bin/pip install torch numpy
    python -m benchmarks.pytorch TORCH/bin/python        about 2 minutes on a quiet machine

VGG16, the paper's decoder, alignment on, SGD: one episode of 1 way, 1 shot and 1 query at 256 x 256. Both
sides begin with the same weights and see the same episode, and their first losses must agree. Then they take
turns, two steps each.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import record

SIZE, ROUNDS, STEPS = 256, 10, 2
TOLERANCE = 1e-3


def write_episode(file):
    """A bright disc on noise, in support and query."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    arrays = {}
    for images, masks, centre in (("support_images", "support_masks", 100), ("query_images", "labels", 150)):
        mask = (np.hypot(y - centre, x - centre) < 40)[..., None]
        arrays[images] = (0.5 * rng.random((SIZE, SIZE, 3)) + 0.5 * mask).astype(np.float32)
        arrays[masks] = mask.astype(np.uint8)
    lead = {"support_images": (1, 1, 1), "support_masks": (1, 1, 1), "query_images": (1, 1), "labels": (1, 1)}
    np.savez(file, **{name: value.reshape(*lead[name], *value.shape) for name, value in arrays.items()})


def ours(weights, episode):
    """The side of this project: writes its weights, then answers numbers of steps with seconds."""
    import keras

    from panet_keras import PANet

    keras.utils.set_random_seed(0)
    model = PANet("vgg16", weights=None)
    model.compile()
    convolutions = [layer for layer in model.encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    arrays = {}
    for number, layer in enumerate(convolutions):
        arrays[f"kernel{number}"], arrays[f"bias{number}"] = layer.get_weights()
    np.savez(weights, **arrays)
    inputs = dict(np.load(episode))
    labels = inputs.pop("labels")
    print(model.train_on_batch(inputs, labels)[0], flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            model.train_on_batch(inputs, labels)
        print((time.perf_counter() - start) / int(line), flush=True)


def main(python):
    with tempfile.TemporaryDirectory() as folder:
        weights, episode = f"{folder}/weights.npz", f"{folder}/episode.npz"
        write_episode(episode)
        sides, losses, times = {}, {}, {"ours": [], "PyTorch": []}
        commands = {
            "ours": [sys.executable, "-m", "benchmarks.pytorch", "ours", weights, episode],
            "PyTorch": [python, str(pathlib.Path(__file__).with_name("pytorch_panet.py")), weights, episode],
        }
        for name, command in commands.items():
            sides[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            losses[name] = float(sides[name].stdout.readline())
        if abs(losses["ours"] - losses["PyTorch"]) > TOLERANCE * losses["PyTorch"]:
            raise SystemExit(f"the two graphs differ: first losses {losses}")
        for round_ in range(ROUNDS + 1):
            for name, side in sides.items():
                side.stdin.write(f"{STEPS}\n")
                side.stdin.flush()
                taken = float(side.stdout.readline())
                if round_:
                    times[name].append(taken)
        for side in sides.values():
            side.stdin.close()
            side.wait()
    version = subprocess.run(
        [python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True
    ).stdout.strip()
    result = {"torch": version, "rounds": ROUNDS, "first losses": losses}
    result["seconds for each step"] = {name: statistics.median(values) for name, values in times.items()}
    result["ours / PyTorch"] = statistics.median(a / b for a, b in zip(times["ours"], times["PyTorch"]))
    result["ours / PyTorch, smallest and largest of a round"] = [
        f(a / b for a, b in zip(times["ours"], times["PyTorch"])) for f in (min, max)
    ]
    record.write(
        "pytorch", "How long does a training step of the paper's model take, against PyTorch?", result
    )


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        ours(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
