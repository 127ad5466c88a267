"""The server process: flags, port, health, end."""

import argparse
import logging
import pathlib
import signal
import sys
import threading
from concurrent import futures

log = logging.getLogger("serving")
UNLIMITED = -1
MAX_MESSAGE = 1 << 28
"""Bytes; ten supports of 606 x 856 pixels as float32 are 62 MB."""
QUEUE = 64
"""Requests that may be at work or wait at once."""


def parse_flags(argv=None):
    """Flags under the names of tensorflow_model_server; --host, --support_dir and --max_queued_requests are our own."""
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serves SavedModels over TensorFlow Serving's gRPC and REST APIs.", allow_abbrev=False
    )
    parser.add_argument("--port", type=int, default=8500, help="gRPC port; 0 takes a free one")
    parser.add_argument("--rest_api_port", type=int, help="REST port; 0 takes a free one; none without it")
    parser.add_argument("--rest_api_timeout_in_ms", type=int, default=30000, help="for a client to send its request")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 opens the server to the network")
    parser.add_argument("--model_name", default="panet")
    parser.add_argument(
        "--model_base_path", help="folder with a numbered folder for each version; the shipped preset of panet_keras without it"
    )
    parser.add_argument("--model_config_file", help="text file with a ModelServerConfig; in place of the two flags above")
    parser.add_argument("--model_config_file_poll_wait_seconds", type=float, default=0.0, help="0 reads the file once")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0, help="0 looks for versions once")
    parser.add_argument("--enable_batching", type=_flag, nargs="?", const=True, default=False, metavar="BOOL")
    parser.add_argument("--batching_parameters_file", help="text file with BatchingParameters; needs --enable_batching")
    parser.add_argument("--monitoring_config_file", help="text file with a MonitoringConfig; metrics are on the REST port")
    parser.add_argument("--ssl_config_file", help="text file with an SSLConfig; gRPC speaks TLS then")
    parser.add_argument("--grpc_max_threads", type=int, default=8, help="requests that are answered at once")
    parser.add_argument("--max_queued_requests", type=int, default=QUEUE, help="more at once are refused with RESOURCE_EXHAUSTED")
    parser.add_argument("--support_dir", help="folder of named support sets: folders of x.png and x_mask.png")
    parser.add_argument(
        "--support_size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"), help="their size for the model"
    )
    parser.add_argument(
        "--grpc_channel_arguments",
        default="",
        help=f"comma-separated, such as grpc.max_receive_message_length=4194304; {MAX_MESSAGE} bytes by default, -1 has no limit",
    )
    flags = parser.parse_args(argv)
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file needs --enable_batching")
    if flags.monitoring_config_file and flags.rest_api_port is None:
        parser.error("--monitoring_config_file needs --rest_api_port: the metrics are served there")
    flags.channel_options = _channel_options(parser, flags.grpc_channel_arguments)
    return flags


def _flag(text):
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected true or false")
    return text.lower() in ("true", "1")


def _channel_options(parser, text):
    # Two servers on one port share its clients at random unless SO_REUSEPORT is off (grpc#16920).
    options = {"grpc.so_reuseport": 0, "grpc.max_receive_message_length": MAX_MESSAGE, "grpc.max_send_message_length": UNLIMITED}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            parser.error(
                f"--grpc_channel_arguments: found {item!r}; expected key=value, such as grpc.max_receive_message_length=4194304"
            )
        options[key.strip()] = int(value) if value.strip().lstrip("-").isdigit() else value.strip()
    return list(options.items())


def create_server(predictions, host, port, options=(), threads=8, queue=QUEUE, credentials=None):
    """Builds, binds and starts the gRPC server.

    Args:
        predictions: `PredictionService`. host, port: where to listen; port 0 takes a free one. options: gRPC channel arguments.
        threads: requests answered at once. queue: requests at work or waiting, beyond which more are refused with
            RESOURCE_EXHAUSTED. credentials: `grpc.ServerCredentials`, or None for plain text.

    Returns:
        The started `grpc.Server`, and its port.

    Raises:
        OSError: the port cannot be bound.
    """
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.api.prediction_service import ModelService

    pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="rpc")
    server = grpc.server(pool, options=list(options), maximum_concurrent_rpcs=queue)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictions.core), server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    services = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", health.SERVICE_NAME)
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
    try:
        address = f"{host}:{port}"
        bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise OSError(f"--port {port}: {host}:{port} cannot be bound; another server may be listening there. Choose another port.")
    server.start()
    for service in ("", *services):
        healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    return server, bound


def create_core(flags):
    """The `ServerCore` that the flags describe, its models not yet loaded where `--model_base_path` names one.

    Raises:
        OSError: a folder or file that the flags name is missing or wrong.
    """
    from serving.models.model_manager import ModelManager
    from serving.models.server_core import ServerCore
    from serving.models.support_sets import SupportSets

    on_load = None
    if flags.support_dir:
        if not pathlib.Path(flags.support_dir).is_dir():
            raise OSError(f"--support_dir {flags.support_dir}: no such folder; expected one with a folder for each support set.")
        on_load = SupportSets(flags.support_dir, flags.support_size).encode
    core = ServerCore((), flags.file_system_poll_wait_seconds, on_load)
    if flags.model_config_file:
        return core
    base = flags.model_base_path
    if base is None:
        from serving.models.default_model import model_base_path

        base = model_base_path()
    if not pathlib.Path(base).is_dir():
        raise OSError(f"--model_base_path {base}: no such folder; expected one with version folders 1, 2 ...")
    manager = ModelManager(flags.model_name, base, flags.file_system_poll_wait_seconds, on_load=on_load)
    core.managers[manager.name] = manager
    return core


def serve(argv=None):
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    flags = parse_flags(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    from serving.models.config_files import read_batching, read_credentials, read_monitoring

    try:
        core = create_core(flags)
        batching = read_batching(flags.batching_parameters_file) if flags.enable_batching else None
        metrics_path, credentials = read_monitoring(flags.monitoring_config_file), read_credentials(flags.ssl_config_file)

        from serving.api.batching import Batcher
        from serving.api.monitoring import Metrics
        from serving.api.prediction_service import PredictionService

        predictions = PredictionService(core, Batcher(batching) if batching else None, Metrics() if metrics_path else None)
        server, port = create_server(
            predictions,
            flags.host,
            flags.port,
            flags.channel_options,
            flags.grpc_max_threads,
            flags.max_queued_requests,
            credentials,
        )
        rest, rest_port = None, None
        if flags.rest_api_port is not None:
            from serving.api.rest import create_rest_server

            timeout = flags.rest_api_timeout_in_ms / 1000
            rest, rest_port = create_rest_server(predictions, flags.host, flags.rest_api_port, timeout, metrics_path)
        if flags.model_config_file:
            core.watch_file(flags.model_config_file, flags.model_config_file_poll_wait_seconds)
        else:
            for manager in core.managers.values():
                manager.start()
    except OSError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    print(f"Running gRPC ModelServer at {flags.host}:{port} ...", flush=True)
    if rest:
        print(f"Exporting HTTP/REST API at:{flags.host}:{rest_port} ...", flush=True)
    stop.wait()
    if rest:
        rest.shutdown()
    server.stop(grace=10).wait()
    core.stop()
    return 0
