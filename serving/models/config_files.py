"""Reads the text files of tensorflow_model_server: models, batching, monitoring, TLS."""

import dataclasses
import os
import pathlib
import ssl
import tempfile

from google.protobuf import text_format

from serving.protos import config_pb2

MONITORING_PATH = "/monitoring/prometheus/metrics"


class ConfigFileError(OSError):
    """A file that cannot be used; names it, what was found and what was expected."""


def read_text(path, message, flag):
    """Parses a protobuf text file into `message`, and returns it.

    Raises:
        ConfigFileError: no such file, or not such a message; names flag, file, line and the known fields.
    """
    try:
        text = pathlib.Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(
            f"--{flag} {path}: {getattr(error, 'strerror', None) or error}; expected a text file."
        ) from None
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        known = ", ".join(field.name for field in message.DESCRIPTOR.fields)
        raise ConfigFileError(
            f"--{flag} {path}: line {error}; expected a {message.DESCRIPTOR.name} in protobuf text form, with the fields {known}."
        ) from None


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are joined; names and defaults of tensorflow_model_server, but for the timeout, which is
    meant for a CPU.

    Attributes:
        max_batch_size: episodes of a joined request. batch_timeout_micros: how long the first request waits
            for others.
        max_enqueued_batches: batches that may wait; beyond it a request is refused with UNAVAILABLE.
        num_batch_threads: batches that run at once.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1


def read_batching(path):
    """`Batching` from a file, or the defaults without one.

    Raises:
        ConfigFileError: unreadable, a number below its least, or a field that is not supported here.
    """
    if not path:
        return Batching()
    message = read_text(path, config_pb2.BatchingParameters(), "batching_parameters_file")
    values = {}
    for field in dataclasses.fields(Batching):
        if message.HasField(field.name):
            value = getattr(message, field.name).value
            least = 0 if field.name == "batch_timeout_micros" else 1
            if value < least:
                raise ConfigFileError(
                    f"--batching_parameters_file {path}: {field.name} is {value}; expected at least {least}."
                )
            values[field.name] = value
    if message.allowed_batch_sizes and message.allowed_batch_sizes[-1] != values.get(
        "max_batch_size", Batching.max_batch_size
    ):
        raise ConfigFileError(
            f"--batching_parameters_file {path}: the last of allowed_batch_sizes is {message.allowed_batch_sizes[-1]}; expected "
            "max_batch_size. (The graph takes any size; the list is checked and not used.)"
        )
    return Batching(**values)


def read_monitoring(path):
    """URL path of the metrics, or None when they are off.

    Raises:
        ConfigFileError: unreadable, or a path that does not begin with a slash.
    """
    if not path:
        return None
    config = read_text(path, config_pb2.MonitoringConfig(), "monitoring_config_file").prometheus_config
    url = config.path or MONITORING_PATH
    if not url.startswith("/"):
        raise ConfigFileError(
            f"--monitoring_config_file {path}: path is {url!r}; expected one that begins with '/'."
        )
    return url if config.enable else None


def read_ssl(path):
    """SSLConfig (keys and certificates inside it, PEM) from a file, or None without one.

    Raises:
        ConfigFileError: unreadable, a key or certificate is missing or no PEM, they do not belong together, or
            client_verify without custom_ca.
    """
    if not path:
        return None
    config = read_text(path, config_pb2.SSLConfig(), "ssl_config_file")
    for name in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, name):
            raise ConfigFileError(
                f"--ssl_config_file {path}: {name} is no PEM text; expected its content, not its path."
            )
    if config.client_verify and "-----BEGIN" not in config.custom_ca:
        raise ConfigFileError(
            f"--ssl_config_file {path}: client_verify needs custom_ca, the PEM text of the clients' authority."
        )
    try:
        show_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigFileError(
            f"--ssl_config_file {path}: {error}; expected server_key without a password, and server_cert with its certificate first."
        ) from None
    except OSError:  # a container that may write nowhere: who uses the file will see
        pass
    return config


def show_certificate(context, config):
    """Gives an `ssl.SSLContext` key and certificate of an SSLConfig.

    Raises:
        ssl.SSLError, ValueError: they are none, or do not belong together.
    """
    # The ssl module takes them as files alone.
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / name for name in ("chain.pem", "key.pem")]
        for path, text in zip(paths, (config.server_cert, config.server_key)):
            path.write_text(text, "utf-8")
        context.load_cert_chain(*paths, password=lambda: "")


def read_credentials(path):
    """`grpc.ServerCredentials` from an SSLConfig file, or None without a file.

    Raises:
        ConfigFileError: as `read_ssl`.
    """
    config = read_ssl(path)
    if config is None:
        return None
    import grpc

    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
