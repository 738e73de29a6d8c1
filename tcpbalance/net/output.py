"""Bytes on their way to one peer: what its socket does not take is kept until it takes more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol


class SendingSocket(Protocol):
    """A socket, as far as bytes go into it."""

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0, /) -> int: ...


class Output:
    """Sends to one socket. An error of the socket is left to the caller, and nothing is kept behind it.

    :param socket: connected, not blocking.
    :ivar splices: whether splice(2) works into the socket, as far as is known.
    :ivar full: whether the socket takes no more for now.
    :ivar unsent: the bytes that are kept, in their order; None while there are none.
    :ivar cut_short: whether some were dropped, because the connection was broken or closed.
    """

    __slots__ = ("_socket", "cut_short", "full", "splices", "unsent")

    def __init__(self, socket: SendingSocket) -> None:
        self._socket = socket
        self.splices = True
        self.full = False
        self.cut_short = False
        self.unsent: bytearray | None = None

    def send(self, data: bytes, flags: int = 0) -> bool:
        """Send *data*, while nothing is kept.

        :param flags: ``pump.MORE`` where the end follows at once.
        :returns: whether the socket took all and may take more.
        :raises OSError: the connection is broken.
        """
        try:
            sent = self._socket.send(data, flags)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.cut_short = True
            raise
        if sent == len(data):
            return True
        self.keep(data, sent)
        return False

    @property
    def sender(self) -> Callable[[bytes], int]:
        """What sends a message while nothing is kept, and returns how many of its bytes are taken: of `send`
        the part that nearly every message needs."""
        return self._socket.send

    def keep(self, data: bytes, sent: int) -> None:
        """Keep all but the first *sent* bytes, which were taken."""
        self.unsent = bytearray(memoryview(data)[sent:])
        self.full = True

    def flush(self) -> bool:
        """Send what is kept, now that the socket takes bytes again.

        :returns: whether the socket took all and may take more.
        :raises OSError: the connection is broken.
        """
        self.full = False
        if self.unsent is not None:
            with contextlib.suppress(BlockingIOError):
                del self.unsent[: self._socket.send(self.unsent)]
            if self.unsent:
                self.full = True
            else:
                self.unsent = None
        return not self.full

    def drop(self) -> None:
        """Forget what is kept."""
        self.cut_short = self.cut_short or self.unsent is not None
        self.unsent = None

    def waiting(self) -> int:
        """Count the bytes that are kept."""
        return 0 if self.unsent is None else len(self.unsent)
