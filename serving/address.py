"""Hosts and ports as people write them: IPv4, IPv6 with and without brackets, names."""

import errno
import socket


def bare(host):
    """The host without the brackets of an IPv6 address: `[::1]` becomes `::1`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def joined(host, port):
    """`HOST:PORT`, an IPv6 address in brackets."""
    host = bare(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(host, port):
    """Family and socket address to listen on.

    Raises:
        OSError: the name or address is unknown.
    """
    family, _, _, _, address = socket.getaddrinfo(
        bare(host) or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return family, address


def refusal(flag, host, port, error=None):
    """OSError that says why nothing can listen there, and which flag to change.

    Args:
        flag: of the port, such as `"port"`. host, port: what was tried. error: OSError of the attempt; None
            tries once more to find the reason.
    """
    error = error or _attempt(host, port)
    where = f"--{flag} {port}: {joined(host, port)} cannot be bound"
    if isinstance(error, socket.gaierror):
        return OSError(
            f"--host {host}: {error.strerror}; expected an address of this machine, such as 127.0.0.1, 0.0.0.0 or ::."
        )
    number = error.errno if error else errno.EADDRINUSE
    if number == errno.EADDRINUSE:
        return OSError(f"{where}; another server may be listening there. Choose another port.")
    if number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return OSError(
            f"--host {host}: this machine has no such address ({error.strerror}); 0.0.0.0 or :: takes all it has."
        )
    if number == errno.EACCES:
        return OSError(f"{where}: {error.strerror}; ports below 1024 need the right to. Choose another port.")
    return OSError(f"{where}: {error.strerror}.")


def check_free(flag, host, port):
    """Refuses what cannot be bound at once, before anything slow is imported.

    Raises:
        OSError: as `refusal`.
    """
    error = _attempt(host, port)
    if error:
        raise refusal(flag, host, port, error)


def _attempt(host, port):
    """The OSError of binding there, or None where it works."""
    try:
        family, address = resolve(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
    except OSError as error:
        return error
    return None
