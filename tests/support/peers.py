"""Small backends of our own, in threads, for behaviour that no ready-made server shows."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from support.clients import TIMEOUT, read_all, reset

Handler = Callable[[socket.socket], None]
"""Serves one connection; the socket is closed after it returns."""


class Peer:
    """A listener on 127.0.0.1 and a thread for each of its connections.

    :param handler: serves a connection.
    :param port: where to listen; 0 for a free one.
    :param backlog: connections that the kernel keeps ready.
    :param accepting: whether connections are taken before `accept_from_now_on` is called.
    :ivar accepted: connections taken so far.
    :ivar broken: those of them that ended with an error, such as a reset.
    """

    def __init__(self, handler: Handler, port: int = 0, backlog: int = 1024, accepting: bool = True) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
        self._accepting = threading.Event()
        if accepting:
            self._accepting.set()
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.accepted = 0
        self.broken = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def open_connections(self) -> int:
        """How many connections it is serving."""
        return len(self._open)

    def accept_from_now_on(self) -> None:
        """Take connections that wait, and those to come."""
        self._accepting.set()

    def end(self) -> None:
        """Close the listener and every connection, and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.set()
        self._listener.close()
        self._threads[0].join(TIMEOUT)
        self.drop()
        for thread in self._threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), f"a connection of {self.address} does not end"

    def drop(self) -> None:
        """End every connection at once."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        self._accepting.wait()
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with self._lock:
                self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._handler(sock)
        except OSError:
            # What a broken connection does to a handler is for the test to judge.
            self.broken += 1
        with self._lock:
            self._open.discard(sock)
            sock.close()


@contextmanager
def peer(handler: Handler, port: int = 0) -> Iterator[Peer]:
    """Run one peer."""
    running = Peer(handler, port)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def named(*names: str) -> Iterator[list[Peer]]:
    """Run a peer for each name that says its name and is done."""
    with ExitStack() as stack:
        yield [stack.enter_context(peer(says(name.encode()))) for name in names]


def says(text: bytes) -> Handler:
    """Send a text, finish, and read what the client still has to say."""

    def handle(sock: socket.socket) -> None:
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)

    return handle


def answers(text: bytes) -> Handler:
    """Wait for the client's first bytes, and do as `says`."""
    say = says(text)

    def handle(sock: socket.socket) -> None:
        sock.recv(1 << 16)
        say(sock)

    return handle


def holds(text: bytes) -> Handler:
    """Send a text, and stay until the client has finished sending."""

    def handle(sock: socket.socket) -> None:
        sock.sendall(text)
        read_all(sock)

    return handle


def echo(sock: socket.socket) -> None:
    """Send back what comes, as it comes."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def hash_after_end(sock: socket.socket) -> None:
    """Answer with the SHA-256 of what came, once the client has finished sending, and not before."""
    sock.sendall(hashlib.sha256(read_all(sock)).hexdigest().encode())


def hang(sock: socket.socket) -> None:
    """Accept and say nothing, until the other side has had enough."""
    read_all(sock)


def ignore_the_end(sock: socket.socket) -> None:
    """Read until the other side has finished sending, and do not finish in turn."""
    read_all(sock)
    _wait_for_hangup(sock)


def read_nothing(sock: socket.socket) -> None:
    """Accept, and leave everything unread."""
    _wait_for_hangup(sock)


def _wait_for_hangup(sock: socket.socket) -> None:
    poll = select.poll()
    # Asked for no event, poll still reports a connection that is closed both ways, or broken.
    poll.register(sock, 0)
    poll.poll()


def reset_at_once(sock: socket.socket) -> None:
    """Accept and break off."""
    reset(sock)


def reset_after(text: bytes) -> Handler:
    """Wait for the client's first bytes, send a text, wait for one more byte, and break off.

    The byte is the client's word that the text arrived: a reset may overtake what was sent before it.
    """

    def handle(sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(text)
        sock.recv(1)
        reset(sock)

    return handle


def answer_unread(text: bytes) -> Handler:
    """Read a byte, send a text, and close; a kernel resets a connection that is closed with bytes unread."""

    def handle(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(text)

    return handle


def close_after(text: bytes) -> Handler:
    """Wait for the client's first bytes, send a text, and close, although more was promised."""

    def handle(sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(text)

    return handle


def floods(size: int) -> Handler:
    """Send `size` bytes as fast as they are taken."""

    def handle(sock: socket.socket) -> None:
        block = bytes(1 << 16)
        for _ in range(size // len(block)):
            sock.sendall(block)

    return handle


@contextmanager
def unanswering(host: str = "127.0.0.1") -> Iterator[str]:
    """Give an address at which a connection attempt gets no answer: a listener whose queue is full.

    :param host: where it listens, ``"0.0.0.0"`` for all of 127.0.0.0/8.
    """
    with socket.create_server((host, 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with _fillers(port):
            yield f"127.0.0.1:{port}"


@contextmanager
def _fillers(port: int) -> Iterator[None]:
    """Fill the queue of a listener that accepts nothing; that of a backlog of 0 takes one connection."""
    with ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield


@contextmanager
def late(handler: Handler) -> Iterator[Peer]:
    """Run a peer that leaves connection attempts unanswered until it is told to `accept_from_now_on`.

    The kernel repeats an unanswered attempt after a second (RFC 6298, section 2.1), so that is what a
    connection takes that begins before.
    """
    running = Peer(handler, backlog=0, accepting=False)
    try:
        with _fillers(running.port):
            yield running
    finally:
        running.end()
