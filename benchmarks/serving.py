"""How fast is the server, and how near to the bare model?

    python -m benchmarks.serving MODEL_BASE_PATH          about 8 minutes on a quiet machine

MODEL_BASE_PATH as for `python -m serving`, such as RUN_ROOT/serving/panet. Everything on loopback or a UNIX
socket, 256 x 256, random pictures; sides that are compared take turns, and each figure is a median. The
overhead at saturation is 1 - (a side's rate) / (the bare model's in the same round), at the number of clients
that suits each best.
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

# As the server sets it for itself: both sides of a comparison run the same kernels.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from benchmarks import record  # noqa: E402

SIZE, REPEATS, ROUNDS, SECONDS, CLIENTS = 256, 15, 5, 4.0, (1, 4, 8, 16)
BATCHING = pathlib.Path(__file__).parent.parent / "serving/config/batching_parameters.txt"
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


def saturation(base, request, alone):
    """Rates and costs of `segment` by the number of clients.

    Args:
        base: folder of versions. request: inputs of `segment`. alone: the bare model, a function.
    """
    from serving.client import Client

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = {}
        batching = ("--enable_batching", "--batching_parameters_file", os.fspath(BATCHING))
        for name, flags in (("served", ()), ("served, batching", batching)):
            socket = f"{folder}/{len(servers)}"
            threads = ("--grpc_max_threads", "16", "--grpc_socket_path", socket)
            address, pid = stack.enter_context(served(base, *threads, *flags))
            servers[name] = address, pid
            servers[f"{name}, UNIX socket"] = f"unix:{socket}", pid
        rates, costs = {}, {}
        for clients in CLIENTS:
            calls = {"in this process": lambda number: alone()}
            for name, (address, _) in servers.items():
                own = [stack.enter_context(Client(address)) for _ in range(clients)]
                calls[name] = asker(own, request)
            for call in calls.values():
                call(0)
            for _ in range(ROUNDS):
                for name, call in calls.items():
                    pids = {"here": os.getpid()} | ({"server": servers[name][1]} if name in servers else {})
                    before = {side: processor_seconds(pid) for side, pid in pids.items()}
                    found, count = rate(call, clients)
                    rates.setdefault(name, {}).setdefault(clients, []).append(found)
                    spent = {
                        side: (processor_seconds(pid) - before[side]) / count for side, pid in pids.items()
                    }
                    costs.setdefault(name, {}).setdefault(clients, []).append(spent)
    middle = {
        name: {clients: statistics.median(found) for clients, found in row.items()}
        for name, row in rates.items()
    }
    best = {name: rates[name][max(row, key=row.get)] for name, row in middle.items()}
    costs = {
        name: {
            clients: {side: round(statistics.median(c[side] for c in found), 4) for side in found[0]}
            for clients, found in row.items()
        }
        for name, row in costs.items()
    }
    cheapest = {name: min(sum(cost.values()) for cost in row.values()) for name, row in costs.items()}
    return {
        "rounds": ROUNDS,
        "segment per second, by clients": middle,
        "processor seconds for each segment, by clients": costs,
        "overhead at saturation": {
            name: statistics.median(1 - a / b for a, b in zip(best[name], best["in this process"]))
            for name in servers
        },
        # What a busy machine says, too: client and server together, over the bare model.
        "processor time over the bare model's": {
            name: cheapest[name] / cheapest["in this process"] - 1 for name in servers
        },
    }


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

    result |= saturation(base, {**states[1], **query}, lambda: bare["segment"](**eager[1])["masks"].numpy())

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
