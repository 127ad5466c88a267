"""How fast is the server, and how near to the bare model?

    python -m benchmarks.serving MODEL_BASE_PATH          about 4 minutes on a quiet machine

MODEL_BASE_PATH as for `python -m serving`, such as RUN_ROOT/serving/panet. Everything on loopback, 256 x 256,
random pictures; sides that are compared take turns, and each figure is a median.
"""

import concurrent.futures
import contextlib
import io
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import record

SIZE, REPEATS, SECONDS, CLIENTS = 256, 15, 8.0, (1, 4, 16)
IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
STOCK_ENCODE = """
import sys, time, numpy as np, tensorflow as tf
from tensorflow_serving.apis import predict_pb2
x = np.random.default_rng(0).random((1, 1, 5, 256, 256, 3), np.float32)
times = []
for _ in range(20):
    t = time.perf_counter()
    request = predict_pb2.PredictRequest()
    request.inputs["support_images"].CopyFrom(tf.make_tensor_proto(x))
    request.SerializeToString()
    times.append(time.perf_counter() - t)
print(sorted(times)[10])
"""
OUR_ENCODE = (
    STOCK_ENCODE.replace("numpy as np, tensorflow as tf", "numpy as np")
    .replace(
        "from tensorflow_serving.apis import predict_pb2",
        "from serving.client import wire_pb2 as predict_pb2, write_tensor",
    )
    .replace(
        'request.inputs["support_images"].CopyFrom(tf.make_tensor_proto(x))',
        'write_tensor(request.inputs["support_images"], x)',
    )
)


@contextlib.contextmanager
def served(base, *flags):
    """Address and process number of a server."""
    command = [sys.executable, "-m", "serving", "--port", "0", "--model_base_path", str(base), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().split()[4], process.pid
    finally:
        process.terminate()
        process.wait()


def inputs(shots, seed=0):
    rng = np.random.default_rng(seed)
    masks = np.zeros((1, 1, shots, SIZE, SIZE, 1), np.uint8)
    masks[..., 90:150, 80:170, :] = 1
    return {
        "support_images": rng.random((1, 1, shots, SIZE, SIZE, 3), np.float32),
        "support_masks": masks,
        "query_images": rng.random((1, 1, SIZE, SIZE, 3), np.float32),
    }


def alternate(sides, repeats=REPEATS):
    """Median seconds of each function, taking turns."""
    times = {name: [] for name in sides}
    for round_ in range(repeats + 1):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def rate(call, clients):
    """Calls per second of `clients` threads in SECONDS, and their number; `call(client number)`."""
    end = time.perf_counter() + SECONDS
    start = time.perf_counter()

    def loop(number):
        count = 0
        while time.perf_counter() < end:
            call(number)
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        total = sum(pool.map(loop, range(clients)))
    return total / (time.perf_counter() - start), total


def processor_seconds(pid):
    """Of a process so far, all threads, in user and kernel mode (proc(5))."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asker(clients, request):
    return lambda number: clients[number].call("segment", request)


def png(array):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((array * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def main(base):
    import tensorflow as tf

    from serving.client import Client

    version = max((p for p in pathlib.Path(base).iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    bare = tf.saved_model.load(os.fspath(version)).signatures
    result = {}
    with served(base) as (address, _), Client(address) as client:
        states = {}
        for shots in (1, 5):
            given = inputs(shots)
            support = {name: given[name] for name in ("support_images", "support_masks")}
            states[shots] = client.call("encode_support", support)
            result[f"state, {shots} shots, bytes"] = sum(
                len(v.tobytes()) if v.dtype != object else 16 for v in states[shots].values()
            )
        query = {"query_images": inputs(1)["query_images"]}
        content = png(np.tile(np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None], (1, SIZE, 3)))
        picture = {"query_bytes": np.array([[content]], object)}
        eager = {
            shots: {k: tf.constant(v) for k, v in {**states[shots], **query}.items()} for shots in (1, 5)
        }
        result["latency, s"] = alternate(
            {
                "serving_default, 1 shot": lambda: client.call("serving_default", inputs(1)),
                "segment with a kept state, 1 shot": lambda: client.call("segment", {**states[1], **query}),
                "serving_default, 5 shots": lambda: client.call("serving_default", inputs(5)),
                "segment with a kept state, 5 shots": lambda: client.call("segment", {**states[5], **query}),
                "segment_encoded (PNG bytes), 1 shot": lambda: client.call(
                    "segment_encoded", {**states[1], **picture}
                ),
                "segment in this process, 1 shot": lambda: bare["segment"](**eager[1])["masks"].numpy(),
                "segment in this process, 5 shots": lambda: bare["segment"](**eager[5])["masks"].numpy(),
            }
        )
        result["bytes sent"] = {
            "query as float32": query["query_images"].nbytes,
            "query as PNG": len(content),
        }

    batching = tempfile.NamedTemporaryFile("w", suffix=".txt")
    batching.write(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } num_batch_threads { value: 2 }"
    )
    batching.flush()
    rates, costs = {}, {}
    joined = ("--enable_batching", "--batching_parameters_file", batching.name, "--grpc_max_threads", "16")
    with served(base, "--grpc_max_threads", "16") as plain, served(base, *joined) as batched:
        servers = {"served": plain, "served, batching": batched}
        for clients in CLIENTS:
            with contextlib.ExitStack() as stack:
                sides = {
                    name: [stack.enter_context(Client(a)) for _ in range(clients)]
                    for name, (a, _) in servers.items()
                }
                calls = {name: asker(own, {**states[1], **query}) for name, own in sides.items()}
                calls["in this process"] = lambda i: bare["segment"](**eager[1])["masks"].numpy()
                for name, call in calls.items():
                    call(0)
                    pids = {"here": os.getpid()} | ({"server": servers[name][1]} if name in servers else {})
                    before = {side: processor_seconds(pid) for side, pid in pids.items()}
                    rates.setdefault(name, {})[clients], count = rate(call, clients)
                    costs.setdefault(name, {})[clients] = {
                        side: round((processor_seconds(pid) - before[side]) / count, 4)
                        for side, pid in pids.items()
                    }
    result["segment per second, by clients"] = rates
    result["processor seconds for each segment, by clients"] = costs
    bare_rate = max(rates["in this process"].values())
    result["overhead at saturation"] = {name: 1 - max(rates[name].values()) / bare_rate for name in servers}
    # Client and server share the processor here; this is what the server alone costs.
    bare_cost, own_cost = (
        min(c[side] for c in costs[n].values())
        for n, side in (("in this process", "here"), ("served", "server"))
    )
    result["server's processor time over the bare model's"] = own_cost / bare_cost - 1

    def run(code):
        return float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )

    result["client, s"] = {
        "import ours": min(run(IMPORT.format("serving.client")) for _ in range(3)),
        "import stock": min(
            run(IMPORT.format("tensorflow_serving.apis.prediction_service_pb2_grpc, tensorflow"))
            for _ in range(3)
        ),
        "encode 5 supports, ours": run(OUR_ENCODE),
        "encode 5 supports, stock": run(STOCK_ENCODE),
    }
    record.write("serving", "How fast is the server, and how near to the bare model?", result)


if __name__ == "__main__":
    main(*sys.argv[1:])
