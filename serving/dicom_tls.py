"""TLS of the DICOM door, at least 1.2, from the file that the model server takes (PS3.15, annex B: secure transport
connection profiles by BCP 195)."""

import pathlib
import ssl
import tempfile

from serving.models.config_files import ConfigFileError

HANDSHAKE = 20.0
"""Seconds that a sender may let the door wait within a message."""


class _ServerContext(ssl.SSLContext):
    """Leaves the handshake to the thread of the connection: in the one that accepts connections, as pynetdicom
    has it, a sender that says nothing would keep all others out."""

    def wrap_socket(self, sock, **options):
        sock.settimeout(HANDSHAKE)
        return super().wrap_socket(sock, **{**options, "do_handshake_on_connect": False})


def server_context(config, file):
    """What the door speaks TLS with.

    Args:
        config: SSLConfig of `serving.models.config_files.read_ssl`: key, certificate chain, and the authority
            of clients' certificates; with `client_verify` a client without one is refused, without it one
            that shows a certificate of another authority. file: what to call it in an error.

    Raises:
        ConfigFileError: key and certificate are none, or do not belong together.
    """
    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, config, file)
    if config.custom_ca:
        _trust(context, config.custom_ca, file)
        context.verify_mode = ssl.CERT_REQUIRED if config.client_verify else ssl.CERT_OPTIONAL
    return context


def client_context(root, config=None, file=""):
    """What answers are sent with: the receiver's certificate is checked, its name, too.

    Args:
        root: PEM file of the receiver's authority. config: SSLConfig whose certificate the door shows as its
            own; None: it shows none. file: of that.

    Raises:
        OSError: no such file. ConfigFileError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, pathlib.Path(root).read_text("utf-8"), root)
    if config is not None:
        _show(context, config, file)
    return context


def _show(context, config, file):
    # The ssl module takes key and certificate as files alone.
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / name for name in ("chain.pem", "key.pem")]
        for path, text in zip(paths, (config.server_cert, config.server_key)):
            path.write_text(text, "utf-8")
        try:
            context.load_cert_chain(*paths, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            raise ConfigFileError(
                f"--ssl_config_file {file}: {error}; expected server_key without a password, and server_cert with its certificate first."
            ) from None


def _trust(context, text, file):
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigFileError(f"{file}: {error}; expected an authority's certificate in PEM form.") from None
