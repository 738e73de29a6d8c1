"""Handshakes that come slowly, behind a PROXY header, or not at all."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import connect, read_all
from support.daemon import Daemon
from support.hellos import real_hello
from support.nginx import nginx
from support.proxy_headers import v1_line, v2_header
from support.tls_clients import curl, fetch_in_pieces, new_address, record_of
from support.waiting import until

NAME = "web.example"
PROXY = "127.0.0.2"
NAMED_BY_PROXY = "192.0.2.1:56324"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
preread_timeout = "10s"
accept_proxy_protocol = ["127.0.0.2/32"]

[frontends.web.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[frontends.hasty]
listen = "127.0.0.1:0"
pool = "web"
preread_timeout = "1s"
accept_proxy_protocol = ["127.0.0.2/32"]

[frontends.hasty.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.web]
backends = ["{backend}"]
"""

WHOLE, BYTE_BY_BYTE = 1 << 20, 1
SILENT = 1000

pytestmark = pytest.mark.requires("nginx", "curl")


@frozen
class Edge:
    """A balancer that speaks TLS in front of an nginx that does not."""

    daemon: Daemon
    root: Path

    @property
    def port(self) -> int:
        """Where there is time."""
        return self.daemon.ports["web"]

    @property
    def context(self) -> ssl.SSLContext:
        """What a client needs."""
        return ssl.create_default_context(cafile=f"{self.root}")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("tls-handshakes")
    authority = Authority.root()
    authority.issue(folder, "web", NAME)
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Edge(daemon, authority.write(folder / "root.pem"))


def wait_for_the_end(sock: socket.socket) -> None:
    """Read until the balancer ends the connection, with an alert before that or not, by an end or a reset."""
    with suppress(ConnectionResetError):
        read_all(sock)


def test_a_handshake_one_byte_a_segment(edge: Edge) -> None:
    with connect(edge.port) as sock:
        assert fetch_in_pieces(sock, edge.context, NAME, b"", BYTE_BY_BYTE).endswith(b"page\n")


@pytest.mark.parametrize("size", [WHOLE, BYTE_BY_BYTE], ids=["in one segment", "byte by byte"])
@pytest.mark.parametrize("header", [v1_line(), v2_header()], ids=["v1", "v2"])
def test_behind_a_proxy_header_the_client_is_the_one_that_it_names(
    edge: Edge, header: bytes, size: int
) -> None:
    with connect(edge.port, PROXY) as sock:
        proxy = "{}:{}".format(*sock.getsockname())
        assert fetch_in_pieces(sock, edge.context, NAME, header, size).endswith(b"page\n")
    record = record_of(edge.daemon, proxy, "proxy")
    assert (record["client"], record["server_name"]) == (NAMED_BY_PROXY, NAME)
    assert record["tls_version"] == "TLSv1.3"


def test_curl_behind_a_proxy_header(edge: Edge) -> None:
    assert curl(edge.port, NAME, edge.root, "--haproxy-protocol", "--interface", PROXY) == "page\n"


def test_a_client_that_is_no_listed_proxy_speaks_tls_at_once(edge: Edge) -> None:
    address = new_address()
    assert curl(edge.port, NAME, edge.root, "--interface", address) == "page\n"
    assert record_of(edge.daemon, address)["proxy"] is None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n", "http"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "."),
        (bytes(range(256)), "."),
        # As many as its header says: from OpenSSL 3.5 on, a ClientHello is over 1,500 bytes long.
        (real_hello(NAME)[:5] + bytes(len(real_hello(NAME)) - 5), "."),
    ],
    ids=["HTTP", "SSH", "any bytes", "zeros in a record of TLS"],
)
def test_who_speaks_something_else_is_turned_away_and_the_log_says_so(
    edge: Edge, said: bytes, cause: str
) -> None:
    address = new_address()
    with connect(edge.port, address) as sock:
        sock.sendall(said)
        wait_for_the_end(sock)
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["closed_by"]) == ("handshake_failed", "client")
    assert (record["attempts"], record["total_ms"] < 5000) == (0, True)
    assert re.search(cause, record["cause"], re.IGNORECASE)
    assert len(record["cause"]) < 100


def test_who_leaves_in_the_middle_of_a_handshake_is_gone_at_once(edge: Edge) -> None:
    address = new_address()
    with connect(edge.port, address) as sock:
        hello = real_hello(NAME)
        sock.sendall(hello[: len(hello) // 2])
        sock.shutdown(socket.SHUT_WR)
        wait_for_the_end(sock)
    record = record_of(edge.daemon, address)
    assert (record["closed_by"], record["attempts"], record["total_ms"] < 5000) == ("client", 0, True)


def test_who_leaves_between_a_proxy_header_and_a_handshake_is_known_from_the_header(edge: Edge) -> None:
    with connect(edge.port, PROXY) as sock:
        proxy = "{}:{}".format(*sock.getsockname())
        sock.sendall(v1_line())
        sock.shutdown(socket.SHUT_WR)
        wait_for_the_end(sock)
    record = record_of(edge.daemon, proxy, "proxy")
    assert (record["client"], record["closed_by"], record["attempts"]) == (NAMED_BY_PROXY, "client", 0)


def test_header_and_handshake_have_one_deadline(edge: Edge) -> None:
    hello = real_hello(NAME)[:-1]
    with ExitStack() as stack:
        peers: list[tuple[str, str]] = []
        for source, said in [("127.0.0.3", b""), ("127.0.0.3", hello), (PROXY, v2_header() + hello)]:
            sock = stack.enter_context(connect(edge.daemon.ports["hasty"], source))
            sock.sendall(said)
            peers.append(("proxy" if source == PROXY else "client", "{}:{}".format(*sock.getsockname())))
        records = [record_of(edge.daemon, peer, key) for key, peer in peers]
    assert {(record["reason"], record["closed_by"]) for record in records} == {
        ("preread_timeout", "balancer")
    }
    assert min(record["total_ms"] for record in records) >= 1000
    assert max(record["total_ms"] for record in records) < 10_000


def test_many_that_say_nothing_leave_the_others_unharmed(edge: Edge) -> None:
    port, silent, heard = edge.daemon.ports["hasty"], new_address(), new_address()

    def timed_out() -> list[float]:
        return [
            record["total_ms"]
            for record in edge.daemon.access_records
            if record["client"].startswith(f"{silent}:") and record["reason"] == "preread_timeout"
        ]

    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(connect(port, silent))
        assert curl(port, NAME, edge.root, "--interface", heard) == "page\n"
        until(lambda: len(timed_out()) == SILENT, lambda: f"{SILENT} out of time, now {len(timed_out())}")
    assert record_of(edge.daemon, heard)["total_ms"] < 1000
    assert min(timed_out()) >= 1000
    assert max(timed_out()) < 10_000
