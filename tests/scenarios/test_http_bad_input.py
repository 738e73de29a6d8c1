"""``mode = "http"`` in a whole process, and what clients and backends send that nobody should."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.clients import connect, read_all
from support.daemon import Daemon
from support.http_corpus import AMBIGUOUS, HOSTILE, MARKER, BadCase
from support.peers import Handler, Peer, peer
from support.waiting import until, until_steady

CONFIG = """
shutdown_grace = "500ms"

[access_log]
path = "access.log"
format = "json"

[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"
{frontend}

[pools.web]
backends = ["{backend}"]
{pool}
"""

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

MIB = 1 << 20
TICKS = 100
"""Ticks of the system's clock in a second."""

RunDaemon = Callable[..., Daemon]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDaemon]:
    """Run a balancer before a backend."""
    with contextlib.ExitStack() as stack:

        def start(backend: Peer, frontend: str = "", pool: str = "") -> Daemon:
            config = CONFIG.format(backend=backend.address, frontend=frontend, pool=pool)
            return stack.enter_context(Daemon(config, tmp_path))

        yield start


def read_head(sock: socket.socket) -> bytes:
    """Read the head of a message, and drop what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(1 << 16)
        if not more:
            break
        data += more
    return data.partition(b"\r\n\r\n")[0]


def answers(response: bytes) -> Handler:
    """Answer each request so; none of them has a body."""

    def handle(sock: socket.socket) -> None:
        while read_head(sock):
            sock.sendall(response)

    return handle


def ask(port: int, request: bytes = LAST) -> bytes:
    """Send a request, and read until the end, which is one without a reset."""
    with connect(port) as client:
        client.sendall(request)
        return read_all(client)


# Clients


@pytest.mark.parametrize("case", AMBIGUOUS, ids=lambda case: case.name)
def test_what_two_servers_could_take_for_different_requests_comes_to_no_backend(
    strict: tuple[Daemon, list[bytes]], case: BadCase
) -> None:
    daemon, heads = strict
    heads.clear()
    with connect(daemon.port) as client:
        client.sendall(case.data + MARKER)
        answer = read_all(client)
    # A body is refused after its head has been passed on; what stands behind it never is a request.
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 %d " % case.status)
    assert not any(b"marker" in head for head in heads)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, list[bytes]]]:
    """A balancer with the limits of the corpus, and the heads that come to its backend."""
    heads: list[bytes] = []

    def note(sock: socket.socket) -> None:
        while head := read_head(sock):
            heads.append(head)
            if b"\r\nTransfer-Encoding: " not in head:
                sock.sendall(HELLO)

    frontend = 'http = { head_size = "4KiB", head_lines = 100 }'
    with peer(note) as backend:
        config = CONFIG.format(backend=backend.address, frontend=frontend, pool="")
        with Daemon(config, tmp_path_factory.mktemp("strict")) as daemon:
            yield daemon, heads


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("limit", "status"), [("128KiB", 200), ("32KiB", 431)])
def test_a_head_of_100_000_bytes_one_at_a_time(run: RunDaemon, limit: str, status: int) -> None:
    with peer(answers(HELLO)) as backend:
        daemon = run(backend, f'http = {{ head_size = "{limit}" }}')
        ask(daemon.port)
        before, memory = daemon.processor_time, daemon.memory
        with connect(daemon.port) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(100_000):
                    client.send(b"a")
                client.sendall(b"\r\n\r\n")
            answer = client.recv(100)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert daemon.processor_time - before < 10 * TICKS
        assert daemon.memory - memory < 4 * MIB


@pytest.mark.timeout(180)
def test_10_000_clients_between_two_requests(run: RunDaemon) -> None:
    with peer(answers(HELLO)) as backend, contextlib.ExitStack() as stack:
        daemon = run(backend, 'http = { keepalive_timeout = "10m" }')
        ask(daemon.port)
        before = daemon.memory
        clients = []
        for number in range(10_000):
            client = stack.enter_context(connect(daemon.port, source=f"127.0.0.{2 + number % 8}"))
            client.sendall(GET)
            assert client.recv(1000).endswith(b"hello")
            clients.append(client)
        until_steady(lambda: daemon.memory)
        assert daemon.memory - before < 60 * MIB
        for client in clients[::1000]:
            client.sendall(GET)
            assert client.recv(1000).endswith(b"hello")


# Backends


@pytest.mark.parametrize(
    "case", [it for it in HOSTILE if it.data.count(b"\n") < 100], ids=lambda case: case.name
)
def test_no_response_that_could_be_taken_for_another_is_passed_on(hostile: Hostile, case: BadCase) -> None:
    hostile.response = case.data
    with connect(hostile.daemon.port) as client:
        client.sendall(LAST)
        try:
            answer = read_all(client)
        except ConnectionResetError:
            # Its head was good, and has been passed on: the client must not take it for whole.
            return
    assert answer.startswith(b"HTTP/1.1 502 ")


class Hostile:
    """A balancer with a backend that answers with what is said, and closes."""

    def __init__(self) -> None:
        self.response = HELLO
        self.daemon: Daemon

    def serve(self, sock: socket.socket) -> None:
        if read_head(sock):
            sock.sendall(self.response)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    made = Hostile()
    with peer(made.serve) as backend:
        pool = 'http = { response_head_size = "4KiB" }'
        config = CONFIG.format(backend=backend.address, frontend="", pool=pool)
        with Daemon(config, tmp_path_factory.mktemp("hostile")) as made.daemon:
            yield made


@pytest.mark.parametrize("closes", [True, False])
def test_an_answer_before_the_request_is_over_comes_to_a_client_that_still_sends(
    run: RunDaemon, closes: bool
) -> None:
    """The one closes with bytes unread, which resets its connection; the other reads on."""
    refused = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!"

    def refuse(sock: socket.socket) -> None:
        if read_head(sock):
            sock.sendall(refused)
            if not closes:
                read_all(sock)

    size = 20 * MIB
    with peer(refuse) as backend:
        daemon = run(backend)
        with connect(daemon.port) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            sender = threading.Thread(target=send_until_refused, args=(client, bytes(size)))
            sender.start()
            answer = read_all(client)
            sender.join()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"\r\n\r\nno!")
        assert ask(daemon.port).startswith(b"HTTP/1.1 413 ")


def send_until_refused(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


def test_a_second_answer_to_one_request_is_nobodys(run: RunDaemon) -> None:
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
    with peer(answers(HELLO + second)) as backend:
        daemon = run(backend)
        for _ in range(20):
            with connect(daemon.port) as client:
                for _ in range(5):
                    client.sendall(GET)
                    answer = client.recv(1000)
                    assert b"second" not in answer
                    # Where both came at once, it cannot be said which is the answer.
                    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 "))


def test_a_second_answer_that_comes_later_is_nobodys(run: RunDaemon) -> None:
    go_on = threading.Event()

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(HELLO)
        if backend.accepted == 1:
            go_on.wait()
            sock.sendall(HELLO.replace(b"hello", b"later"))
        read_all(sock)

    with peer(handle) as backend:
        daemon = run(backend)
        with connect(daemon.port) as client:
            client.sendall(GET)
            assert client.recv(1000).endswith(b"hello")
            go_on.set()
            until(lambda: not backend.open_connections, "the connection closed")
            client.sendall(GET)
            assert client.recv(1000).endswith(b"hello")


ENDLESS = {
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\n\r\n",
    "interim": b"",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_that_never_ends(run: RunDaemon, kind: str) -> None:
    piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n" if kind == "chunks" else bytes(1 << 16)
    if kind == "interim":
        piece = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    def handle(sock: socket.socket) -> None:
        if read_head(sock):
            sock.sendall(ENDLESS[kind])
            while True:
                sock.sendall(piece)

    with peer(handle) as backend:
        daemon = run(backend)
        before = daemon.memory
        with connect(daemon.port) as client, connect(daemon.port) as idle:
            for each in (client, idle):
                each.sendall(LAST)
            received = 0
            while received < 20 * MIB and (data := client.recv(1 << 20)):
                received += len(data)
            until_steady(lambda: daemon.processor_time)
            assert daemon.memory - before < 8 * MIB
        # A client that leaves is the end of it.
        until(lambda: not backend.open_connections, "the connections closed")
        assert (received < MIB) is (kind == "interim")


@pytest.mark.parametrize("line", [b"X-Long: " + b"a" * MIB, b"X: a\r\n" * (MIB // 6)])
def test_a_head_of_1_mib_of_a_backend_is_502(run: RunDaemon, line: bytes) -> None:
    with peer(answers(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n")) as backend:
        daemon = run(backend)
        memory = daemon.memory
        for _ in range(10):
            assert ask(daemon.port).startswith(b"HTTP/1.1 502 ")
        assert daemon.memory - memory < 4 * MIB
        assert {it["reason"] for it in daemon.wait_for_records(10)} == {"bad_response"}
