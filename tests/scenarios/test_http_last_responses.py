"""The last response on a connection comes whole, though the client sends more before it has read it.

The kernel answers bytes that nobody reads any more with a reset, and throws away what it still has to send.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clients import connect, read, read_all
from support.daemon import Daemon
from support.peers import Peer, peer
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"

[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"
http.keepalive_requests = 2

[pools.web]
backends = ["{backend}"]
"""

SIZE = 200_000
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)


def serve(sock: socket.socket) -> None:
    """Answer each request with a body that no client of these reads at once."""
    while sock.recv(1 << 16):
        sock.sendall(RESPONSE)


@pytest.fixture
def backend() -> Iterator[Peer]:
    with peer(serve) as running:
        yield running


def read_response(client: socket.socket) -> None:
    """Read a whole response, and nothing behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(client, 1)
    assert len(read(client, SIZE)) == SIZE


@pytest.mark.parametrize("more", [b"\r\n", GET, b"G"])
@pytest.mark.parametrize("how", ["asked for", "last of many", "SIGTERM"])
def test_the_last_response_comes_whole(tmp_path: Path, backend: Peer, how: str, more: bytes) -> None:
    with Daemon(CONFIG.format(backend=backend.address), tmp_path) as daemon:
        log = tmp_path / "access.log"

        def wait_for_responses(count: int) -> None:
            until(lambda: log.read_text().count("reason=answered") == count, "the responses are sent")

        with connect(daemon.ports["web"], receive_buffer=4096) as client:
            if how == "last of many":
                client.sendall(GET)
                read_response(client)
            client.sendall(LAST if how == "asked for" else GET)
            wait_for_responses(2 if how == "last of many" else 1)
            if how == "SIGTERM":
                daemon.send(signal.SIGTERM)
                daemon.wait_for_log("may finish")
            client.sendall(more)
            assert read_all(client).endswith(b"\r\n\r\n" + bytes(SIZE))
