"""How fast are training and inference, against what the machine's matrix multiplication allows?

    python -m benchmarks.speed              about 5 minutes on a quiet machine

For each encoder at 256 x 256: seconds of a training step (episodes of 1 support and 1 query), of
`encode_support` and of `segment`; the floating-point operations of each by TensorFlow's own count; and the
time they would take at the rate of a large matrix product, which is the limit. A training step is counted as
three forward passes (forward, gradient of the inputs, gradient of the weights).
"""

import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks import record

ENCODERS = {"efficientnet_lite0": 4, "resnet50": 1, "vgg16": 1}
"""Episodes of a training step."""
REPEATS = 5


def seconds(call, repeats=REPEATS):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def operations(function, *arguments):
    """Floating-point operations of a tf.function for these arguments, a multiplication and an addition being
    two."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    concrete = tf.function(function).get_concrete_function(*arguments)
    _, graph_def = convert_variables_to_constants_v2_as_graph(concrete)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder(
            tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        )
        found = tf.compat.v1.profiler.profile(graph, options=options.with_empty_output().build())
    return found.total_float_ops


def measure(encoder, episodes):
    """One encoder, in a process of its own."""
    import resource

    import tensorflow as tf

    from panet_keras import PANet

    size = 2048
    matrix = tf.random.stateless_uniform((size, size), [0, 1])
    rate = 2 * size**3 / seconds(lambda: (matrix @ matrix).numpy(), 9)

    model = PANet(encoder, weights=None, decoder="unet")
    model.compile()
    image = tf.random.stateless_uniform((episodes, 1, 1, 256, 256, 3), [0, 2])
    masks = tf.cast(tf.random.stateless_uniform((episodes, 1, 1, 256, 256, 1), [0, 3]) > 0.8, tf.uint8)
    batch = {"support_images": image, "support_masks": masks, "query_images": image[:, 0]}
    labels = masks[:, 0]
    step = tf.function(lambda: model.train_step((batch, labels)))
    encode = tf.function(lambda images, masks: model.encode_support(images, masks))
    segment = tf.function(lambda state, query: model.segment(state, query))
    state = encode(image[:1], masks[:1])
    result = {
        "matrix product, GFLOP/s": rate / 1e9,
        "training step, s": seconds(lambda: step()["loss"].numpy()),
        "episodes of a step": episodes,
        "encode_support, s": seconds(lambda: encode(image[:1], masks[:1])["prototypes_0"].numpy()),
        "segment, s": seconds(lambda: segment(state, image[:1, 0]).numpy()),
    }
    flops = {
        "encode_support": operations(lambda x: model.encode_support(x, masks[:1]), image[:1]),
        "segment": operations(lambda x: model.segment(state, x), image[:1, 0]),
    }
    flops["training step"] = 3 * episodes * sum(flops.values())
    for name, count in flops.items():
        limit = count / rate
        result |= {f"{name}, GFLOP": count / 1e9, f"{name}, times the limit": result[f"{name}, s"] / limit}
    result["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def main():
    table = {}
    for onednn in ("1", "0"):
        for encoder, episodes in ENCODERS.items():
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": onednn}
            command = [sys.executable, "-m", "benchmarks.speed", encoder, str(episodes)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            name = f"{encoder}, oneDNN {'on' if onednn == '1' else 'off'}"
            table[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, table[name], flush=True)
    record.write(
        "speed", "How fast are training and inference, against what the machine allows?", {"table": table}
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
