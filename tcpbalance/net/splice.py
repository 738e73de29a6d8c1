"""Pipes through which the kernel moves bytes from socket to socket without showing them to us: splice(2).

A pipe exists only while one direction of one session has bytes in it. Between two bursts it goes back to a
small store, so that an idle session holds none and a busy one makes none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from socket import SocketType
from typing import Protocol

from tcpbalance.net import descriptors

PIPE_SIZE = 256 * 1024
"""Bytes that a pipe has space for, a power of two for the kernel: so both directions of a session whose
readers have stopped hold half a mebibyte at most."""

LARGE_PIPE = 1024 * 1024
"""Bytes that each of the first pipes has space for: fs.pipe-max-size, beyond which root alone may go
(pipe(7)). Bulk for a reader that is no faster than the sender takes two thirds of the processor time that it
takes by pipes of ``PIPE_SIZE``."""

LARGE_PIPES = 4
"""How many there are of these. A pipe is lent only while it has bytes in it, so that a few serve all
transfers that flow; and with many, readers that have stopped would hold a mebibyte each, and a user without
privileges would soon have no pipe at all (fs.pipe-user-pages-soft: 64 MiB)."""

STORE = 32
"""Pipes kept ready; more than that are rarely between two bursts at the same moment."""

MAX_PIPES = 1024
DESCRIPTORS_A_PIPE = 16
"""Pipes at once, and not more of them than a sixteenth of the descriptors that the process may have. Beyond
it bytes are copied: descriptors are worth more to connections."""

F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)

_SPLICE_FLAGS = getattr(os, "SPLICE_F_MOVE", 1) | getattr(os, "SPLICE_F_NONBLOCK", 2)

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What splice(2) says of a socket that it does not work on, and a sandbox of splice(2)."""


class Pipe(Protocol):
    """Bytes under way between two sockets."""

    size: int
    """Bytes that it has space for."""

    held: int
    """How many are in it."""

    def fill(self, source: SocketType, size: int) -> int:
        """Take what *source* has, as much as the empty pipe holds.

        :param size: bytes to take at most.
        :returns: how many bytes; 0 at the end of the stream.
        :raises BlockingIOError: it has nothing now.
        :raises OSError: the connection is broken, or splice(2) does not work on it (``UNSUPPORTED``).
        """
        ...

    def drain(self, sink: SocketType) -> None:
        """Give *sink* what it takes of what is held.

        :raises BlockingIOError: it takes nothing now.
        :raises OSError: as for ``fill``.
        """
        ...

    def take_back(self) -> bytes:
        """Empty it: what a socket that cannot be spliced to has to be sent."""
        ...

    def close(self) -> None:
        """Give the pipe up with whatever is in it."""
        ...


class KernelPipe:
    """A pipe of the system's, of the size that is asked for or not at all.

    Past fs.pipe-user-pages-soft an unprivileged user's pipes hold no more than two pages (pipe(7)): through
    one of those, bulk takes longer than copied.

    :param size: bytes that it is to have space for.
    :raises OSError: none is to be had, or none of that size.
    """

    __slots__ = ("_reader", "_writer", "held", "size")

    def __init__(self, size: int) -> None:
        if not hasattr(os, "splice"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.size = size
        self.held = 0
        try:
            fcntl.fcntl(self._writer, F_SETPIPE_SZ, size)
        except OSError:
            self.close()
            raise

    def fill(self, source: SocketType, size: int) -> int:
        """See ``Pipe``."""
        size = size if size < self.size else self.size
        taken = os.splice(source.fileno(), self._writer, size, flags=_SPLICE_FLAGS)
        self.held += taken
        return taken

    def drain(self, sink: SocketType) -> None:
        """See ``Pipe``."""
        self.held -= os.splice(self._reader, sink.fileno(), self.held, flags=_SPLICE_FLAGS)

    def take_back(self) -> bytes:
        """See ``Pipe``."""
        data = os.read(self._reader, self.held)
        self.held = 0
        return data

    def close(self) -> None:
        """See ``Pipe``."""
        os.close(self._reader)
        os.close(self._writer)


class PipeStore:
    """Lends pipes, large ones first, and makes them where none is left over.

    :param make: makes one of a size; raises OSError where none is to be had.
    :param max_lent: pipes lent at once; by default what ``MAX_PIPES`` and ``DESCRIPTORS_A_PIPE`` allow.
    """

    def __init__(self, make: Callable[[int], Pipe] = KernelPipe, max_lent: int | None = None) -> None:
        self._make = make
        self._max_lent = _affordable() if max_lent is None else max_lent
        # The large ones are the last.
        self._idle: list[Pipe] = []
        self._large = 0
        self.lent = 0

    def take(self) -> Pipe | None:
        """Lend an empty pipe; None where there is none to be had, so that bytes have to be copied."""
        if self._idle:
            self.lent += 1
            return self._idle.pop()
        if self.lent >= self._max_lent:
            return None
        pipe = self._new()
        if pipe is not None:
            self.lent += 1
        return pipe

    def _new(self) -> Pipe | None:
        if self._large < LARGE_PIPES:
            with contextlib.suppress(OSError):
                pipe = self._make(LARGE_PIPE)
                self._large += 1
                return pipe
        with contextlib.suppress(OSError):
            return self._make(PIPE_SIZE)
        return None

    def give(self, pipe: Pipe) -> None:
        """Take a pipe back; one that still holds bytes is not lent again."""
        self.lent -= 1
        is_large = pipe.size > PIPE_SIZE
        if pipe.held or len(self._idle) >= STORE:
            pipe.close()
            self._large -= is_large
        else:
            self._idle.insert(len(self._idle) if is_large else 0, pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        while self._idle:
            pipe = self._idle.pop()
            self._large -= pipe.size > PIPE_SIZE
            pipe.close()


def _affordable() -> int:
    return min(MAX_PIPES, descriptors.limit() // DESCRIPTORS_A_PIPE)
