"""What a server was asked, in numbers: no picture, no name, and memory that does not grow.

STATISTICS_DIR/MODEL/VERSION/20261126T200000Z-HOST-PID.pb       one for each period with an answer

A file is TFDV's `DatasetFeatureStatisticsList` of what came in that period; `python -m pipeline drift` compares
them with the training statistics. Features:

    image/brightness    mean of the frame, 0 to 1; of pictures that were looked at (see below)
    image/contrast      standard deviation of the frame, 0 to 0.5; likewise
    image/height, image/width   in pixels; likewise, of pictures that came as files
    presence            of every answer; mask/area_fraction, share of its mask; mask/empty, 0 or 1
    support/age_seconds     time since this server encoded the support (or, of a support set that it keeps,
                            since its newest file)

To look at a picture that came as a file, it must be decoded, which costs more than everything else here: a
thread beside the requests does so for at most `PER_SECOND` pictures, and leaves out the others.
"""

import collections
import datetime
import hashlib
import logging
import os
import pathlib
import platform
import queue
import threading
import time

import numpy as np

from serving.commands.files import write_whole
from serving.pictures import open_rgb

log = logging.getLogger("serving")
PER_SECOND = 2.0
WAITING = 16
"""Pictures that wait to be looked at."""
STATES = 4096
"""Support states whose age is known."""
VERSIONS = 64
"""Models' versions in one period; answers of more are not counted."""
DISTINCT = 512
"""Exact values of a whole number; more are rounded to `STEP`."""
STEP = 16
FEATURES = {
    "image/brightness": np.linspace(0, 1, 201),
    "image/contrast": np.linspace(0, 0.5, 101),
    "image/height": None,
    "image/width": None,
    "presence": np.linspace(0, 1, 101),
    "mask/area_fraction": np.linspace(0, 1, 201),
    "mask/empty": None,
    "support/age_seconds": np.concatenate([[0], 60 * 2.0 ** np.arange(16)]),
}
"""Edges of a feature's buckets; None for whole numbers, which are kept as they are."""


class Values:
    """Numbers of one feature, of which a histogram and a few sums remain.

    Args:
        edges: of the buckets, increasing; None for whole numbers.
    """

    def __init__(self, edges=None):
        self.edges = edges
        self.counts = collections.Counter()
        self.n, self.total, self.squares, self.zeros = 0, 0.0, 0.0, 0
        self.least, self.most = np.inf, -np.inf

    def add(self, value):
        value = float(value)
        if self.edges is None:
            key = int(value)
            if key not in self.counts and len(self.counts) >= DISTINCT:
                key -= key % STEP
        else:
            key = int(np.clip(np.searchsorted(self.edges, value, "right") - 1, 0, len(self.edges) - 2))
        self.counts[key] += 1
        self.n += 1
        self.total += value
        self.squares += value * value
        self.zeros += value == 0
        self.least, self.most = min(self.least, value), max(self.most, value)

    def buckets(self):
        """List of (low, high, count), in order; a whole number is a bucket without width."""
        if self.edges is None:
            return [(key, key, count) for key, count in sorted(self.counts.items())]
        last = len(self.edges) - 2
        return [
            (self.edges[key], max(self.edges[key + 1], self.most if key == last else 0), self.counts[key])
            for key in range(last + 1)
        ]

    def write(self, feature):
        """Fills a `FeatureNameStatistics`."""
        numbers = feature.num_stats
        common = numbers.common_stats
        common.num_non_missing = common.tot_num_values = self.n
        common.min_num_values = common.max_num_values = 1
        common.avg_num_values = 1.0
        numbers.mean = self.total / self.n
        numbers.std_dev = max(self.squares / self.n - numbers.mean**2, 0) ** 0.5
        numbers.num_zeros = self.zeros
        numbers.min, numbers.max = self.least, self.most
        histogram = numbers.histograms.add()
        for low, high, count in self.buckets():
            histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
        below = np.cumsum([count for _, _, count in self.buckets()])
        low, high, _ = self.buckets()[int(np.searchsorted(below, self.n / 2))]
        numbers.median = (low + high) / 2


