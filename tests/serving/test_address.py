"""Hosts as people write them, and what is said where nothing can listen."""

import socket

import pytest

from serving.address import bare, check_free, joined
from serving.api.rest import create_rest_server
from serving.client import Client
from serving.models.server_core import ServerCore
from serving.server import create_server


@pytest.mark.parametrize(
    ("host", "plain", "address"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8500"),
        ("localhost", "localhost", "localhost:8500"),
        ("::1", "::1", "[::1]:8500"),
        ("[::1]", "::1", "[::1]:8500"),
        ("::", "::", "[::]:8500"),
    ],
)
def test_hosts_and_ports_are_joined(host, plain, address):
    assert (bare(host), joined(host, 8500)) == (plain, address)


def has_ipv6():
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "reached"), [("::1", ["::1"]), ("[::1]", ["::1"]), ("::", ["::1", "127.0.0.1"])]
)
def test_both_ports_listen_on_ipv6(service, ask, host, reached):
    server, port = create_server(service, host, 0)
    rest, rest_port = create_rest_server(service, host, 0)
    for address in reached:
        assert ask(rest_port, "GET", "/readyz", host=address)[0] == 200
        with Client(joined(address, port)) as client:
            assert client.versions() == [(1, 30, "")]
    rest.shutdown()
    rest.server_close()
    server.stop(0)


def test_refusals_name_the_flag_that_is_to_change():
    from serving.api.prediction_service import PredictionService

    service = PredictionService(ServerCore())
    for host, message in (
        ("203.0.113.7", r"--host 203.0.113.7: this machine has no such address"),  # RFC 5737: nobody's
        ("no.such.host.invalid", "--host no.such.host.invalid: .*; expected an address of this machine"),
    ):
        for listen in (create_server, create_rest_server):
            with pytest.raises(OSError, match=message):
                listen(service, host, 0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for flag in ("port", "rest_api_port"):
            with pytest.raises(
                OSError, match=rf"--{flag} {port}: 127.0.0.1:{port} cannot be bound; another server may be"
            ):
                check_free(flag, "127.0.0.1", port)


def test_grpc_listens_on_a_unix_socket_too(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes at most
    server, _ = create_server(service, "127.0.0.1", 0, socket_path="panet.sock")
    with Client("unix:panet.sock") as client:
        assert client.versions() == [(1, 30, "")]
    server.stop(0)
    with pytest.raises(OSError, match="--grpc_socket_path no/folder/x.sock: cannot be bound"):
        create_server(service, "127.0.0.1", 0, socket_path="no/folder/x.sock")
