"""Does the input deliver episodes at least 5 times as fast as the model consumes them?

    python -m benchmarks.input_pipeline [DATA]      (the phantom without DATA); about 2 minutes

Both sides in one process, alternating: the input alone, then training steps on one episode that stays in
memory.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import sys
import tempfile
import time
import warnings

import numpy as np

from benchmarks import record

ROUNDS, STEPS = 3, 10


def main(data=None):
    import tensorflow as tf

    from panet_keras import PANet
    from panet_keras.data import episodes, load_bus_uclm, write_phantom
    from panet_keras.training import BUS_UCLM

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        records = load_bus_uclm(data or write_phantom(f"{folder}/phantom"))
        dataset = episodes(records, BUS_UCLM.episodes, batch_size=BUS_UCLM.batch_size)
    model = PANet("efficientnet_lite0", decoder="unet")
    model.compile()
    iterator = iter(dataset)
    fixed = tf.data.Dataset.from_tensors(next(iterator)).repeat().with_options(dataset.options())
    model.fit(fixed, steps_per_epoch=2, verbose=0)
    times = {"input": [], "train_step": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(4 * STEPS):
            next(iterator)
        times["input"].append((time.perf_counter() - start) / (4 * STEPS))
        start = time.perf_counter()
        model.fit(fixed, steps_per_epoch=STEPS, verbose=0)
        times["train_step"].append((time.perf_counter() - start) / STEPS)
    median = {name: float(np.median(values)) for name, values in times.items()}
    result = {
        "data": "BUS-UCLM" if data else "phantom",
        "images": len(records),
        "batch": {"batch_size": BUS_UCLM.batch_size, **BUS_UCLM.as_dict()["episodes"]},
        "seconds_each_round": times,
        "seconds": median,
        "train_over_input": median["train_step"] / median["input"],
    }
    record.write(
        "input_pipeline",
        "Does the input deliver episodes at least 5 times as fast as the model consumes them?",
        result,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