class Statistics:
    """Observer of answers (`serving.api.prediction_service.PredictionService`).

    Args:
        folder: to write to. period: seconds of a file. keep: files of a version that are kept, the newest.
        metrics: `serving.api.monitoring.AnswerMetrics`, or None.

    Raises:
        OSError: the folder cannot be made. ImportError: tensorflow-metadata is missing.
    """

    def __init__(self, folder, period=3600.0, keep=720, metrics=None):
        from tensorflow_metadata.proto.v0 import statistics_pb2  # said at the start, not in an hour

        self._proto = statistics_pb2
        self.folder, self.period, self.keep, self.metrics = pathlib.Path(folder), period, keep, metrics
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._windows, self._states = {}, collections.OrderedDict()
        self._begin = datetime.datetime.now(datetime.UTC)
        self._pictures = queue.Queue(WAITING)
        self._stop = threading.Event()
        for target in (self._look, self._watch):
            threading.Thread(target=target, name=f"statistics{target.__name__}", daemon=True).start()

    def __call__(self, answer, request, version, signature, inputs, outputs):
        place = (request.model_spec.name, version.number)
        if signature == "encode_support":
            self._remember(_key(outputs))
        if "presence" not in outputs:
            return
        presence = outputs["presence"].numpy().max(-1).ravel()
        marked = (outputs["masks"].numpy() > 0).mean((-2, -1)).ravel()
        age = self._age(request, version, inputs)
        facts = [
            {"presence": one, "mask/area_fraction": share, "mask/empty": share == 0}
            | ({} if age is None else {"support/age_seconds": age})
            for one, share in zip(presence, marked)
        ]
        self._add(place, facts, len(facts))
        for alias in ("query_bytes", "query_images"):
            if alias in inputs and len(presence) and not self._pictures.full():
                # The first of a request stands for all: they are of one examination as a rule.
                try:
                    self._pictures.put_nowait((place, inputs[alias][0, 0]))
                except queue.Full:
                    pass

    def _add(self, place, facts, answers=0):
        with self._lock:
            if place not in self._windows and len(self._windows) >= VERSIONS:
                return
            window = self._windows.setdefault(place, {"answers": 0})
            window["answers"] += answers
            for one in facts:
                for name, value in one.items():
                    window.setdefault(name, Values(FEATURES[name])).add(value)
        if self.metrics:
            for one in facts:
                self.metrics.observe(*place, one)

    def _remember(self, key):
        with self._lock:
            self._states[key] = time.time()
            self._states.move_to_end(key)
            if len(self._states) > STATES:
                self._states.popitem(last=False)

    def _age(self, request, version, inputs):
        """Seconds, or None where nothing tells."""
        from serving.models.support_sets import ALIAS, name_in, newest

        if ALIAS in request.inputs:
            kept = version.supports.get(name_in(request.inputs[ALIAS]))
            changed = newest(kept) if kept else None
            return None if changed is None else max(time.time() - changed, 0.0)
        if "support_images" in inputs:
            return 0.0
        with self._lock:
            began = self._states.get(_key(inputs))
        return None if began is None else time.time() - began

    def _look(self):
        while not self._stop.is_set():
            try:
                place, picture = self._pictures.get(timeout=1.0)
            except queue.Empty:
                continue
            try:
                self._add(place, [facts_of(picture.numpy())])
            except Exception as error:  # whatever the picture is, it is only not counted
                log.debug("statistics: %s", error)
            self._stop.wait(1 / PER_SECOND)

    def _watch(self):
        while not self._stop.wait(self.period):
            self.write()

    def write(self):
        """Writes a file for each version that answered since the last time."""
        with self._lock:
            windows, self._windows = self._windows, {}
            begin, self._begin = self._begin, datetime.datetime.now(datetime.UTC)
        for (model, version), window in windows.items():
            try:
                self._write(model, version, window, begin)
            except OSError as error:
                log.error(
                    "--statistics_dir %s: %s; the statistics of one period are lost", self.folder, error
                )

    def _write(self, model, version, window, begin):
        listed = self._proto.DatasetFeatureStatisticsList()
        dataset = listed.datasets.add(name=f"{model}/{version}", num_examples=window.pop("answers"))
        for name in FEATURES:
            if name in window:
                whole = FEATURES[name] is None
                kinds = self._proto.FeatureNameStatistics
                feature = dataset.features.add(type=kinds.INT if whole else kinds.FLOAT)
                feature.path.step.append(name)
                window[name].write(feature)
                feature.num_stats.common_stats.num_missing = max(dataset.num_examples - window[name].n, 0)
        folder = self.folder / model / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{begin:%Y%m%dT%H%M%S.%f}Z-{platform.node()}-{os.getpid()}.pb"
        write_whole(folder / name, listed.SerializeToString())
        for old in sorted(folder.glob("*.pb"))[: -self.keep]:
            old.unlink(missing_ok=True)

    def close(self):
        """Writes what is there; ends the threads."""
        self._stop.set()
        self.write()


def facts_of(picture):
    """Features of a picture: the bytes of a file, or float [H, W, 3] in [0, 1], whose own size is not
    known."""
    if not isinstance(picture, bytes):
        return {"image/brightness": float(picture.mean()), "image/contrast": float(picture.std())}
    image = open_rgb(picture)
    height, width = image.shape[:2]
    return {
        "image/brightness": float(image.mean()) / 255,
        "image/contrast": float(image.std()) / 255,
        "image/height": height,
        "image/width": width,
    }


def _key(tensors):
    """What tells support states apart: the beginning of each tensor, for a state has megabytes."""
    digest = hashlib.blake2b(digest_size=16)
    for alias in sorted(tensors):
        if not alias.startswith("query_") and tensors[alias].dtype.is_floating:
            digest.update(alias.encode() + tensors[alias].numpy().ravel()[:256].tobytes())
    return digest.digest()
