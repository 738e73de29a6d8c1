"""``mode = "http"`` in front of the servers that web applications run on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from websockets.sync.client import connect as connect_websocket

from support.clients import TIMEOUT, connect, read
from support.daemon import Daemon
from support.process import run
from support.programs import require
from support.web_servers import KINDS, STREAMED, web_server

SPEAK_WEBSOCKET = ("node", "uvicorn")

IDLE = 2
"""Seconds after which each closes a connection without a request: sooner than the balancer does, and later
than a request that must not be sent twice takes one."""

BODY = os.urandom(251) * 40_000

CONFIG = """
[access_log]
path = "access.log"
format = "json"
"""

SITE = """
[frontends.{name}]
mode = "http"
listen = "127.0.0.1:0"
pool = "{name}"

[pools.{name}]
backends = ["{address}"]
"""

pytestmark = pytest.mark.requires("apache2", "curl", "node")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, data_path: str | None) -> Iterator[Daemon]:
    with ExitStack() as stack:
        addresses = {kind: stack.enter_context(web_server(kind, IDLE)) for kind in KINDS}
        config = CONFIG + "".join(SITE.format(name=kind, address=addresses[kind]) for kind in KINDS)
        yield stack.enter_context(Daemon(config, tmp_path_factory.mktemp("sites")))


class Site:
    """What a client has to know of one of the servers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def ask(self, path: str, method: str = "GET", body: bytes | Iterator[bytes] | None = None) -> bytes:
        self.connection.request(method, path, body)
        return read_good(self.connection.getresponse())


def read_good(response: HTTPResponse) -> bytes:
    assert response.status == 200
    return response.read()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def site(daemon: Daemon, kind: str) -> Iterator[Site]:
    opened = Site(daemon.ports[kind])
    yield opened
    opened.connection.close()


def test_clients_share_a_connection_that_is_kept(site: Site) -> None:
    ports = {site.ask("/") for _ in range(20)}
    site.connection.close()
    ports.add(site.ask("/"))
    assert len(ports) == 1


def test_a_response_in_chunks(site: Site) -> None:
    assert site.ask("/stream") == STREAMED
    assert site.ask("/stream") == STREAMED


def test_an_upload_of_known_length(site: Site) -> None:
    assert site.ask("/hash", "POST", BODY).decode() == hashlib.sha256(BODY).hexdigest()
    assert site.ask("/hash", "PUT", b"").decode() == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("size", [70_000, 3_000_000])
def test_an_upload_in_chunks(site: Site, size: int) -> None:
    pieces = (BODY[at : at + size] for at in range(0, len(BODY), size))
    assert site.ask("/hash", "POST", pieces).decode() == hashlib.sha256(BODY).hexdigest()
    assert site.ask("/")


def test_the_server_asks_for_a_body_that_waits_for_100(site: Site) -> None:
    with connect(site.port) as client:
        client.sendall(
            b"POST /hash HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert read(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        answer = b""
        while data := client.recv(10_000):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert hashlib.sha256(b"hello").hexdigest().encode() in answer


def test_curl_waits_for_100(site: Site, tmp_path: Path) -> None:
    (curl,) = require("curl")
    (tmp_path / "body").write_bytes(BODY)
    how = ["--silent", "--show-error", "--fail", "--max-time", "20", "--expect100-timeout", "20"]
    url = f"http://127.0.0.1:{site.port}/hash"
    found = run([curl, *how, "-H", "Expect: 100-continue", "-X", "POST", "-T", tmp_path / "body", url])
    assert found == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("kind", SPEAK_WEBSOCKET)
def test_a_websocket(site: Site) -> None:
    text, data = "\u00e9" * 70_000, BODY[:300_000]
    with connect_websocket(f"ws://127.0.0.1:{site.port}/chat", max_size=None) as socket:
        for message in ("a", text, data, b""):
            socket.send(message)
        assert [socket.recv(TIMEOUT) for _ in range(4)] == ["a", text, data, b""]
        assert socket.ping().wait(TIMEOUT)
    assert socket.close_code == 1000
