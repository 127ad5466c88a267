"""TLS of the DICOM door, at least 1.2, from the file that the model server takes (PS3.15, annex B: secure transport
connection profiles by BCP 195)."""

import pathlib
import ssl

from serving.models.config_files import ConfigFileError, show_certificate

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
        ConfigFileError: the authority's certificate is none.
    """
    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    show_certificate(context, config)
    if config.custom_ca:
        _trust(context, config.custom_ca, file)
        context.verify_mode = ssl.CERT_REQUIRED if config.client_verify else ssl.CERT_OPTIONAL
    return context


def client_context(root, config=None):
    """What answers are sent with: the receiver's certificate is checked, its name, too.

    Args:
        root: PEM file of the receiver's authority. config: SSLConfig whose certificate the door shows as its
            own; None: it shows none.

    Raises:
        OSError: no such file. ConfigFileError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, pathlib.Path(root).read_text("utf-8"), root)
    if config is not None:
        show_certificate(context, config)
    return context


def _trust(context, text, file):
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigFileError(f"{file}: {error}; expected an authority's certificate in PEM form.") from None
