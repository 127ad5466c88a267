"""Does the server survive? Ten minutes of good, bad and huge requests, new and broken versions, cut
connections.

    python -m benchmarks.soak MODEL_BASE_PATH [SECONDS]        600 seconds by default

Counts requests, statuses, wrong answers (must be 0), memory of the server at the start and the end, p50 and
p99 of good requests.
"""

import collections
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import numpy as np

from benchmarks import record
from benchmarks.serving import inputs
from serving.client import PREDICT, Client, ServingError

THREADS = 4


def resident(process):
    """MB."""
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Soak:
    def __init__(self, address, seconds):
        self.address, self.end = address, time.monotonic() + seconds
        self.counts, self.latencies, self.wrong = collections.Counter(), [], 0
        self.lock = threading.Lock()
        small = {name: value[..., ::4, ::4, :] for name, value in inputs(1).items()}
        with Client(address) as client:
            self.small, self.expected = small, client.call("serving_default", small)["probabilities"]

    def note(self, kind, status, seconds=None):
        with self.lock:
            self.counts[f"{kind}: {status}"] += 1
            if seconds is not None:
                self.latencies.append(seconds)

    def good(self, client, rng):
        start = time.perf_counter()
        answer = client.call("serving_default", self.small)["probabilities"]
        self.note("good", "OK", time.perf_counter() - start)
        if not np.allclose(answer, self.expected, atol=1e-4):
            self.wrong += 1

    def bad(self, client, rng):
        spoiled = dict(self.small)
        name = rng.choice(sorted(spoiled))
        spoiled[name] = rng.choice(
            [spoiled[name][0], spoiled[name] * np.float32("nan"), np.zeros((1,) * 6, np.float64)]
        )
        client.call("serving_default", spoiled)

    def garbage(self, client, rng):
        with grpc.insecure_channel(self.address) as channel:
            channel.unary_unary(PREDICT, lambda b: b, lambda b: b)(
                rng.randbytes(rng.randrange(5000)), timeout=30
            )

    def huge(self, client, rng):
        client.call("serving_default", inputs(rng.choice([5, 20])))

    def over(self, client, rng):
        client.call("segment_encoded", {"query_bytes": np.array([[bytes(300_000_000)]], object)})

    def cut(self, client, rng):
        with grpc.insecure_channel(self.address) as channel:
            call = channel.unary_unary(PREDICT, lambda b: b, lambda b: b).future(
                rng.randbytes(2_000_000), timeout=30
            )
            time.sleep(rng.random() * 0.01)
            call.cancel()
        self.note("cut", "CANCELLED")

    def loop(self, seed):
        rng = random.Random(seed)
        kinds = (self.good, self.bad, self.garbage, self.huge, self.over, self.cut)
        with Client(self.address) as client:
            while time.monotonic() < self.end:
                [kind] = rng.choices(kinds, (70, 12, 8, 3, 0.1, 6.9))
                try:
                    kind(client, rng)
                    if kind not in (self.good, self.cut):
                        self.note(kind.__name__, "OK")
                except ServingError as error:
                    self.note(kind.__name__, error.code.name)
                except grpc.RpcError as error:
                    self.note(kind.__name__, error.code().name)


def versions(base, end):
    """New versions, a corrupt one and a foreign folder come and go."""
    number = 2
    while time.monotonic() < end:
        time.sleep(10)
        shutil.copytree(base / "1", base / str(number))
        (base / str(number + 1)).mkdir()
        (base / str(number + 1) / "saved_model.pb").write_bytes(b"cut")
        (base / "foreign").mkdir(exist_ok=True)
        time.sleep(10)
        shutil.rmtree(base / str(number + 1))
        if number > 3:
            shutil.rmtree(base / str(number - 2))
        number += 2


def main(source, seconds="600"):
    seconds = float(seconds)
    source = max((p for p in pathlib.Path(source).iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        shutil.copytree(source, base / "1")
        command = [sys.executable, "-m", "serving", "--port", "0", "--model_base_path", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        address = process.stdout.readline().split()[4]
        soak = Soak(address, seconds)
        memory = []
        workers = [threading.Thread(target=soak.loop, args=(seed,)) for seed in range(THREADS)]
        workers.append(threading.Thread(target=versions, args=(base, soak.end), daemon=True))
        for worker in workers:
            worker.start()
        while time.monotonic() < soak.end:
            memory.append(resident(process))
            time.sleep(1)
        for worker in workers[:-1]:
            worker.join()
        with Client(address) as client:
            alive = client.versions()
        process.terminate()
        code = process.wait(60)
    # The first minute loads everything once; growth is counted from there.
    settled = memory[min(60, len(memory) // 4) :]
    times = np.array(soak.latencies)
    result = {
        "seconds": seconds,
        "threads": THREADS,
        "requests": sum(soak.counts.values()),
        "by kind and status": dict(sorted(soak.counts.items())),
        "wrong answers": soak.wrong,
        "good, p50 and p99, s": [float(np.percentile(times, p)) for p in (50, 99)],
        "memory, MB: settled, end, highest": [settled[0], settled[-1], max(memory)],
        "versions at the end": [number for number, state, _ in alive if state == 30],
        "exit code after SIGTERM": code,
    }
    record.write("soak", "Does the server survive ten minutes of abuse?", result)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(*sys.argv[1:])
