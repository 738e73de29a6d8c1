"""PROXY headers from and to HAProxy and nginx: everybody along the way knows who the client is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.daemon import Daemon
from support.haproxy import haproxy
from support.nginx import Nginx, nginx
from support.peers import peer
from support.process import run
from support.programs import require
from support.tls_clients import curl
from support.waiting import until

CLIENT = "127.0.0.9"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
accept_proxy_protocol = ["127.0.0.1"]
preread_timeout = "1s"

[pools.web]
backends = ["{backend}"]
{pool}

[pools.web.health]
check = "http"
path = "/health"
interval = "200ms"
"""

SENDER = """
frontend web
    mode tcp
    bind 127.0.0.1:{port}
    default_backend web
backend web
    mode tcp
    server tcpbalance 127.0.0.1:%s %s
"""

TLS_SENDER = """
frontend web
    mode tcp
    bind 127.0.0.1:{port} ssl crt %s ca-file %s verify required
    default_backend web
backend web
    mode tcp
    server tcpbalance 127.0.0.1:%s send-proxy-v2 proxy-v2-options ssl,cert-cn
"""

RECEIVER = """
frontend web
    mode http
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[fc_pp_unique_id]"
"""

pytestmark = pytest.mark.requires("haproxy", "nginx", "curl")


def fetch(port: int) -> str:
    (curl,) = require("curl")
    return run([curl, "-sS", "--max-time", "10", "--interface", CLIENT, f"http://127.0.0.1:{port}/"])


def record_of_the_client(daemon: Daemon) -> dict[str, Any]:
    """The one record of it; whoever looked whether HAProxy is there has one, too."""

    def found() -> list[dict[str, Any]]:
        return [record for record in daemon.access_records if record["client"].startswith(f"{CLIENT}:")]

    until(found, lambda: f"a record of {CLIENT}: {daemon.access_records}")
    (record,) = found()
    return record


@contextmanager
def behind_haproxy(folder: Path, backend: str, send: str, pool: str = "") -> Iterator[tuple[int, Daemon]]:
    """HAProxy in front of the balancer in front of a backend."""
    with (
        Daemon(CONFIG.format(backend=backend, pool=pool), folder) as daemon,
        haproxy(SENDER % (daemon.port, send)) as port,
    ):
        yield port, daemon


@pytest.fixture
def expecting() -> Iterator[Nginx]:
    """An nginx that takes nothing but connections with a PROXY header, and answers with what it says."""
    with nginx("a", how="proxy_protocol", answer="$proxy_protocol_addr $proxy_protocol_server_port") as (
        server,
    ):
        yield server


@pytest.mark.parametrize(
    "send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_client_is_known_from_haproxy_to_nginx(
    tmp_path: Path, expecting: Nginx, send: str, version: str
) -> None:
    told = f'send_proxy_protocol = "{version}"'
    with behind_haproxy(tmp_path, expecting.address, send, told) as (port, daemon):
        assert fetch(port) == f"{CLIENT} {port}\n"
        assert record_of_the_client(daemon)["proxy"].startswith("127.0.0.1:")


def test_a_name_in_latin_1_that_haproxy_copies_goes_on_as_it_is(tmp_path: Path) -> None:
    authority = Authority.root()
    web = authority.issue(tmp_path, "web", "web.example")
    both = tmp_path / "both.pem"
    both.write_bytes(web.certificate.read_bytes() + web.key.read_bytes())
    utf8, latin_1 = b"\x0c\x06Jurgen", b"\x14\x06J\xfcrgen"
    client = authority.sign_again(
        authority.issue_client(tmp_path, "client", "CN=Jurgen"), lambda tbs: tbs.replace(utf8, latin_1)
    )
    root = authority.write(tmp_path / "root.pem")
    received: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        received.append(sock.recv(1 << 16))
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\npage\n")

    told = 'send_proxy_protocol = "v2"\npass_tlvs = ["ssl"]'
    config = CONFIG.partition("[pools.web.health]")[0]
    with (
        peer(answer) as backend,
        Daemon(config.format(backend=backend.address, pool=told), tmp_path) as daemon,
        haproxy(TLS_SENDER % (both, root, daemon.port)) as port,
    ):
        shows = ("--cert", client.certificate, "--key", client.key)
        assert curl(port, "web.example", root, *shows) == "page\n"
    # The last: HAProxy is looked for before, by one that says nothing.
    assert b"\x22\0\x06J\xfcrgen" in received[-1]


def test_haproxy_reads_what_we_send(tmp_path: Path) -> None:
    with haproxy(RECEIVER) as backend:
        told = 'send_proxy_protocol = "v2"'
        with behind_haproxy(tmp_path, f"127.0.0.1:{backend}", "send-proxy-v2", told) as (port, daemon):
            source, destination, unique_id = fetch(port).split()
            named = record_of_the_client(daemon)["unique_id"]
            assert (source, destination, unique_id) == (CLIENT, "127.0.0.1", named)


def test_a_peer_that_is_not_listed_is_served_as_it_is(tmp_path: Path) -> None:
    with nginx("a") as (server,), Daemon(CONFIG.format(backend=server.address, pool=""), tmp_path) as daemon:
        assert fetch(daemon.port) == "a\n"
        assert record_of_the_client(daemon)["proxy"] is None


def test_a_listed_peer_that_says_something_else_is_reset_and_the_log_says_so(tmp_path: Path) -> None:
    with nginx("a") as (server,), Daemon(CONFIG.format(backend=server.address, pool=""), tmp_path) as daemon:
        with socket.create_connection(("127.0.0.1", daemon.port), 10) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                client.recv(100)
        (record,) = daemon.wait_for_records(1)
        assert (record["reason"], record["attempts"]) == ("bad_proxy_header", 0)
        daemon.wait_for_log("clients not served: 1 .bad_proxy_header.*not a PROXY header")


def test_checks_open_with_a_header_too(tmp_path: Path, expecting: Nginx) -> None:
    """Else this nginx would close them, and the backend would be down."""
    with Daemon(
        CONFIG.format(backend=expecting.address, pool='send_proxy_protocol = "v1"'), tmp_path
    ) as daemon:
        daemon.wait_for_log("is up")
        assert fetch(daemon.port).startswith(CLIENT)


def test_many_that_say_nothing_leave_the_others_unharmed(tmp_path: Path, expecting: Nginx) -> None:
    silent = []
    with behind_haproxy(tmp_path, expecting.address, "send-proxy", 'send_proxy_protocol = "v2"') as (
        port,
        daemon,
    ):
        try:
            silent += [socket.create_connection(("127.0.0.1", daemon.port), 10) for _ in range(1000)]
            assert fetch(port) == f"{CLIENT} {port}\n"
            daemon.wait_for_records(1001)
            timed_out = [record for record in daemon.access_records if record["reason"] == "preread_timeout"]
            assert len(timed_out) == 1000
            assert max(record["total_ms"] for record in timed_out) < 10_000
            assert min(record["total_ms"] for record in timed_out) >= 1000
        finally:
            for client in silent:
                client.close()
