"""OpenTelemetry spans, where somebody asks for them: from a client's call to TensorFlow on one trace.

Nothing of OpenTelemetry is imported, and a span costs a look into a dictionary, until the standard
environment variables ask for traces (`start`), or the program that uses `Client` traces itself.

A span holds no picture, no name of a file or person, and no error's message, for that may quote one. Names of
attributes follow OpenTelemetry's semantic conventions for RPC and HTTP; our own begin with `panet.`.
"""

import contextlib
import functools
import logging
import math
import sys
import threading

SCOPE = "panet-bus"
OFF = contextlib.nullcontext()
INSTALL = "pip install opentelemetry-sdk opentelemetry-exporter-otlp-json-http"
ASKED = {"Predict", "Classify", "Regress", "MultiInference", "ModelInfer"}
"""RPCs that have a span; probes ask all the time, and are none."""
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Status codes that are a server's own fault (semantic conventions for gRPC)."""
_own = None


def start(service, log):
    """Traces from here on, where the environment asks: OTEL_TRACES_EXPORTER, or an endpoint of OTLP.

    What is wrong there is a warning, and never an error. Where the application has a tracer provider already
    (`opentelemetry-instrument`), that one stays.

    Args:
        service: name of this process where OTEL_SERVICE_NAME says none. log: logger of the warnings.
    """
    from .tracing_sdk import make_provider, wanted

    names = wanted()
    if not names or _own:
        return
    try:
        from opentelemetry import propagate, trace  # noqa: F401

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            use(make_provider(service, names, log))
            if _own:
                log.info("tracing: spans go to %s", ", ".join(names))
    except ImportError as error:
        log.warning("tracing: %s. Nothing is traced; to trace: %s", error, INSTALL)
    except Exception as error:  # whatever a variable or an exporter does, requests are answered
        log.warning("tracing: %s. Nothing is traced; everything else goes on.", str(error).rstrip("."))
    for handler in logging.getLogger().handlers:
        handler.addFilter(_name_trace)


def use(provider):
    """Takes the spans to a tracer provider; None ends that."""
    global _own
    _own = provider and (provider, provider.get_tracer(SCOPE))


def stop(seconds=3.0):
    """Sends what is left, for `seconds` at most; an exporter that hangs is left behind."""
    if _own:
        provider, _ = _own
        use(None)
        # A process of which this is the last act does not wait for a daemon.
        thread = threading.Thread(target=provider.shutdown, name="tracing", daemon=True)
        thread.start()
        thread.join(seconds)


def span(name, kind="INTERNAL", start=None, **attributes):
    """Context manager: a span below the one at hand. It notes which error passes through it, by its kind.

    Args:
        name: of few kinds; what differs from request to request is an attribute. kind: of
            `opentelemetry.trace.SpanKind`. start: nanoseconds since 1970, where it began before now.
        attributes: without their `panet.`; None is left out.
    """
    tracer = _tracer()
    return _noting(tracer, name, kind, start, _named(attributes)) if tracer else OFF


def stage(name, **attributes):
    """As `span`, where the span at hand is recorded; else nothing, for what a probe does is no trace."""
    return span(name, **attributes) if _recorded() else OFF


def traced(name):
    """Decorator: each call is a `span`."""

    def wrap(function):
        @functools.wraps(function)
        def call(*arguments, **options):
            with span(name):
                return function(*arguments, **options)

        return call

    return wrap


def past(name, start, end, **attributes):
    """A span below the one at hand of what is over; start and end in nanoseconds since 1970."""
    tracer = _tracer()
    if tracer and _recorded():
        tracer.start_span(name, start_time=start, attributes=_named(attributes)).end(end)


def note(**attributes):
    """Attributes of the span at hand, without their `panet.`; None is left out."""
    found = _recorded()
    if found:
        found.set_attributes(_named(attributes))


def trace_id():
    """32 hexadecimal digits of the trace at hand, also of one that the sampler leaves out; None where nobody
    traces."""
    api = sys.modules.get("opentelemetry.trace") if _tracer() else None
    found = api and api.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found and found.is_valid else None


def counts(inputs):
    """Numbers of pictures in a request: `images` that are asked about, and `supports`.

    Args:
        inputs: dictionary of alias to array or tensor, query_* [B, Q, ...] and support_images [B, N, K, ...].
    """
    axes = {"query_images": ("images", 2), "query_bytes": ("images", 2), "support_images": ("supports", 3)}
    return {
        axes[alias][0]: math.prod(map(int, value.shape[: axes[alias][1]]))
        for alias, value in inputs.items()
        if alias in axes and hasattr(value, "shape")
    }


