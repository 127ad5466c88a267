"""Prometheus metrics under the names of tensorflow_model_server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = tuple(10 * 1.8**i for i in range(33))
"""Microseconds, the exponential buckets of TensorFlow Serving's latency."""


class Metrics:
    """Requests, their latency and the models' versions."""

    def __init__(self):
        self.registry = CollectorRegistry()
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

    def note(self, core, model, status, seconds):
        """Counts a request."""
        # Names that clients invent must not become time series.
        model = model if model in core.managers else ""
        self._count.labels(model, status).inc()
        self._latency.labels(model).observe(seconds * 1e6)

    def text(self, core):
        """The metrics in Prometheus' text form, bytes."""
        self._versions.clear()
        for name, manager in list(core.managers.items()):
            for number in manager.available():
                self._versions.labels(name, number).set(1)
        return generate_latest(self.registry)
