"""The command line: flags under the names of tensorflow_model_server, every one of them honoured or answered
with a line."""

import argparse
import importlib.metadata
import logging
import os
import re

log = logging.getLogger("serving")
UNLIMITED = -1
MAX_MESSAGE = 1 << 28
"""Bytes; ten supports of 606 x 856 pixels as float32 are 62 MB."""
QUEUE = 64
"""Requests that may be at work or wait at once."""

WITHOUT_EFFECT = {
    "num_load_threads": "versions of one model load one after the other",
    "num_unload_threads": "a version is given up after its last request, in no thread of its own",
    "flush_filesystem_caches": "the operating system decides",
    "tensorflow_session_config_file": "there is no session; use --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism",
    "use_alts_credentials": "ALTS is for Google Cloud; use --ssl_config_file",
    "platform_config_file": "the one platform is TensorFlow",
    "per_process_gpu_memory_fraction": "TensorFlow takes GPU memory as it needs it",
    "remove_unused_fields_from_bundle_metagraph": "the loader keeps none",
    "prefer_tflite_model": "SavedModels alone are served",
    "num_tflite_pools": "SavedModels alone are served",
    "num_tflite_interpreters_per_pool": "SavedModels alone are served",
    "enable_signature_method_name_check": "the check is always on: Classify and Regress need signatures of their own",
    "xla_cpu_compilation_enabled": "graphs run as they were exported; set TF_XLA_FLAGS for XLA",
    "xla_gpu_compilation_enabled": "graphs run as they were exported; set TF_XLA_FLAGS for XLA",
    "enable_profiler": "there is no profiler service; use --monitoring_config_file for metrics",
    "thread_pool_factory_config_file": "TensorFlow's own thread pools are used",
    "mixed_precision": 'graphs run as they were exported; export with weights_dtype="float16" for smaller ones',
    "skip_initialize_tpu": "no TPU is used",
    "enable_grpc_healthcheck_service": "the health service is always on",
    "enable_serialization_as_tensor_content": "answers are always sent as tensor_content",
    "enable_per_model_batching_parameters": "--batching_parameters_file holds for every model",
}
"""Flags of tensorflow_model_server that change nothing here, and why."""


