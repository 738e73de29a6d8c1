"""Tunnels by CONNECT, asked for by curl and openssl, to web servers with TLS."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from select import select
from socket import socket
from typing import Any

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import connect, read
from support.daemon import Daemon
from support.name_server import FakeNameServer
from support.peers import echo, peer
from support.process import finish
from support.programs import require
from support.tls_peers import page
from support.users import HASH, PASSWORD, hashed, proxy_authorization, users_file
from support.waiting import until
from tcpbalance.net.data_path import DataPathName
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.requires("curl", "openssl", "nginx")

SITE, PROXY = "wiki.inside.test", "proxy.test"

CONFIG = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[resolver]
servers = ["127.0.0.1:{name_server}"]

[frontends.proxy]
mode = "http"
listen = "127.0.0.1:0"

[frontends.proxy.connect]
allow = ["*.inside.test:{port}"]
private_networks = ["127.0.0.1/32"]
users_file = "users"
connect_timeout = "20s"

[frontends.secure]
mode = "http"
listen = "127.0.0.1:0"
tls.certificates = [{{ cert = "proxy.pem", key = "proxy.key" }}]
connect.allow = ["*.inside.test:{port}"]
connect.private_networks = ["127.0.0.1/32"]

[frontends.anywhere]
mode = "http"
listen = "127.0.0.1:0"
connect.allow = ["*:{port}"]
connect.clients = ["127.0.0.0/8"]
"""


@frozen
class Stage:
    """A balancer, and a web server inside."""

    daemon: Daemon
    names: FakeNameServer
    root: Path
    port: int

    @property
    def url(self) -> str:
        return f"https://{SITE}:{self.port}/"

    def curl(self, *arguments: str, frontend: str = "proxy", url: str | None = None) -> tuple[int, str, str]:
        """Give the status of the answer to CONNECT, the body, and what curl complains of."""
        (curl,) = require("curl")
        scheme = "https" if frontend == "secure" else "http"
        proxy_port = self.daemon.ports[frontend]
        command: list[str | Path] = [curl, "-sS", "--max-time", "30"]
        command += ["--cacert", self.root, "--proxy-cacert", self.root]
        # Of the names, curl itself knows that of the proxy alone.
        command += ["--resolve", f"{PROXY}:{proxy_port}:127.0.0.1"]
        command += ["--proxy", f"{scheme}://{PROXY}:{proxy_port}"]
        command += ["-w", "\n%{http_connect}", *arguments, url or self.url]
        done = finish(command)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body.strip(), done.stderr

    def record(self, **wanted: Any) -> dict[str, Any]:
        """Wait for the line of a request."""
        found = until(
            lambda: [
                record
                for record in self.daemon.access_records
                if all(record.get(key) == value for key, value in wanted.items())
            ],
            lambda: f"a record with {wanted}: {self.daemon.access_records}",
        )
        assert isinstance(found, list)
        last: dict[str, Any] = found[-1]
        return last


