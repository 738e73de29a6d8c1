"""How connections end: what is reported to protocols, what resets, and what is still on its way."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import sys
import termios
from socket import SocketType
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

DONE = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's is not annotated
LOST = Failure(ConnectionLost())  # type: ignore[no-untyped-call]
ABORTED = Failure(ConnectionAborted())  # type: ignore[no-untyped-call]

NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER set to this makes ``close`` a reset."""

_LINGER_AS_USUAL = struct.pack("ii", 0, 0)

_INTERNET = (socket.AF_INET, socket.AF_INET6)

# Kept: to make one takes longer than to ask it.
_poll = select.poll()

# Where ioctl(2) writes. Given bytes, Python fails to write to them, formats an error, and then copies them.
_counted = bytearray(4)


def reset_on_close(sock: SocketType) -> None:
    """Let the ``close`` of a socket be a reset, where the system allows it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


def end_on_close(sock: SocketType) -> None:
    """Let the ``close`` of a socket be an end in order again."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AS_USUAL)


def report_connection_error(protocol: Any) -> None:
    """Report to a protocol that asks for it that its connection is broken before all that came is read.

    :param protocol: it still gets those bytes, and then ``connectionLost``.
    """
    report = getattr(protocol, "on_connection_error", None)
    if report is not None:
        report()


def unacknowledged(sock: SocketType) -> int:
    """Bytes, and the end of the stream, that the kernel has and the peer's has not acknowledged: tcp(7)."""
    fcntl.ioctl(sock, termios.TIOCOUTQ, _counted)
    return int.from_bytes(_counted, sys.byteorder)


def took_nothing(sock: SocketType, size: int) -> bool:
    """Whether the peer's kernel has acknowledged none of the last bytes that were sent.

    :param size: how many these are.
    :returns: False where that cannot be known, as at a unix socket.
    """
    with contextlib.suppress(OSError, ValueError):
        return sock.family in _INTERNET and unacknowledged(sock) >= size
    return False


def has_news(sock: SocketType) -> bool:
    """Whether something has come at a socket that was not read: bytes, the end of the stream, or a break,
    which it keeps for the one that reads."""
    descriptor = sock.fileno()
    _poll.register(descriptor, select.POLLIN)
    found = _poll.poll(0)
    _poll.unregister(descriptor)
    return bool(found)


def unread(sock: SocketType) -> int:
    """Bytes that have come and were not read: tcp(7)."""
    fcntl.ioctl(sock, termios.FIONREAD, _counted)
    return int.from_bytes(_counted, sys.byteorder)
