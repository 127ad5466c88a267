"""The server process: flags, port, health, end."""

import argparse
import logging
import signal
import sys
import threading
from concurrent import futures

log = logging.getLogger("serving")
UNLIMITED = -1


def parse_flags(argv=None):
    """Flags under the names of tensorflow_model_server."""
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serves a SavedModel over TensorFlow Serving's gRPC API.", allow_abbrev=False
    )
    parser.add_argument("--port", type=int, default=8500, help="gRPC port; 0 takes a free one")
    parser.add_argument("--rest_api_port", type=int, help="REST port; 0 takes a free one; none without it")
    parser.add_argument("--rest_api_timeout_in_ms", type=int, default=30000, help="for a client to send its request")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 opens the server to the network")
    parser.add_argument("--model_name", default="panet")
    parser.add_argument(
        "--model_base_path", help="folder with a numbered folder for each version; the shipped preset of panet_keras without it"
    )
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0, help="0 looks for versions once")
    parser.add_argument("--grpc_max_threads", type=int, default=8)
    parser.add_argument(
        "--grpc_channel_arguments",
        default="",
        help="comma-separated, such as grpc.max_receive_message_length=4194304; message sizes are unlimited by default",
    )
    flags = parser.parse_args(argv)
    flags.channel_options = _channel_options(parser, flags.grpc_channel_arguments)
    return flags


def _channel_options(parser, text):
    # Two servers on one port share its clients at random unless SO_REUSEPORT is off (grpc#16920).
    options = {"grpc.so_reuseport": 0, "grpc.max_receive_message_length": UNLIMITED, "grpc.max_send_message_length": UNLIMITED}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            parser.error(
                f"--grpc_channel_arguments: found {item!r}; expected key=value, such as grpc.max_receive_message_length=4194304"
            )
        options[key.strip()] = int(value) if value.strip().lstrip("-").isdigit() else value.strip()
    return list(options.items())


def create_server(manager, host, port, options=(), threads=8):
    """Builds and binds the gRPC server.

    Args:
        manager: `ModelManager`. host, port: where to listen; port 0 takes a free one. options: gRPC channel arguments.
        threads: requests handled at once.

    Returns:
        The started `grpc.Server`, and its port.

    Raises:
        OSError: the port cannot be bound.
    """
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.prediction_service import ModelService, PredictionService

    server = grpc.server(futures.ThreadPoolExecutor(threads, thread_name_prefix="rpc"), options=list(options))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(manager), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise OSError(f"--port {port}: {host}:{port} cannot be bound; another server may be listening there. Choose another port.")
    server.start()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    return server, bound


def serve(argv=None):
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    flags = parse_flags(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    import pathlib

    if flags.model_base_path is None:
        from serving.default_model import model_base_path

        try:
            flags.model_base_path = model_base_path()
        except OSError as error:
            print(f"serving: {error}", file=sys.stderr)
            return 1
    if not pathlib.Path(flags.model_base_path).is_dir():
        print(
            f"serving: --model_base_path {flags.model_base_path}: no such folder; expected one with version folders 1, 2 ...",
            file=sys.stderr,
        )
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    from serving.model_manager import ModelManager

    manager = ModelManager(flags.model_name, flags.model_base_path, flags.file_system_poll_wait_seconds)
    try:
        server, port = create_server(manager, flags.host, flags.port, flags.channel_options, flags.grpc_max_threads)
        rest, rest_port = None, None
        if flags.rest_api_port is not None:
            from serving.rest import create_rest_server

            timeout = flags.rest_api_timeout_in_ms / 1000
            rest, rest_port = create_rest_server(manager, flags.host, flags.rest_api_port, timeout)
    except OSError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    manager.start()
    print(f"Running gRPC ModelServer at {flags.host}:{port} ...", flush=True)
    if rest:
        print(f"Exporting HTTP/REST API at:{flags.host}:{rest_port} ...", flush=True)
    stop.wait()
    if rest:
        rest.shutdown()
    manager.stop()
    server.stop(grace=10).wait()
    return 0
