"""OpenTelemetry's SDK, set up as its standard environment variables say; see `serving.tracing`."""

import importlib.metadata
import logging
import math
import os
import time

EXPORTERS = "opentelemetry_traces_exporter"
"""Group of entry points by which packages offer exporters."""
PROTOCOLS = {
    "http/protobuf": ("otlp_proto_http", "opentelemetry-exporter-otlp-proto-http"),
    "http/json": ("otlp_json_http", "opentelemetry-exporter-otlp-json-http"),
    "grpc": ("otlp_proto_grpc", "opentelemetry-exporter-otlp-proto-grpc"),
}
"""Of OTLP: exporter and package. Where the environment names none, the first that is installed: the two over
HTTP share their endpoint."""
JSON = "http/json"
"""It needs no protobuf, of which the others want a newer one than TensorFlow 2.16 allows."""
QUIET = 3600.0
"""Seconds in which a module of the SDK is heard once."""


def _environment(*names):
    """The first of the variables that is set, or ""."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), "")


def wanted():
    """Names of exporters that the environment asks for."""
    names = _environment("OTEL_TRACES_EXPORTER")
    if not names and _environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        names = "otlp"
    names = [name.strip() for name in names.split(",")]
    if _environment("OTEL_SDK_DISABLED").lower() == "true" or "none" in map(str.lower, names):
        return []
    return [name for name in names if name]


def make_provider(service, names, log):
    """Tracer provider of the SDK, which reads the other variables itself; None where no exporter is left."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    sdk = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Warnings) for handler in sdk.handlers):
        sdk.addHandler(_Warnings(log))
        sdk.propagate = False
    exporters = []
    for name in names:
        try:
            exporters.append(_exporter(name))
        except Exception as error:
            log.warning("tracing: %s Spans do not go there; everything else goes on.", error)
    if not exporters:
        return None
    said = Resource.create().attributes.get(SERVICE_NAME, "unknown_service")
    named = Resource.create({SERVICE_NAME: service} if said.startswith("unknown_service") else None)
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    for exporter in exporters:
        # It has a thread and a queue of its own: a slow exporter costs spans, not time.
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(name):
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=EXPORTERS)}
    chosen, said = name, f"OTEL_TRACES_EXPORTER={name}"
    mend = f"expected otlp, none or one that is installed: {', '.join(sorted(entries))}."
    if name == "otlp":
        protocol = _environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        if protocol and protocol not in PROTOCOLS:
            raise ValueError(
                f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: no such protocol; expected {', '.join(PROTOCOLS)}."
            )
        among = [protocol] if protocol else list(PROTOCOLS)
        chosen = next((PROTOCOLS[p][0] for p in among if PROTOCOLS[p][0] in entries), None)
        said = f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}" if protocol else said
        mend = f"pip install {PROTOCOLS[protocol or JSON][1]}"
        mend += f", or choose {JSON}." if protocol not in ("", JSON) else "."
    if chosen not in entries:
        raise ValueError(f"{said}: its exporter is not installed; {mend}")
    try:
        return entries[chosen].load()()
    except Exception as error:
        raise ValueError(f"{said}: {type(error).__name__}: {str(error).rstrip('.')}.") from error


class _Warnings(logging.Handler):
    """What the SDK says of endpoints that are away, now and then: it would say so for every batch."""

    def __init__(self, log):
        super().__init__(logging.WARNING)
        self.log, self.heard = log, {}

    def emit(self, record):
        now = time.monotonic()
        if now - self.heard.get(record.name, -math.inf) < QUIET:
            return
        self.heard[record.name] = now
        error = f" ({record.exc_info[1]})" if record.exc_info else ""
        self.log.warning(
            "tracing: %s%s Spans may be lost; everything else goes on.", record.getMessage(), error
        )
