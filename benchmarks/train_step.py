"""How long is a training step, with and without oneDNN?

    python -m benchmarks.train_step                 about 3 minutes

oneDNN is chosen when TensorFlow is imported, so each side runs in processes of its own, alternating.
"""

import os
import subprocess
import sys

from benchmarks import record

ROUNDS, STEPS = 2, 12
CODE = """
import sys, time, tensorflow as tf
from panet_keras import PANet
model = PANet("efficientnet_lite0", decoder="unet", align_weight=0.1)
model.compile()
masks = tf.cast(tf.random.stateless_uniform((4, 1, 1, 256, 256, 1), [0, 1]) > 0.8, tf.uint8)
x = {"support_images": tf.random.stateless_uniform((4, 1, 1, 256, 256, 3), [0, 2]), "support_masks": masks,
     "query_images": tf.random.stateless_uniform((4, 1, 256, 256, 3), [0, 3])}
data = tf.data.Dataset.from_tensors((x, masks[:, 0])).repeat()
model.fit(data, steps_per_epoch=3, verbose=0)
start = time.perf_counter()
model.fit(data, steps_per_epoch=int(sys.argv[1]), verbose=0)
print((time.perf_counter() - start) / int(sys.argv[1]))
"""


def seconds(onednn):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": onednn}
    done = subprocess.run([sys.executable, "-c", CODE, str(STEPS)], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main():
    times = {"with oneDNN": [], "without": []}
    for _ in range(ROUNDS):
        times["with oneDNN"].append(seconds("1"))
        times["without"].append(seconds("0"))
    result = {
        "step": "4 episodes of 1 support and 1 query, 256 x 256, efficientnet_lite0, unet, alignment",
        "seconds_each_round": times,
        "seconds": {name: min(values) for name, values in times.items()},
    }
    record.write("train_step", "How long is a training step, with and without oneDNN?", result)


if __name__ == "__main__":
    main()
