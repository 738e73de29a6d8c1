"""A frontend that ends, by a reload or with the program: clients of HTTP leave, and nothing is cut."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.clients import connect, read, read_all
from support.daemon import Daemon
from support.peers import Peer, peer
from support.waiting import until

OTHER = """
workers = {workers}

[frontends.other]
mode = "http"
listen = "127.0.0.1:0"
routes = [{{ answer = {{ status = 204 }} }}]
"""

SITE = """
[frontends.site]
mode = "http"
listen = "127.0.0.1:0"
pool = "site"

[pools.site]
backends = ["{backend}"]
"""

CLIENTS = 4
"""Of each kind: enough that two workers have some of each, as good as always."""

SIZE = 1_000_000
GET = b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % SIZE


class Backend:
    """Holds answers back until it may go on.

    :ivar held: requests that wait for that.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.held = 0

    def serve(self, sock: socket.socket) -> None:
        while head := read_head(sock):
            if b"Upgrade: websocket" in head:
                sock.sendall(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                while data := sock.recv(1000):
                    sock.sendall(data)
                return
            if head.startswith(b"POST "):
                read(sock, SIZE)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            elif head.startswith(b"GET /idle "):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            elif head.startswith(b"GET /slow "):
                self._hold()
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE // 2))
                self._hold()
                sock.sendall(bytes(SIZE // 2))

    def _hold(self) -> None:
        self.held += 1
        self.go_on.wait(20)


def read_head(sock: socket.socket) -> bytes:
    """Read a head, byte by byte, and no more; give nothing at the end."""
    data = b""
    while not data.endswith(b"\r\n\r\n") and (byte := sock.recv(1)):
        data += byte
    return data


@pytest.fixture
def backend() -> Iterator[tuple[Backend, Peer]]:
    made = Backend()
    with peer(made.serve) as running:
        yield made, running
        made.go_on.set()


@pytest.mark.parametrize("how", ["reload", "SIGTERM"])
def test_clients_leave_with_their_answers(
    tmp_path: Path, backend: tuple[Backend, Peer], workers: int, how: str
) -> None:
    server, running = backend
    without = OTHER.format(workers=workers)
    config = without + SITE.format(backend=running.address)
    with Daemon(config, tmp_path) as daemon, ExitStack() as stack:

        def clients(first: bytes) -> list[socket.socket]:
            opened = [stack.enter_context(connect(daemon.ports["site"])) for _ in range(CLIENTS)]
            for client in opened:
                client.sendall(first)
            return opened

        idle, slow, sockets = clients(GET % b"/idle"), clients(GET % b"/slow"), clients(UPGRADE)
        downloads, uploads = clients(GET % b"/long"), clients(UPLOAD + bytes(SIZE // 2))
        assert all(read_head(client).startswith(b"HTTP/1.1 200 ") for client in (*idle, *downloads))
        assert all(read_head(client).startswith(b"HTTP/1.1 101 ") for client in sockets)
        until(lambda: server.held == 2 * CLIENTS, "the requests at the backend")
        if how == "reload":
            daemon.config_file.write_text(without)
            daemon.send(signal.SIGHUP)
            daemon.wait_for_log("reloaded")
        else:
            daemon.send(signal.SIGTERM)
        assert [read_all(client) for client in idle] == [b""] * CLIENTS
        for client in uploads:
            client.sendall(bytes(SIZE // 2))
        server.go_on.set()
        for client in (*slow, *uploads):
            answer = read_all(client)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nConnection: close\r\n" in answer
        assert [len(read_all(client)) for client in downloads] == [SIZE] * CLIENTS
        for client in sockets:
            client.sendall(b"still here")
            assert read(client, 10) == b"still here"
