"""TLS passed through unopened: clients reach the server whose name they ask for, and see its certificate."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import self_signed
from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.process import run
from support.programs import require
from support.waiting import until

ONE, TWO, OTHER = "one.example", "a.b.two.example", "other.example"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.any]
listen = "127.0.0.1:0"
pool = "other"
preread_timeout = "1s"
sni_routes = [
  {{ names = ["{one}"], pool = "one" }},
  {{ names = ["*.two.example"], pool = "two" }},
]

[frontends.strict]
listen = "127.0.0.1:0"
preread_timeout = "1s"
sni_routes = [{{ names = ["{one}"], pool = "one" }}]

[pools.one]
backends = ["{addresses[0]}"]

[pools.two]
backends = ["{addresses[1]}"]

[pools.other]
backends = ["{addresses[2]}"]
"""

pytestmark = pytest.mark.requires("nginx", "curl", "openssl")


@frozen
class Setup:
    """Three servers, each with a certificate of its own, and a balancer in front."""

    daemon: Daemon
    certificates: dict[str, Path]

    def fetch(self, name: str) -> str:
        """Ask for a page under a name, and believe only that name's certificate."""
        (curl,) = require("curl")
        port = self.daemon.ports["any"]
        trusting = ["--resolve", f"{name}:{port}:127.0.0.1", "--cacert", f"{self.certificates[name]}"]
        return run([curl, "-sS", "--max-time", "10", *trusting, f"https://{name}:{port}/"])


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("tls-by-name")
    pairs = {name: self_signed(folder, name) for name in (ONE, TWO, OTHER)}
    with ExitStack() as stack:
        servers: list[Nginx] = []
        for name, (certificate, key) in pairs.items():
            more = f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};"
            servers += stack.enter_context(nginx(name, how="ssl", more=more))
        config = CONFIG.format(one=ONE, addresses=[server.address for server in servers])
        daemon = stack.enter_context(Daemon(config, folder))
        yield Setup(daemon, {name: certificate for name, (certificate, _) in pairs.items()})


@pytest.mark.parametrize("name", [ONE, TWO, OTHER])
def test_curl_reaches_the_server_it_asks_for_and_sees_its_certificate(setup: Setup, name: str) -> None:
    assert setup.fetch(name) == f"{name}\n"


def test_the_name_is_in_the_log(setup: Setup) -> None:
    # A name of this test's own: the lines of others may still be on their way.
    name = "logged.two.example"
    context = ssl.create_default_context(cafile=f"{setup.certificates[TWO]}")
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", setup.daemon.ports["any"]), 10) as client,
        context.wrap_socket(client, server_hostname=name),
    ):
        pass
    until(
        lambda: name in {record["server_name"] for record in setup.daemon.access_records},
        lambda: f"{name} in {setup.daemon.access_records}",
    )


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_gets_through_in_either_version(setup: Setup, version: str) -> None:
    (openssl,) = require("openssl")
    where = ["-connect", f"127.0.0.1:{setup.daemon.ports['any']}", "-servername", TWO]
    options = ["-CAfile", f"{setup.certificates[TWO]}", "-verify_return_error", version]
    output = run([openssl, "s_client", *where, *options], input="")
    assert "Verify return code: 0 (ok)" in output


def test_a_handshake_one_byte_a_segment(setup: Setup) -> None:
    context = ssl.create_default_context(cafile=f"{setup.certificates[ONE]}")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=ONE)
    with socket.create_connection(("127.0.0.1", setup.daemon.ports["strict"]), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65536))
        assert tls.getpeercert() is not None


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["nothing", "little"])
def test_who_does_not_say_a_name_in_time_is_closed(setup: Setup, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", setup.daemon.ports["any"]), 10) as client:
        client.sendall(said)
        assert client.recv(100) == b""


def test_who_speaks_no_tls_is_closed_where_there_is_no_pool_for_it(setup: Setup) -> None:
    before = len(setup.daemon.access_records)
    with socket.create_connection(("127.0.0.1", setup.daemon.ports["strict"]), 10) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100) == b""
    records = setup.daemon.wait_for_records(before + 1)
    assert "no_route" in {record["reason"] for record in records}


def test_a_name_that_nobody_routes_is_closed_without_an_answer(setup: Setup) -> None:
    context = ssl.create_default_context(cafile=f"{setup.certificates[OTHER]}")
    with (
        socket.create_connection(("127.0.0.1", setup.daemon.ports["strict"]), 10) as client,
        pytest.raises((ssl.SSLEOFError, ConnectionError)),
    ):
        context.wrap_socket(client, server_hostname=OTHER)
