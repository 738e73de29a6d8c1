"""Pipes for splicing in memory, which can be had or not, and work on a socket or not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from socket import SocketType
from typing import Literal

from attrs import define, field

from tcpbalance.net.splice import LARGE_PIPE, PipeStore

Refused = Literal["", "source", "sink"]


@define(eq=False)
class MemoryPipe:
    """See ``tcpbalance.net.splice.Pipe``.

    :param maker: knows what it does.
    :param size: bytes that it has space for.
    """

    maker: MemoryPipes
    size: int
    content: bytearray = field(factory=bytearray)

    @property
    def held(self) -> int:
        return len(self.content)

    @held.setter
    def held(self, _: int) -> None:
        raise AssertionError("only a pipe itself knows what it holds")

    def fill(self, source: SocketType, size: int) -> int:
        assert not self.content, "filled before it was empty"
        self._check("source")
        self.content += source.recv(min(size, self.size))
        self.maker.on_fill()
        return self.held

    def drain(self, sink: SocketType) -> None:
        self._check("sink")
        del self.content[: sink.send(self.content)]

    def take_back(self) -> bytes:
        data = bytes(self.content)
        self.content.clear()
        return data

    def close(self) -> None:
        self.maker.open -= 1

    def _check(self, socket_kind: Refused) -> None:
        if self.maker.refused == socket_kind:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@define(eq=False)
class MemoryPipes:
    """Makes pipes, and says how they are.

    :param size: bytes that each holds at most.
    :param most: how many may be open; one more fails, as when no descriptor is left.
    :param refused: on which sockets splicing does not work.
    :ivar on_fill: called when one has been filled.
    :ivar open: how many are open.
    :ivar made: how many there have ever been.
    """

    size: int = LARGE_PIPE
    most: int = 1000
    refused: Refused = ""
    on_fill: Callable[[], None] = lambda: None
    open: int = 0
    made: int = 0

    def make(self, size: int) -> MemoryPipe:
        """One more.

        :param size: bytes that it is asked to have space for.
        :raises OSError: too many are open.
        """
        if self.open >= self.most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.open += 1
        self.made += 1
        return MemoryPipe(self, min(size, self.size))

    def store(self) -> PipeStore:
        """A store of them."""
        return PipeStore(self.make)


def no_pipes() -> PipeStore:
    """A store that lends nothing."""
    return PipeStore(max_lent=0)