def parse_flags(argv=None):
    """Flags of the server; `--host`, `--support_dir`, `--support_size`, `--max_queued_requests`,
    `--require_signature`, `--audit_log*` and `--statistics_*` are our own.

    Flags without an effect here are accepted, and a line in the log says so for each (`WITHOUT_EFFECT`).
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serves SavedModels over TensorFlow Serving's gRPC and REST APIs.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    _add_flag(add, "version", False, "print the versions and exit")
    add("--port", type=_port, default=8500, help="gRPC port; 0 takes a free one")
    add("--grpc_socket_path", default="", help="UNIX socket on which gRPC listens, too")
    add("--rest_api_port", type=_port, help="REST port; 0 takes a free one; none without it")
    add(
        "--rest_api_num_threads",
        type=_count,
        default=4 * (os.cpu_count() or 1),
        help="REST requests that are answered at once",
    )
    add("--rest_api_timeout_in_ms", type=_count, default=30000, help="for a client to send its request")
    _add_flag(add, "rest_api_enable_cors_support", False, "let pages of other origins ask")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 (IPv4) or :: (both) opens the server to the network",
    )
    add("--model_name", default="panet")
    add(
        "--model_base_path",
        help="folder with a numbered folder for each version; the shipped preset of panet_keras without it",
    )
    add("--model_config_file", help="text file with a ModelServerConfig; in place of the two flags above")
    add("--model_config_file_poll_wait_seconds", type=float, default=0.0, help="0 reads the file once")
    add("--file_system_poll_wait_seconds", type=float, default=1.0, help="0 looks for versions once")
    add(
        "--max_num_load_retries",
        type=_number,
        default=5,
        help="times that a failed load is tried again; at once when its files change",
    )
    add("--load_retry_interval_micros", type=_number, default=60_000_000, help="pause before each")
    for name in (
        "allow_version_labels_for_unavailable_models",
        "force_allow_any_version_labels_for_unavailable_models",
    ):
        _add_flag(add, name, False, "a label may name a version that does not serve (yet)")
    add("--saved_model_tags", default="serve", help="comma-separated, of the graph in the SavedModel")
    _add_flag(add, "enable_model_warmup", True, "replay the warm-up requests of a version before it serves")
    add(
        "--num_request_iterations_for_warmup",
        type=int,
        default=0,
        help="times that each is replayed; used when above 0",
    )
    add(
        "--tensorflow_session_parallelism",
        type=int,
        default=0,
        help="threads for both of the following; 0: as many as cores",
    )
    add("--tensorflow_intra_op_parallelism", type=int, default=0, help="threads inside one operation")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, help="operations at once")
    _add_flag(add, "enable_batching", False, "join requests that wait at the same time")
    add("--batching_parameters_file", help="text file with BatchingParameters; needs --enable_batching")
    add("--monitoring_config_file", help="text file with a MonitoringConfig; metrics are on the REST port")
    add("--ssl_config_file", help="text file with an SSLConfig; gRPC speaks TLS then")
    add("--grpc_max_threads", type=_count, default=8, help="requests that are answered at once")
    add(
        "--max_queued_requests",
        type=_count,
        default=QUEUE,
        help="more at once are refused with RESOURCE_EXHAUSTED",
    )
    add("--support_dir", help="folder of named support sets: folders of x.png and x_mask.png, and normals/")
    add(
        "--support_size",
        type=_count,
        nargs=2,
        metavar=("H", "W"),
        help="their size for the model; the model's own without it",
    )
    add(
        "--require_signature",
        metavar="PUBLIC_KEY",
        help="PEM file; a version that is not signed with its private key, or was altered since, is not served",
    )
    add(
        "--audit_log",
        help="file to which a JSON line is appended for each answer, without picture and name (docs/how-to/operators.md)",
    )
    add("--audit_log_max_bytes", type=_count, default=100_000_000, help="of a file, before the next begins")
    add("--audit_log_files", type=_count, default=10, help="full files that are kept as AUDIT_LOG.1, .2 ...")
    add(
        "--statistics_dir",
        help="folder for statistics of what was asked, without picture and name; `python -m pipeline drift` reads them",
    )
    add("--statistics_period_secs", type=_count, default=3600, help="of one file of statistics")
    add("--statistics_files", type=_count, default=720, help="files of a version that are kept")
    add(
        "--grpc_channel_arguments",
        default="",
        help=f"comma-separated, such as grpc.max_receive_message_length=4194304; {MAX_MESSAGE} bytes by default, -1 has no limit",
    )
    group = parser.add_argument_group("flags of tensorflow_model_server without an effect here")
    for name, reason in WITHOUT_EFFECT.items():
        group.add_argument(f"--{name}", nargs="?", const="true", help=reason)
    flags = parser.parse_args(argv)
    if flags.version:
        print(versions())
        parser.exit(0)
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file needs --enable_batching")
    if flags.monitoring_config_file and flags.rest_api_port is None:
        parser.error("--monitoring_config_file needs --rest_api_port: the metrics are served there")
    if flags.require_signature and not (flags.model_base_path or flags.model_config_file):
        parser.error(
            "--require_signature needs --model_base_path or --model_config_file: the shipped model is not signed"
        )
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        parser.error(f"--port and --rest_api_port are both {flags.port}; each needs one of its own")
    flags.channel_options = _channel_options(parser, flags.grpc_channel_arguments)
    return flags


def warn_without_effect(flags):
    """Logs a line for each given flag that changes nothing here."""
    for name, reason in WITHOUT_EFFECT.items():
        value = getattr(flags, name)
        if value is not None:
            log.warning("--%s=%s has no effect here: %s", name, value, reason)


def versions():
    """What `--version` prints."""
    lines = []
    for name, package in (
        ("PANet-BUS ModelServer", "panet-bus"),
        ("TensorFlow Library", "tensorflow"),
        ("gRPC", "grpcio"),
    ):
        try:
            lines.append(f"{name}: {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name}: not an installed package")
    return "\n".join(lines)


def _add_flag(add, name, default, text):
    add(f"--{name}", type=_flag, nargs="?", const=True, default=default, metavar="BOOL", help=text)


def _flag(text):
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected true or false")
    return text.lower() in ("true", "1")


def _port(text):
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a port from 0 to 65535")
    return int(text)


def _count(text):
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number of at least 1")
    return int(text)


def _number(text):
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number of at least 0")
    return int(text)


def _channel_options(parser, text):
    # Two servers on one port share its clients at random unless SO_REUSEPORT is off (grpc#16920).
    options = {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": MAX_MESSAGE,
        "grpc.max_send_message_length": UNLIMITED,
    }
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            parser.error(
                f"--grpc_channel_arguments: found {item!r}; expected key=value, such as grpc.max_receive_message_length=4194304"
            )
        options[key.strip()] = int(value) if re.fullmatch(r"\s*-?[0-9]+\s*", value) else value.strip()
    return list(options.items())
