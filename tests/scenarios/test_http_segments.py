"""The head of a request and what has come of its body are one segment at the backend, as TCP counts them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.clients import TIMEOUT, connect, read
from support.daemon import Daemon
from tcpbalance.net.data_path import DataPathName

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's struct tcp_info")

CONFIG = """
[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

DATA_SEGMENTS_IN = slice(152, 156)
"""Where ``tcpi_data_segs_in`` is in ``struct tcp_info`` of linux/tcp.h."""

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


# One for each test: a backend that has ended a connection at once gets further bodies on new ones.
@pytest.fixture(params=["auto", "portable"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Daemon, socket.socket]]:
    data_path: DataPathName = request.param
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(TIMEOUT)
        config = CONFIG.format(backend=f"127.0.0.1:{listener.getsockname()[1]}")
        daemon = stack.enter_context(Daemon(f'data_path = "{data_path}"\n{config}', tmp_path))
        yield daemon, listener


def segments(sock: socket.socket) -> int:
    """Count the segments with data that have come."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN.stop)
    return int.from_bytes(info[DATA_SEGMENTS_IN], sys.byteorder)


def with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


REQUESTS = {
    "none": (b"\r\n", b"\r\n\r\n"),
    "a byte": (with_length(b"x"), b"x"),
    "ten thousand bytes": (with_length(bytes(9_999) + b"!"), b"!"),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    "the first of two chunks": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n", b"abcd\r\n"),
    "the first half": (b"Content-Length: 8\r\n\r\nabcd", b"abcd"),
}
"""What stands behind the first lines of a request, and how what comes of it ends."""


@pytest.mark.parametrize(("more", "end"), REQUESTS.values(), ids=REQUESTS)
def test_the_head_and_what_has_come_of_the_body_are_one_segment(
    place: tuple[Daemon, socket.socket], more: bytes, end: bytes
) -> None:
    daemon, listener = place
    with connect(daemon.port) as client:
        # Two requests without an idle connection to a backend, and with one.
        client.sendall(b"POST /first HTTP/1.1\r\nHost: a\r\n" + with_length(b"end!"))
        backend, _ = listener.accept()
        with backend:
            backend.settimeout(TIMEOUT)
            read_to(backend, b"end!")
            assert segments(backend) == 1
            backend.sendall(ANSWER)
            read_to(client, b"\r\n\r\n")
            client.sendall(b"POST /second HTTP/1.1\r\nHost: a\r\n" + more)
            read_to(backend, end)
            assert segments(backend) == 2


def read_to(sock: socket.socket, end: bytes) -> None:
    """Read until what came ends so."""
    data = bytearray()
    while not data.endswith(end):
        part = read(sock, 1)
        assert part, data
        data += part
