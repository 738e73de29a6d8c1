"""A backend that closes each connection after a response without announcing it: one request may be lost."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support import peers
from support.clients import connect, read
from support.daemon import Daemon

CONFIG = """
[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

ROUNDS = 150

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Visit = Callable[[socket.socket], tuple[int, int]]


def _status(client: socket.socket) -> int:
    """Read one response."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(client, 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    read(client, int(fields[b"content-length"]))
    return int(head.split()[1])


def _pipelined(client: socket.socket) -> tuple[int, int]:
    client.sendall(GET + POST)
    return _status(client), _status(client)


def _one_behind_the_other(client: socket.socket) -> tuple[int, int]:
    client.sendall(GET)
    first = _status(client)
    client.sendall(POST)
    return first, _status(client)


@pytest.mark.parametrize("visit", [_pipelined, _one_behind_the_other])
def test_no_post_but_the_first_is_lost(tmp_path: Path, visit: Visit) -> None:
    with (
        peers.peer(peers.close_after(HELLO)) as backend,
        Daemon(CONFIG.format(backend=backend.address), tmp_path) as daemon,
        connect(daemon.port) as client,
    ):
        visits = [visit(client) for _ in range(ROUNDS)]
    assert Counter(first for first, _ in visits) == {200: ROUNDS}
    lost = [number for number, (_, status) in enumerate(visits) if status != 200]
    assert lost in ([], [0])