@pytest.fixture(
    scope="module",
    params=[1, pytest.param(2, marks=pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"))],
)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data_path: DataPathName
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("proxy")
    authority = Authority.root()
    site = authority.issue(folder, "site", SITE)
    authority.issue(folder, "proxy", PROXY)
    users_file(folder, f"alice:{{hash}}\nslow:{hashed(PASSWORD, 12).decode()}\n")
    with FakeNameServer() as names, page(site.certificate, site.key, "a page inside") as server:
        names.addresses = {SITE: ["127.0.0.1"]}
        config = CONFIG.format(workers=request.param, name_server=names.port, port=server.port)
        with Daemon(config, folder) as daemon:
            yield Stage(daemon, names, authority.write(folder / "root.pem"), server.port)


USER = ("--proxy-user", f"alice:{PASSWORD.decode()}")


def test_a_page_inside_is_reached_with_a_password(stage: Stage) -> None:
    assert stage.curl(*USER) == (200, "a page inside", "")
    record = stage.record(target=f"{SITE}:{stage.port}", status=200, frontend="proxy")
    assert (record["method"], record["user"]) == ("CONNECT", "alice")
    assert record["backend"] == f"127.0.0.1:{stage.port}"
    # Both say that they close, and either may be the first.
    assert record["reason"] in {"client_closed", "backend_closed"}
    assert record["client_bytes"] > 500


def test_it_is_reached_by_a_client_that_waits_to_be_asked_for_the_password(stage: Stage) -> None:
    status, body, errors = stage.curl(*USER, "--proxy-anyauth")
    assert (status, body, errors) == (200, "a page inside", "")
    assert stage.record(status=407, cause="credentials_missing")["user"] is None


def test_it_is_reached_through_a_proxy_with_tls(stage: Stage) -> None:
    assert stage.curl(frontend="secure") == (200, "a page inside", "")


@pytest.mark.parametrize(
    ("arguments", "cause", "user"),
    [
        ((), "credentials_missing", None),
        (("--proxy-user", "alice:guess"), "credentials_wrong", "alice"),
        (("--proxy-user", "mallory:guess"), "credentials_wrong", None),
    ],
)
def test_nothing_is_reached_without_a_password(
    stage: Stage, arguments: tuple[str, ...], cause: str, user: str | None
) -> None:
    status, body, errors = stage.curl(*arguments)
    assert (status, body) == (407, "")
    assert "407" in errors
    assert stage.record(status=407, cause=cause, user=user)["backend"] is None
    assert "guess" not in stage.daemon.log
    assert "guess" not in (stage.daemon.folder / "access.log").read_text()


def test_what_is_not_allowed_is_403(stage: Stage) -> None:
    status, _, _ = stage.curl(*USER, url=f"https://elsewhere.test:{stage.port}/")
    assert status == 403
    assert stage.record(cause="destination_not_allowed")["user"] == "alice"


def test_a_name_cannot_be_turned_to_a_private_address(stage: Stage) -> None:
    names = stage.names
    names.addresses["rebound.test"] = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"]
    status, _, _ = stage.curl(frontend="anywhere", url=f"https://rebound.test:{stage.port}/")
    assert status == 403
    assert stage.record(cause="address_not_allowed")["target"] == f"rebound.test:{stage.port}"
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1"):
        status, _, _ = stage.curl(frontend="anywhere", url=f"https://{host}:{stage.port}/")
        # curl writes the last two as the first.
        assert status == 403, host


def test_the_name_is_looked_up_by_the_balancer(stage: Stage) -> None:
    status, _, _ = stage.curl(*USER, url=f"https://missing.inside.test:{stage.port}/")
    assert status == 502
    assert stage.record(reason="tunnel_failed")["cause"] == "no such name"
    assert ("missing.inside.test", "A") in stage.names.asked


def test_another_address_than_those_that_are_listed_is_403(stage: Stage) -> None:
    stage.names.addresses["beside.inside.test"] = ["127.0.0.7"]
    assert stage.curl(frontend="secure", url=f"https://beside.inside.test:{stage.port}/")[0] == 403


def test_openssl_gets_the_certificate_of_the_destination(stage: Stage) -> None:
    (openssl,) = require("openssl")
    port = stage.daemon.ports["proxy"]
    command = [openssl, "s_client", "-proxy", f"127.0.0.1:{port}", "-proxy_user", "alice"]
    command += ["-proxy_pass", f"pass:{PASSWORD.decode()}", "-connect", f"{SITE}:{stage.port}"]
    command += ["-servername", SITE, "-CAfile", str(stage.root), "-verify_return_error", "-brief"]
    done = finish(command, input="")
    assert done.returncode == 0, done.stderr
    assert f"CN = {SITE}" in done.stderr
    assert "Verification: OK" in done.stderr


def test_bytes_sent_with_the_request_arrive(stage: Stage) -> None:
    hello = _client_hello(stage.root)
    with connect(stage.daemon.ports["proxy"]) as client:
        line = f"CONNECT {SITE}:{stage.port} HTTP/1.1\r\nHost: {SITE}\r\n"
        credentials = "Proxy-Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=\r\n\r\n"
        client.sendall((line + credentials).encode() + hello)
        established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert read(client, len(established)) == established
        assert read(client, 3)[:2] == b"\x16\x03"  # the ServerHello


def test_others_are_served_while_a_password_is_checked(stage: Stage) -> None:
    port = stage.daemon.ports["proxy"]
    with connect(port) as slow, connect(port) as other:
        head = f"CONNECT {SITE}:{stage.port} HTTP/1.1\r\nHost: {SITE}\r\n".encode()
        slow.sendall(head + proxy_authorization(b"slow", b"another") + b"\r\n")
        # The first of them may be served before the check has begun.
        for _ in range(20):
            other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(10_000).startswith(b"HTTP/1.1 404 ")
        assert not select([slow], [], [], 0)[0]
        assert read(slow, 12) == b"HTTP/1.1 407"


def test_users_are_read_again(stage: Stage) -> None:
    path = stage.daemon.folder / "users"
    assert stage.curl("--proxy-user", f"bob:{PASSWORD.decode()}")[0] == 407
    path.write_bytes(b"alice:%b\nbob:%b\n" % (HASH, HASH))
    until(lambda: stage.curl("--proxy-user", f"bob:{PASSWORD.decode()}")[0] == 200, "bob")
    path.write_bytes(b"alice:%b\n" % HASH)
    until(lambda: stage.curl("--proxy-user", f"bob:{PASSWORD.decode()}")[0] == 407, "no bob")


INSIDE = """
workers = {workers}
shutdown_grace = "20s"

[access_log]
path = "access.log"
format = "json"

[frontends.proxy]
mode = "http"
listen = "127.0.0.1:0"
connect.allow = ["127.0.0.1:{port}"]
"""


def tunnel(daemon: Daemon, port: int) -> tuple[socket, bytes]:
    """Ask for a tunnel, and give the connection and the first line of the answer."""
    client = connect(daemon.port)
    client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += read(client, 1)
    return client, answer.partition(b"\r\n")[0]


def test_a_tunnel_lives_on_through_a_reload_and_the_end(tmp_path: Path) -> None:
    with peer(echo) as inside:
        text = INSIDE.format(workers=1, port=inside.port)
        with Daemon(text, tmp_path) as daemon:
            client, answer = tunnel(daemon, inside.port)
            with client:
                assert answer == b"HTTP/1.1 200 Connection established"
                daemon.config_file.write_text(daemon.config_file.read_text().replace(str(inside.port), "1"))
                daemon.send(signal.SIGHUP)
                daemon.wait_for_log("reloaded ")
                refused, answer = tunnel(daemon, inside.port)
                refused.close()
                assert answer == b"HTTP/1.1 403 Forbidden"
                client.sendall(b"reloaded")
                assert read(client, 8) == b"reloaded"
                daemon.send(signal.SIGTERM)
                daemon.wait_for_log("SIGTERM")
                client.sendall(b"stopping")
                assert read(client, 8) == b"stopping"
            assert daemon.wait() == 0
        (record,) = [it for it in daemon.access_records if it["status"] == 200]
        assert (record["client_bytes"] > 16, record["backend_bytes"]) == (True, 16)


def _client_hello(root: Path) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=root).wrap_bio(incoming, outgoing, server_hostname=SITE)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
