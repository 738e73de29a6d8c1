"""As much of HTTP as our clients need."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from ssl import SSLSocket

from bench import offer
from bench.certificates import NAME
from bench.errors import Failed
from bench.process import Child
from bench.usage import listens
from bench.waiting import until

HOST = "127.0.0.1"
_PATIENCE = 60.0
_STARTS_WITHIN = 20.0
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)
_BLOCK = 1 << 20
_WAKE_AT = 1 << 18
"""How many bytes have to lie there before a download is woken: without this, a client spends the more the
smaller the pieces are in which a proxy sends, and takes that from the proxy where cores are few."""


def connect(port: int, source: str = "", *, tls: bool = False) -> socket.socket:
    """Connect, from the address `source` where one is given; with TLS, the handshake has been made."""
    sock = socket.create_connection((HOST, port), timeout=_PATIENCE, source_address=(source, 0))
    if not tls:
        return sock
    try:
        return offer.context().wrap_socket(sock, server_hostname=NAME)
    except BaseException:
        sock.close()
        raise


def get(sock: socket.socket, path: str) -> int:
    """Fetch a page on an open connection and throw the body away.

    :returns: the size of the body, in bytes, exactly as the answer said.
    :raises Failed: when the answer is not 200, or ends early.
    """
    return sum(pieces(sock, path))


def pieces(sock: socket.socket, path: str) -> Iterator[int]:
    """Fetch a page on an open connection, and give the size of each piece of the body that came, in bytes.

    :raises Failed: when the answer is not 200, or ends early.
    """
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head, _, start = _read_head(sock).partition(b"\r\n\r\n")
    length = length_of(head)
    if start:
        yield len(start)
    yield from _discard(sock, length - len(start))


def read_answer(sock: socket.socket) -> None:
    """Take an answer without a body.

    :raises Failed: when it is not 200.
    """
    length_of(_read_head(sock).partition(b"\r\n\r\n")[0])


def length_of(head: bytes) -> int:
    """Give the size of the body that follows the head of an answer, in bytes.

    :raises Failed: when the answer is not 200, or does not say.
    """
    length = _LENGTH.search(head + b"\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise Failed(f"not an answer: {head[:100]!r}")
    return int(length[1])


def _read_head(sock: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(4096)
        if not piece:
            raise Failed("closed before an answer")
        received += piece
    return received


def _discard(sock: socket.socket, left: int) -> Iterator[int]:
    """Take exactly `left` bytes; without TLS, the kernel throws them away without copying them to us."""
    block = bytearray(min(left, _BLOCK))
    plain = not isinstance(sock, SSLSocket)
    while left > 0:
        if plain:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(left, _WAKE_AT))
        size = sock.recv_into(block, min(left, _BLOCK), socket.MSG_TRUNC if plain else 0)
        if size == 0:
            raise Failed(f"closed with {left} bytes to come")
        left -= size
        yield size
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def wait_for_answer(port: int, child: Child, *, tls: bool = False) -> None:
    """Wait until an HTTP request to this port is answered well.

    :param child: the process that should answer, directly or by those behind it.
    :raises Failed: when it has ended, or does not answer in time.
    """

    def answers() -> bool:
        child.check()
        # A benchmark beside this one may have taken the port between: it would answer, too.
        if not listens(child.pid, port):
            return False
        try:
            with connect(port, tls=tls) as sock:
                return get(sock, "/") > 0
        except (OSError, Failed):
            return False

    until(answers, "an answer", _STARTS_WITHIN)
