"""The server process: ports, health, start and end.

start ──> ports bound, NOT_SERVING ──> every model loaded and warm ──> SERVING ──SIGTERM──> NOT_SERVING, ──>
exit 0
  │                  │                      "Running gRPC ModelServer"                     requests in
  └──────────────────┴── SIGTERM: exit 0 at once                                           flight answered
"""

import dataclasses
import logging
import os
import pathlib
import signal
import sys
import threading

from serving import tracing
from serving.address import bare, check_free, joined, refusal
from serving.flags import QUEUE, parse_flags, warn_without_effect
from serving.logs import without_traceback
from serving.models import memory

log = logging.getLogger("serving")
GRACE = 20.0
"""Seconds that requests in flight have at the end; Kubernetes kills after 30."""
LIVENESS = "liveness"
"""Service name for gRPC health checks that ask whether the process answers, not whether its models do."""


def create_server(
    predictions, host, port, options=(), threads=8, queue=QUEUE, credentials=None, socket_path=""
):
    """Builds, binds and starts the gRPC server.

    Args:
        predictions: `PredictionService`. host, port: where to listen; port 0 takes a free one. options: gRPC
            channel arguments.
        threads: predictions made at once. queue: predictions at work or waiting, beyond which more are refused
            with RESOURCE_EXHAUSTED (`serving.api.rpc_queue`). credentials: `grpc.ServerCredentials`, or None for plain text.
            socket_path: of a UNIX socket to listen on, too.

    Returns:
        The started `grpc.Server`, and its port. Its health service says what `ServerCore.is_ready` says, for
        the server ("") and for each service by name; `LIVENESS` is always SERVING.

    Raises:
        OSError: the port or socket cannot be bound.
    """
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.api.open_inference_grpc import SERVICE, OpenInferenceService, ReflectionPool
    from serving.api.prediction_service import ModelService
    from serving.api.rpc_queue import PROBES, Queue

    waiting = Queue(threads, queue, predictions.refused)
    server = grpc.server(
        waiting.pool,
        options=list(options),
        maximum_concurrent_rpcs=queue + PROBES,
        interceptors=(waiting, *tracing.interceptors()),
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictions.core), server)
    OpenInferenceService(predictions).add_to(server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    services = (
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        SERVICE,
        health.SERVICE_NAME,
    )
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server, pool=ReflectionPool())

    updating = threading.Lock()

    def update():
        # Of two changes at a time the later must not be overwritten by the earlier.
        with updating:
            ready = predictions.core.is_ready()
            for service in ("", *services):
                answer = health_pb2.HealthCheckResponse
                healthy.set(service, answer.SERVING if ready else answer.NOT_SERVING)

    healthy.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    predictions.core.listeners.append(update)
    update()

    def listen(address):
        try:
            return (
                server.add_secure_port(address, credentials)
                if credentials
                else server.add_insecure_port(address)
            )
        except RuntimeError:
            return 0

    bound = listen(joined(host, port))
    if not bound:
        if credentials:
            check_free("port", host, port)
            raise OSError(
                "--ssl_config_file: gRPC takes no certificate of this kind; expected RSA or ECDSA in PEM form."
            )
        raise refusal("port", host, port)
    if socket_path and not listen(f"unix:{os.path.abspath(socket_path)}"):
        raise OSError(
            f"--grpc_socket_path {socket_path}: cannot be bound; expected a path of at most 107 bytes in a folder that is there, "
            "and no other server on it."
        )
    server.start()
    return server, bound


def create_core(flags):
    """The `ServerCore` that the flags describe, its models not yet loaded where `--model_base_path` names
    one.

    Raises:
        OSError: a folder or file that the flags name is missing or wrong.
        SignatureError: `--require_signature` names no public key, or signatures cannot be checked here.
    """
    from serving.models.model_manager import LoadOptions, ModelManager
    from serving.models.server_core import ServerCore
    from serving.models.support_sets import SupportSets

    on_load = None
    if flags.support_dir:
        if not pathlib.Path(flags.support_dir).is_dir():
            raise OSError(
                f"--support_dir {flags.support_dir}: no such folder; expected one with a folder for each support set."
            )
        on_load = SupportSets(flags.support_dir, flags.support_size).encode
    check = None
    if flags.require_signature:
        from serving.models.signatures import SignatureCheck

        check = SignatureCheck(flags.require_signature)
    options = LoadOptions(
        tuple(filter(None, flags.saved_model_tags.split(","))),
        flags.enable_model_warmup,
        max(1, flags.num_request_iterations_for_warmup),
        flags.max_num_load_retries,
        flags.load_retry_interval_micros / 1e6,
        check,
    )
    any_label = (
        flags.allow_version_labels_for_unavailable_models
        or flags.force_allow_any_version_labels_for_unavailable_models
    )
    poll = flags.file_system_poll_wait_seconds
    core = ServerCore((), poll, on_load, options, any_label)
    if flags.model_config_file:
        return core
    base = flags.model_base_path
    if base is None:
        from serving.models.default_model import model_base_path

        base = model_base_path()
    if not pathlib.Path(base).is_dir():
        raise OSError(f"--model_base_path {base}: no such folder; expected one with version folders 1, 2 ...")
    core.add(ModelManager(flags.model_name, base, poll, on_load=on_load, options=options))
    return core


