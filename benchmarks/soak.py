"""Does the server survive? Ten minutes at all doors at once: good, bad and huge requests, new and broken
versions, wrong signatures, reloads and cut connections.

    python -m benchmarks.soak MODEL_BASE_PATH [--seconds 600] [--name soak]     writes results/NAME.json

MODEL_BASE_PATH as for `python -m serving`, such as RUN_ROOT/serving/panet. The server runs with
`--require_signature`, `--support_dir`, `--audit_log`, `--statistics_dir` and metrics; beside it the DICOM door.
Versions have different weights (`benchmarks.soak_versions`). Every answer is compared with what the version that
it names answers in this process (TensorFlow Serving's REST names none: there the audit log tells it), and every
answer's id must be in the audit log under that version.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from benchmarks import record
from benchmarks.serving import inputs
from benchmarks.soak_doors import DOORS, NAME, DicomDoor, Refused
from benchmarks.soak_versions import VARIANTS, Versions, make_keys, make_variant

THREADS = 3
"""That ask the server; one more sends DICOM."""
SET = "phantom"
CLOSE, APART = 1e-4, 1e-2
"""Probabilities that agree, and those of two variants, which must not."""
LARGE = 20
"""Shots of 256 x 256."""
HANGS = 300.0
"""Seconds after which an answer that has not come will not."""
SETTLING = 60.0
"""Seconds in which everything is loaded once; memory is judged from there."""


class Known:
    """What each variant answers, computed here.

    Args:
        variants: folders of SavedModels. support: folder of annotated pictures. picture: uint8 [H, W].
    """

    def __init__(self, variants, support, picture):
        import tensorflow as tf

        from serving.models.support_sets import read_set
        from serving.pictures import encode_png

        self.picture, self.bytes = picture, encode_png(np.stack([picture] * 3, -1))
        self.small = {name: value[..., ::4, ::4, :] for name, value in inputs(1).items()}
        self.answers = []
        for folder in variants:
            signatures = tf.saved_model.load(os.fspath(folder)).signatures
            size = json.loads((folder / "assets.extra" / "panet.json").read_text("utf-8"))["image_size"]
            images, masks = read_set(support, size)
            state = signatures["encode_support"](support_images=images, support_masks=masks)
            self.encoded = {"support_images": images.numpy(), "support_masks": masks.numpy()}
            small = {name: tf.constant(value) for name, value in self.small.items()}
            answered = signatures["segment_encoded"](**state, query_bytes=tf.constant([[self.bytes]]))
            self.answers.append(
                {
                    "small": signatures["serving_default"](**small)["probabilities"].numpy(),
                    "picture": answered["probabilities"].numpy(),
                    "presence": float(answered["presence"][0, 0, 0]),
                    "threshold": float(answered["presence_threshold"][0]),
                }
            )
        for kind in ("small", "picture"):
            for one, other in ((0, 1), (1, 2), (0, 2)):
                difference = np.abs(self.answers[one][kind] - self.answers[other][kind]).max()
                if difference < APART:
                    raise SystemExit(
                        f"variants {one} and {other} answer alike ({difference:.1g}); a mix-up would not show"
                    )

    def matches(self, kind, probabilities):
        """Numbers of the variants that answer so."""
        return {
            number
            for number, answer in enumerate(self.answers)
            if answer[kind].shape == probabilities.shape
            and np.allclose(answer[kind], probabilities, atol=CLOSE)
        }

    def matches_mask(self, mask, presence):
        """Numbers of the variants that answer with this mask of the picture and this presence."""
        from serving.pictures import enlarge

        found = set()
        for number, answer in enumerate(self.answers):
            full = enlarge(answer["picture"][0, 0, ..., 1], self.picture.shape)
            right = (full > 0.5) & (answer["presence"] >= answer["threshold"])
            sure = np.abs(full - 0.5) > CLOSE
            if (right == mask)[sure].all() and abs(presence - answer["presence"]) < CLOSE:
                found.add(number)
        return found


class Soak:
    """Counts what was asked, and keeps what was answered.

    Attributes:
        counts: of "door, request: status". answered: dictionary of an answer's id to the version that it
            names (or None), the variants that answer so, and the door.
    """

    def __init__(self, known, versions, address, rest, end):
        self.known, self.versions, self.address, self.rest, self.end = known, versions, address, rest, end
        self.counts, self.latencies = collections.Counter(), collections.defaultdict(list)
        self.answered, self.failures, self.lock = {}, [], threading.Lock()

    def note(self, door, kind, status, seconds=None):
        with self.lock:
            self.counts[f"{door}, {kind}: {status}"] += 1
            if seconds is not None:
                self.latencies[door].append(seconds)

    def keep(self, door, answer_id, version, variants):
        with self.lock:
            if answer_id in self.answered:
                self.failures.append(f"{door}: the id {answer_id} was given twice")
            self.answered[answer_id] = version, variants, door

    def small(self, door, rng):
        outputs, version, answer_id = door.ask("serving_default", self.known.small)
        self.keep(door.name, answer_id, version, self.known.matches("small", outputs["probabilities"]))

    def support_set(self, door, rng):
        given = {"support_set": np.array([SET.encode()], object)}
        self._picture(door, given)

    def own_support(self, door, rng):
        state, _, _ = door.ask("encode_support", self.known.encoded)
        self._picture(door, state)

    def _picture(self, door, given):
        query = np.array([[self.known.bytes]], object)
        outputs, version, answer_id = door.ask("segment_encoded", {**given, "query_bytes": query})
        self.keep(door.name, answer_id, version, self.known.matches("picture", outputs["probabilities"]))

    def bad(self, door, rng):
        spoiled = dict(self.known.small)
        name = rng.choice(sorted(spoiled))
        nan = spoiled[name].astype(np.float32) * np.float32("nan")
        spoiled[name] = rng.choice([spoiled[name][0], nan, np.zeros((1,) * 6, np.float32)])
        if "REST" in door.name:  # JSON has no NaN
            spoiled[name] = self.known.small[name][0]
        door.ask("serving_default", spoiled)

    def broken_picture(self, door, rng):
        cut = self.known.bytes[: rng.randrange(20, len(self.known.bytes) - 20)]
        query = np.array([[cut]], object)
        door.ask("segment_encoded", {"support_set": np.array([SET.encode()], object), "query_bytes": query})

    def unknown_set(self, door, rng):
        query = np.array([[self.known.bytes]], object)
        door.ask("segment_encoded", {"support_set": np.array([b"nobody's"], object), "query_bytes": query})

    def garbage(self, door, rng):
        door.garbage(rng.randbytes(rng.randrange(5000)))

    def huge(self, door, rng):
        door.ask("serving_default", inputs(rng.choice([5, LARGE])))

    def over(self, door, rng):
        door.ask("segment_encoded", {"query_bytes": np.array([[bytes(300_000_000)]], object)})

    def cut(self, door, rng):
        door.cut(rng.randbytes(2_000_000), rng.random() * 0.02)

    GOOD, WRONG = (
        (small, support_set, own_support),
        (bad, broken_picture, unknown_set, garbage, huge, over, cut),
    )
    WEIGHTS = (40, 22, 8, 10, 4, 2, 6, 1.5, 0.05, 6.5)

    def loop(self, seed):
        """Asks at doors that are drawn, until the end."""
        rng, doors = random.Random(seed), [door(self.address, self.rest) for door in DOORS]
        # The largest request comes first: what TensorFlow keeps of its size (docs/how-to/operators.md) is no growth.
        doors[0].ask("serving_default", inputs(LARGE))
        while time.monotonic() < self.end:
            [kind] = rng.choices((*self.GOOD, *self.WRONG), self.WEIGHTS)
            # As JSON what is large takes minutes of a processor.
            large = kind in (Soak.huge, Soak.over)
            door = rng.choice([one for one in doors if not large or one.name.endswith("gRPC")])
            start = time.perf_counter()
            try:
                kind(self, door, rng)
                seconds = time.perf_counter() - start if kind in self.GOOD else None
                self.note(door.name, kind.__name__, "OK", seconds)
            except Refused as refused:
                self.note(door.name, kind.__name__, str(refused))
            except OSError as error:
                self.note(door.name, kind.__name__, type(error).__name__)

    def dicom_loop(self, door, seed):
        """Sends objects, until the end; waits for each answer."""
        rng = random.Random(seed)
        door.record(door.made(np.tile(self.known.picture, (8, 8))))
        while time.monotonic() < self.end:
            [kind] = rng.choices(("picture", "broken", "cut"), (80, 10, 10))
            data, start = door.made(self.known.picture), time.perf_counter()
            try:
                if kind == "cut":
                    door.cut(rng.uniform(0.01, 0.99))
                    self.note(door.name, kind, "OK")
                    continue
                if kind == "broken":
                    data.PixelData = data.PixelData[:100]
                door.store(data)
            except Refused as refused:
                self.note(door.name, kind, str(refused))
                continue
            answer = door.answer(data.SOPInstanceUID, HANGS)
            if answer is None or (kind == "picture") == isinstance(answer, str):
                self.note(door.name, kind, "no answer" if answer is None else "answered wrongly")
                self.failures.append(
                    f"DICOM, {kind}: {answer if isinstance(answer, str) else 'a wrong kind of answer'}"
                )
            elif kind == "broken":
                self.note(door.name, kind, "named in failed/")
            else:
                mask, version, answer_id, presence = answer
                self.keep(door.name, answer_id, version, self.known.matches_mask(mask, presence))
                self.note(door.name, kind, "OK", time.perf_counter() - start)

    def judge(self, log):
        """Numbers that must all be 0, by name.

        Args:
            log: dictionary of an answer's id to its line of the audit log.
        """
        wrong = collections.Counter()
        for answer_id, (version, variants, _) in self.answered.items():
            line = log.get(answer_id)
            named = version if version is not None else line and line["version"]
            wrong["answers that are wrong"] += self.versions.variant.get(named, -1) not in variants
            wrong["answers that the audit log lacks"] += line is None
            wrong["answers of another version in the audit log"] += bool(line) and line["version"] != named
        broken = {one["version"] for one in log.values()} & set(self.versions.broken)
        wrong["broken versions that answered"] = len(broken)
        good = [f"{kind.__name__}: " for kind in self.GOOD]
        refused = {name: n for name, n in self.counts.items() if any(one in name for one in good)}
        # A state that was encoded by the version before is refused by the next, which says so.
        wrong["good requests that were refused"] = sum(
            number
            for name, number in refused.items()
            if not name.endswith(": OK") and "own_support" not in name
        )
        wrong["other failures"] = len(self.failures)
        return dict(wrong)


class Process:
    """A process, its log and its memory.

    Args:
        log: file for stderr.
    """

    def __init__(self, log, *command):
        self.log, self.memory = log, []
        with open(log, "w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)], stdout=subprocess.PIPE, stderr=stream, text=True
            )

    def line(self):
        """The next line that it prints.

        Raises:
            SystemExit: it ended instead.
        """
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(self.log.read_text()[-2000:])
        return line

    def sample(self):
        """Notes its resident memory, MB."""
        with open(f"/proc/{self.process.pid}/status") as lines:
            kilobytes = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "nan")
        self.memory.append(float(kilobytes) / 1024)

    def end(self):
        """Exit code after SIGTERM, and the number of tracebacks in its log."""
        self.process.terminate()
        code = self.process.wait(120)
        return code, self.log.read_text().count("Traceback")

    def told(self):
        """Memory in MB: settled, at the end (each the median of a tenth of the rest), and highest."""
        rest = self.memory[min(int(SETTLING), len(self.memory) // 4) :]
        tenth = max(1, len(rest) // 10)
        return [round(value, 1) for value in (np.median(rest[:tenth]), np.median(rest[-tenth:]), max(rest))]


def support_set(folder):
    """Writes a phantom's pictures as a support set; returns a picture with a lesion that is not among them,
    uint8 [H, W]."""
    from PIL import Image

    from panet_keras.data import load_bus_uclm, write_phantom

    records = load_bus_uclm(write_phantom(folder / "phantom", patients=4, images=4, seed=3, size=(192, 256)))
    lesions = [record.decode() for record in records if record.label == "Benign" and record.patient != "PHAB"]
    place = folder / "sets" / SET
    place.mkdir(parents=True)
    for number, sample in enumerate(lesions[:2]):
        Image.fromarray(sample.image).save(place / f"{number}.png")
        Image.fromarray((sample.mask > 0).astype(np.uint8) * np.uint8(255)).save(place / f"{number}_mask.png")
    return np.asarray(Image.fromarray(lesions[2].image).convert("L"))


def reloader(address, base):
    """A function that asks the server for the configuration that it has, or for one that it must refuse."""
    import grpc
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    stub = model_service_pb2_grpc.ModelServiceStub(grpc.insecure_channel(address))

    def reload(right):
        request = model_management_pb2.ReloadConfigRequest()
        path = str(base) if right else "relative"
        request.config.model_config_list.config.add(name=NAME, base_path=path)
        try:
            stub.HandleReloadConfigRequest(request, timeout=120)
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        reload.counts[f"reload, {'right' if right else 'wrong'}: {status}"] += 1

    reload.counts = collections.Counter()
    return reload


def run(source, seconds, folder):
    """Result of a soak in a temporary folder."""
    base, output = folder / "served", folder / "dicom"
    base.mkdir()
    variants = [make_variant(source, folder / f"variant{number}", number) for number in range(VARIANTS)]
    picture = support_set(folder)
    known = Known(variants, folder / "sets" / SET, picture)
    keys, public = make_keys(folder)
    versions = Versions(base, variants, keys, None)
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    audit = folder / "audit.jsonl"
    server = Process(
        folder / "server.log",
        *("serving", "--port", 0, "--rest_api_port", 0, "--model_base_path", base),
        *("--require_signature", public, "--support_dir", folder / "sets", "--audit_log", audit),
        *("--statistics_dir", folder / "statistics", "--monitoring_config_file", monitoring),
    )
    address, rest = server.line().split()[4], server.line().split(" at:")[1].split()[0]
    versions.reload = reloader(address, base)
    door = Process(
        folder / "door.log",
        *("serving.dicom_door", "--server", address, "--support-set", SET, "--port", 0, "--output", output),
    )
    dicom = DicomDoor(int(door.line().rpartition(":")[2]), output)
    end = time.monotonic() + seconds
    soak = Soak(known, versions, address, rest, end)
    workers = [threading.Thread(target=soak.loop, args=(seed,), daemon=True) for seed in range(THREADS)]
    workers.append(threading.Thread(target=soak.dicom_loop, args=(dicom, THREADS), daemon=True))
    coming = versions.start(end)
    for worker in workers:
        worker.start()
    while time.monotonic() < end:
        for process in (server, door):
            process.sample()
        time.sleep(1)
    for worker in (*workers, coming):
        worker.join(HANGS)
    hung = sum(worker.is_alive() for worker in (*workers, coming))
    from serving.client import Client

    with Client(address) as client:
        states = client.versions()
    door_code, door_tracebacks = door.end()
    code, tracebacks = server.end()
    log = {}
    for line in audit.read_text("utf-8").splitlines():
        told = json.loads(line)
        log[told["id"]] = told
    wrong = soak.judge(log)
    wrong["broken versions that were AVAILABLE at the end"] = sum(
        state == 30 and number in versions.broken for number, state, _ in states
    )
    wrong["threads of this process that hang"] = hung
    wrong["tracebacks in the logs"] = tracebacks + door_tracebacks
    if tracebacks + door_tracebacks or soak.failures:
        print(*soak.failures[:20], server.log.read_text()[-5000:], sep="\n", file=sys.stderr)
    return {
        "seconds": seconds,
        "threads": THREADS + 1,
        "requests": sum(soak.counts.values()),
        "by kind and status": dict(sorted((soak.counts + versions.reload.counts).items())),
        "must be 0": wrong,
        "answers compared": len(soak.answered),
        "answers compared, by door": dict(collections.Counter(door for _, _, door in soak.answered.values())),
        "good, p50 and p99, s, by door": {
            name: [round(float(np.percentile(times, p)), 4) for p in (50, 99)]
            for name, times in sorted(soak.latencies.items())
        },
        "memory of the server, MB: settled, end, highest": server.told(),
        "memory of the DICOM door, MB: settled, end, highest": door.told(),
        "memory of the server, MB, every 10 s": [round(value) for value in server.memory[::10]],
        "versions: right, broken, that answered": [
            len(versions.variant),
            len(versions.broken),
            len({one["version"] for one in log.values()}),
        ],
        "exit codes after SIGTERM": [code, door_code],
    }


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=pathlib.Path, metavar="MODEL_BASE_PATH")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--name", default="soak", help="of the file in benchmarks/results")
    arguments = parser.parse_args(argv)
    numbered = [path for path in arguments.source.iterdir() if path.name.isdecimal()]
    source = max(numbered, key=lambda path: int(path.name))
    with tempfile.TemporaryDirectory() as folder:
        result = run(source, arguments.seconds, pathlib.Path(folder))
    record.write(arguments.name, "Does the server survive ten minutes of abuse at every door?", result)
    return 1 if any(result["must be 0"].values()) else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