def call(method, **attributes):
    """Context manager: a client's span of an RPC, such as "/tensorflow.serving.PredictionService/Predict"."""
    tracer = _tracer()
    return _noting(tracer, method[1:], "CLIENT", None, _rpc(method) | _named(attributes)) if tracer else OFF


def outgoing():
    """Metadata, pairs of name and value, that puts an RPC on the trace at hand (W3C traceparent)."""
    if not _tracer() or not _propagate():
        return ()
    carrier = {}
    _propagate().inject(carrier)
    return tuple((name.lower(), value) for name, value in carrier.items())


def interceptors():
    """For `grpc.server`: a span for each RPC that asks a model; none where nobody traces."""
    if not _tracer():
        return ()
    import grpc

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            handler, tracer = continuation(details), _tracer()
            name = details.method.rpartition("/")[2]
            if not tracer or name not in ASKED or not (handler and handler.unary_unary):
                return handler

            def answer(request, context):
                code, headers = "UNKNOWN", details.invocation_metadata
                with _begun(tracer, details.method[1:], "SERVER", headers, _rpc(details.method)) as begun:
                    try:
                        response = handler.unary_unary(request, context)
                        code = "OK"
                        return response
                    finally:
                        code = context.code().name if context.code() else code
                        begun.set_attribute("rpc.response.status_code", code)
                        if code in FAULTS:
                            _fail(begun, code)

            return grpc.unary_unary_rpc_method_handler(
                answer, handler.request_deserializer, handler.response_serializer
            )

    return (Interceptor(),)


def http_request(method, route, headers):
    """Context manager: a server's span of a request; `route` is the path without what a client chose."""
    tracer = _tracer()
    if not tracer:
        return OFF
    attributes = {"http.request.method": method, "http.route": route, "url.scheme": "http"}
    return _begun(tracer, f"{method} {route}", "SERVER", headers.items(), attributes)


def http_status(code):
    """Notes the status code that a request is answered with."""
    found = _recorded()
    if found:
        found.set_attribute("http.response.status_code", code)
        if code >= 500:
            _fail(found, str(code))


def _tracer():
    if _own:
        return _own[1]
    # An application that traces has imported it; a library never sets a provider up.
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api.get_tracer(SCOPE)


def _recorded():
    """The span at hand, or None where it is not recorded."""
    api = sys.modules.get("opentelemetry.trace")
    found = api.get_current_span() if api else None
    return found if found and found.is_recording() else None


@functools.cache
def _propagate():
    try:
        from opentelemetry import propagate
    except Exception:  # OTEL_PROPAGATORS names one that is not installed; `start` has said so
        return None
    return propagate


def _begun(tracer, name, kind, headers=None, attributes=None, start=None):
    """headers: (name, value) pairs of a request, whose sender's span is the parent if they name one."""
    from opentelemetry.trace import SpanKind

    parent = None
    if headers is not None and _propagate():
        parent = _propagate().extract({n.lower(): value for n, value in headers if isinstance(value, str)})
    # Messages and tracebacks of exceptions would quote what a client sent.
    return tracer.start_as_current_span(
        name,
        parent,
        SpanKind[kind],
        attributes,
        start_time=start,
        record_exception=False,
        set_status_on_exception=False,
    )


@contextlib.contextmanager
def _noting(tracer, name, kind, start, attributes):
    with _begun(tracer, name, kind, None, attributes, start) as begun:
        try:
            yield begun
        except BaseException as error:
            # A gRPC status says more than the class that carries it.
            _fail(begun, getattr(getattr(error, "code", None), "name", type(error).__name__))
            raise


def _fail(begun, kind):
    from opentelemetry.trace import StatusCode

    begun.set_attribute("error.type", kind)
    begun.set_status(StatusCode.ERROR)


def _named(attributes):
    return {f"panet.{name}": value for name, value in attributes.items() if value is not None}


def _rpc(method):
    return {"rpc.system.name": "grpc", "rpc.method": method[1:]}


def _name_trace(record):
    """Filter of log handlers that puts the trace at hand before a line."""
    found = _recorded()
    if found and not hasattr(record, "trace_id"):
        record.trace_id = f"{found.get_span_context().trace_id:032x}"
        record.msg = f"[trace_id={record.trace_id}] {record.msg}"
    return True
