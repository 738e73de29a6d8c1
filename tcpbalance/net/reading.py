"""What takes the bytes that come in at a socket, where it is not the transport's protocol."""

from __future__ import annotations

from socket import SocketType
from typing import Any, Protocol


class Reader(Protocol):
    """Reads a transport's socket in the place of its protocol.

    :ivar drains: whether it passes on what the peer had sent before its connection broke.
    """

    @property
    def drains(self) -> bool: ...

    def pull(self) -> None:
        """Read what there is, as far as one turn allows."""
        ...


class Source(Protocol):
    """What comes in at a socket, as a reader takes it.

    :ivar protocol: what gets it where no reader does; None once the socket is closed.
    :ivar readable: whether a read may bring something.
    :ivar done: whether no more is to be read.
    :ivar at_the_end: whether a short read is no sign that all was read.
    :ivar ending: whether the peer has finished sending, and all it sent is here to be read.
    :ivar splices: whether splice(2) works on the socket, as far as is known.
    """

    protocol: Any
    socket: SocketType
    readable: bool
    done: bool
    at_the_end: bool
    ending: bool
    splices: bool

    @property
    def is_open(self) -> bool:
        """Whether the socket is not closed yet."""
        ...

    def read_again(self) -> None:
        """Read on in the next turn, if there is more."""
        ...

    def pulled_by_sink(self) -> None:
        """Read on now: where the bytes go takes them again."""
        ...

    def on_eof(self) -> None:
        """All that the peer has sent is read."""
        ...

    def on_connection_error(self) -> None:
        """The connection is broken, and nothing is left to be read."""
        ...


class LayeredSocket(Protocol):
    """A socket with a layer above it.

    :ivar pending: what its last read has left to be done; None for nothing.
    """

    @property
    def pending(self) -> str | None: ...


class Layer(Protocol):
    """What is between a source and its reader, such as TLS.

    :ivar socket: beneath it.
    """

    @property
    def socket(self) -> LayeredSocket: ...

    def go_on(self) -> None:
        """Do what the last read has left to be done."""
        ...