def create_statistics(flags, metrics):
    """The `Statistics` that the flags describe, in the metrics, too, where there are any.

    Raises:
        OSError: the folder cannot be made, or a package is missing.
    """
    from serving.api.statistics import Statistics

    try:
        return Statistics(
            flags.statistics_dir,
            flags.statistics_period_secs,
            flags.statistics_files,
            metrics.answers if metrics else None,
        )
    except ImportError:
        raise OSError(
            "--statistics_dir needs the package tensorflow-metadata: pip install 'tensorflow-metadata>=1.16.1'"
        ) from None
    except OSError as error:
        raise OSError(
            f"--statistics_dir {flags.statistics_dir}: cannot be made ({error.strerror})."
        ) from None


@dataclasses.dataclass
class _Running:
    """What listens: the gRPC server and its port, the REST server and its port (None without one), and the
    `ServerCore`; and who is told of each answer."""

    core: object
    grpc: object
    port: int
    rest: object
    rest_port: int | None
    observers: list = dataclasses.field(default_factory=list)


def _listen(flags):
    from serving.models.config_files import read_batching, read_credentials, read_monitoring

    core = create_core(flags)
    batching = read_batching(flags.batching_parameters_file) if flags.enable_batching else None
    metrics_path, credentials = (
        read_monitoring(flags.monitoring_config_file),
        read_credentials(flags.ssl_config_file),
    )

    from serving.api.batching import Batcher
    from serving.api.monitoring import Metrics
    from serving.api.prediction_service import PredictionService

    observers = []
    if flags.audit_log:
        from serving.api.provenance import AuditLog

        observers.append(AuditLog(flags.audit_log, flags.audit_log_max_bytes, flags.audit_log_files))
    metrics = Metrics() if metrics_path else None
    if flags.statistics_dir:
        observers.append(create_statistics(flags, metrics))
    predictions = PredictionService(core, Batcher(batching) if batching else None, metrics, observers)
    server, port = create_server(
        predictions,
        flags.host,
        flags.port,
        flags.channel_options,
        flags.grpc_max_threads,
        flags.max_queued_requests,
        credentials,
        flags.grpc_socket_path,
    )
    rest = rest_port = None
    if flags.rest_api_port is not None:
        from serving.api.rest import create_rest_server

        rest, rest_port = create_rest_server(
            predictions,
            flags.host,
            flags.rest_api_port,
            flags.rest_api_timeout_in_ms / 1000,
            metrics_path,
            flags.rest_api_num_threads,
            flags.rest_api_enable_cors_support,
        )
    return _Running(core, server, port, rest, rest_port, observers)


def _load(core, flags):
    if flags.model_config_file:
        core.watch_file(flags.model_config_file, flags.model_config_file_poll_wait_seconds)
    else:
        for manager in list(core.managers.values()):
            manager.start()


def _set_threads(flags):
    """TensorFlow's own threads, which can be set before its first operation only."""
    inside = flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism
    beside = flags.tensorflow_inter_op_parallelism or flags.tensorflow_session_parallelism
    if inside or beside:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(inside)
        tf.config.threading.set_inter_op_parallelism_threads(beside)


def serve(argv=None):
    """Runs until SIGTERM or SIGINT; returns the exit code.

    A signal while the server starts raises SystemExit at once: nothing is in flight, and a model may take
    minutes to load.
    """
    flags = parse_flags(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # For each request that is no message.
    logging.getLogger("grpc._common").addFilter(without_traceback)
    tracing.start("panet-serving", log)
    stop = threading.Event()

    def leave(*_):
        stop.set()
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    warn_without_effect(flags)
    failures, loaded = [], threading.Event()

    def load():
        try:
            _load(running.core, flags)
        except Exception as error:
            failures.append(error)
        loaded.set()

    try:
        check_free("port", flags.host, flags.port)
        if flags.rest_api_port is not None:
            check_free("rest_api_port", flags.host, flags.rest_api_port)
        _set_threads(flags)
        running = _listen(flags)
        memory.settle()
        where = joined(flags.host, running.port)
        log.info(
            "listening at %s%s; models load", where, f", REST {running.rest_port}" if running.rest else ""
        )
        threading.Thread(target=load, name="load", daemon=True).start()
        # With a time, for a wait without one is not interrupted everywhere.
        while not loaded.wait(1.0) and not stop.is_set():
            pass
        if stop.is_set():  # some import swallowed the exception
            return 0
        if failures:
            raise failures[0]
    except (OSError, ValueError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"Running gRPC ModelServer at {where} ...", flush=True)
    if running.rest:
        print(f"Exporting HTTP/REST API at:{joined(bare(flags.host), running.rest_port)} ...", flush=True)
    stop.wait()
    running.core.leave()
    ended = running.grpc.stop(GRACE)
    if running.rest:
        running.rest.drain(GRACE)
    ended.wait()
    for observer in running.observers:
        observer.close()
    running.core.stop()
    tracing.stop()
    return 0
