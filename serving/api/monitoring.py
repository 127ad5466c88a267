"""Prometheus metrics under the names of tensorflow_model_server."""

import collections
import contextlib
import threading

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = tuple(10 * 1.8**i for i in range(33))
"""Microseconds, the exponential buckets of TensorFlow Serving's latency."""
VERSIONS = 64
"""Models' versions that `AnswerMetrics` tells of, those that answered last."""


class Metrics:
    """Requests, their latency and the models' versions."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._telling = threading.Lock()
        labels = ("model_name", "status")
        self._count = Counter(
            ":tensorflow:serving:request_count", "Predict requests", labels, registry=self.registry
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from arrival to answer of Predict requests",
            ("model_name",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._versions = Gauge(
            ":panet_bus:serving:available_version",
            "1 for each version that serves",
            ("model_name", "version"),
            registry=self.registry,
        )

        self.answers = AnswerMetrics(self.registry)

    def note(self, core, model, status, seconds):
        """Counts a request."""
        # Names that clients invent must not become time series.
        model = model if model in core.managers else ""
        self._count.labels(model, status).inc()
        self._latency.labels(model).observe(seconds * 1e6)

    def text(self, core):
        """The metrics in Prometheus' text form, bytes."""
        # Two Prometheus ask at the same time, and neither may miss a version that the other has just cleared.
        with self._telling:
            self._versions.clear()
            for name, manager in list(core.managers.items()):
                for number in manager.available():
                    self._versions.labels(name, number).set(1)
            return generate_latest(self.registry)


class AnswerMetrics:
    """What was asked and answered, by model and version, where `--statistics_dir` is given; see
    `serving.api.statistics`.

    Args:
        registry: of `Metrics`.
    """

    def __init__(self, registry):
        self._told = collections.OrderedDict()
        labels = ("model_name", "version")
        self._empty = Counter(
            ":panet_bus:serving:empty_masks", "Answers without any marked pixel", labels, registry=registry
        )
        self._histograms = {
            feature: Histogram(f":panet_bus:serving:{name}", text, labels, buckets=buckets, registry=registry)
            for feature, (name, text, buckets) in ANSWERS.items()
        }

    def observe(self, model, version, facts):
        """Takes note of facts, dictionary of feature to value."""
        self._bound((model, str(version)))
        for feature, histogram in self._histograms.items():
            if feature in facts:
                histogram.labels(model, version).observe(float(facts[feature]))
        if facts.get("mask/empty"):
            self._empty.labels(model, version).inc()

    def _bound(self, place):
        """Versions come and go for as long as the server runs; their time series must not pile up."""
        self._told[place] = None
        self._told.move_to_end(place)
        if len(self._told) > VERSIONS:
            oldest, _ = self._told.popitem(last=False)
            for metric in (self._empty, *self._histograms.values()):
                with contextlib.suppress(KeyError):  # it had nothing of this kind
                    metric.remove(*oldest)


_TENTHS = tuple(number / 10 for number in range(1, 11))
ANSWERS = {
    "presence": ("presence", "Presence of a lesion, of each answer", _TENTHS),
    "mask/area_fraction": (
        "marked_share",
        "Share of the frame that is marked, of each answer",
        (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    ),
    "image/brightness": ("brightness", "Mean of the pictures that were looked at", _TENTHS),
    "image/contrast": (
        "contrast",
        "Standard deviation of the pictures that were looked at",
        (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5),
    ),
    "image/height": ("picture_height", "Pixels", (256, 384, 512, 640, 768, 896, 1024, 2048)),
    "image/width": ("picture_width", "Pixels", (256, 384, 512, 640, 768, 896, 1024, 2048)),
    "support/age_seconds": (
        "support_age_seconds",
        "Age of the support of each answer",
        (60, 3600, 86400, 604800, 2592000, 31536000),
    ),
}
"""Histograms by feature: name, text, buckets."""
