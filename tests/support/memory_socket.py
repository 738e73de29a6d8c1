"""Connected stream sockets in memory, with what a kernel does to bytes, FIN and RST.

They follow Linux (tcp(7), net/ipv4/tcp.c) where that shows to a program: what has arrived stays readable
after a reset, closing with unread bytes resets, bytes for a closed socket are answered with a reset, bytes
sent with MSG_MORE wait for what follows (for ever here, where the kernel gives up after 200 ms), a socket is
writable only while a third of its buffer is free, and ``poll`` reports errors and hang-ups to whoever is
registered, asked for or not. Travelling takes no time, as over the loopback device.

What wakes an edge-triggered ``epoll`` is told to a ``Watcher``, and nothing more: bytes, FIN or RST that have
come in, the socket's own ``shutdown``, and room after the lack of it was noticed, by a send that was refused
or cut short or by a look (SOCK_NOSPACE in net/ipv4/tcp.c and net/core/stream.c).
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import define, field

SEND_BUFFER = 32 * 1024
"""Bytes the sender's kernel holds for a receiver that has no room."""

RECEIVE_BUFFER = 64 * 1024
"""Bytes the receiver's kernel holds for a program that does not read."""

HERE = ("192.0.2.80", 80)
"""What every socket calls its own address."""

NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER set to this makes ``close`` a reset."""


class Watcher(Protocol):
    """What is told of edges, and of the end of them."""

    def woken(self, number: int) -> None:
        """Something has happened at the socket with that number."""
        ...

    def closed(self, number: int) -> None:
        """It is no more."""
        ...


def _nobody() -> None:
    """Nobody listens."""


@define(eq=False)
class Pipe:
    """One direction of a connection: the sender's buffer, the receiver's buffer, and where the FIN is.

    :param send_limit: capacity of the sender's buffer, in bytes.
    :param receive_limit: capacity of the receiver's buffer, in bytes.
    :ivar on_arrival: called when the receiver has got bytes, or the FIN.
    :ivar on_room: called when the sender's buffer has got emptier.
    """

    send_limit: int
    receive_limit: int
    unsent: bytearray = field(factory=bytearray)
    unread: bytearray = field(factory=bytearray)
    corked: bool = False
    finished: bool = False
    fin_arrived: bool = False
    on_arrival: Callable[[], None] = _nobody
    on_room: Callable[[], None] = _nobody

    @property
    def writable(self) -> bool:
        """Whether ``poll`` would call the sender: at least a third of the buffer is free."""
        return 3 * len(self.unsent) <= 2 * self.send_limit

    def push(self, data: bytes | memoryview, more: bool = False) -> int:
        """Take as many bytes as there is room for and tell how many.

        :param more: whether the last segment, of which we know the last byte, is to wait for what follows.
        """
        self.corked = more
        room = self.send_limit - len(self.unsent)
        straight = 0 if self.unsent else self.receive_limit - len(self.unread)
        taken = min(len(data), room + straight)
        self.unsent += data[:taken]
        self.carry()
        return taken

    def pull(self, limit: int) -> bytes:
        """Give the receiver at most *limit* bytes."""
        data = bytes(self.unread[:limit])
        del self.unread[:limit]
        self.carry()
        return data

    def finish(self) -> None:
        """Put the FIN behind the last byte."""
        self.finished = True
        self.carry()

    def break_off(self) -> None:
        """Forget what has not travelled yet."""
        self.unsent.clear()
        self.finished = False

    def carry(self) -> None:
        """Move what the receiver has room for; the FIN goes when the last byte has gone."""
        waits = 1 if self.corked and not self.finished else 0
        moved = self.unsent[: min(self.receive_limit - len(self.unread), len(self.unsent) - waits)]
        self.unread += moved
        del self.unsent[: len(moved)]
        ends = self.finished and not self.unsent and not self.fin_arrived
        self.fin_arrived = self.fin_arrived or ends
        if moved or ends:
            self.on_arrival()
        if moved:
            self.on_room()


class MemorySocket:
    """One end of a connection: the part of ``socket.socket`` that transports use.

    :param incoming: what the other end sends.
    :param outgoing: what this end sends.
    :param number: stands for the file descriptor; a later connection has a higher one.
    :ivar watcher: told of edges; None while nobody has registered the socket.
    """

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, incoming: Pipe, outgoing: Pipe, number: int) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.other: MemorySocket
        self.options: dict[tuple[int, int], int | bytes] = {}
        self.closed = False
        self.was_reset = False
        self.number = number
        self.watcher: Watcher | None = None
        self._on_connect: Callable[[MemorySocket, tuple[str, int]], int] | None = None
        self._target = ("", 0)
        self._connecting = False
        self._waits = False
        self._dead = False
        self._error = 0
        self._lacks_room = False
        incoming.on_arrival = self._wake
        outgoing.on_room = self._room_appeared

    @property
    def write_closed(self) -> bool:
        """Whether this end has said that it sends no more."""
        return self.outgoing.finished

    @property
    def has_news(self) -> bool:
        """Whether bytes, an end or a break have come that were not read."""
        return bool(self.incoming.unread) or self.incoming.fin_arrived or self._dead

    # How it comes to be connected, where it is not from the beginning.

    def connect_later(self, on_connect: Callable[[MemorySocket, tuple[str, int]], int]) -> None:
        """Be a socket that is not connected.

        :param on_connect: called with the socket and the address to connect to; gives what ``connect_ex``
            does.
        """
        self._on_connect = on_connect

    def accepted(self) -> None:
        """The other side has accepted."""
        self._connecting = False
        self._wake()

    def refused(self, code: int) -> None:
        """The connection has failed."""
        self._connecting = False
        self._dead = True
        self._error = code
        self._wake()

    def connect_ex(self, address: tuple[str, int]) -> int:
        """See connect(2): the first call begins, and those after that ask how it stands."""
        call, self._on_connect = self._on_connect, None
        if call is not None:
            self._target = address
            code = call(self, address)
            self._connecting = code == errno.EINPROGRESS
            return code
        if self._connecting:
            return errno.EALREADY
        return self._take_error() if self._dead else errno.EISCONN

    # What programs call.

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def getsockname(self) -> tuple[str, int]:
        return HERE

    def getpeername(self) -> tuple[str, int]:
        return self._target

    def setblocking(self, blocking: bool) -> None:
        self._waits = blocking

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        self.options[level, name] = value

    def getsockopt(self, level: int, name: int, size: int = 0) -> int | bytes:
        if size:
            return bytes(size)
        if (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self._take_error()
        return self.options.get((level, name), 0)

    def recv(self, limit: int, flags: int = 0) -> bytes:
        self._check_open()
        if self.incoming.unread and flags & socket.MSG_PEEK:
            return bytes(self.incoming.unread[:limit])
        if self.incoming.unread:
            return self.incoming.pull(limit)
        if self.incoming.fin_arrived:
            return b""
        if self._error:
            raise _os_error(self._take_error())
        if self._dead:
            return b""
        self._must_not_wait(flags)
        raise _os_error(errno.EWOULDBLOCK)

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        self._check_open()
        if self._error:
            raise _os_error(self._take_error())
        if self._dead or self.outgoing.finished:
            raise _os_error(errno.EPIPE)
        if self.other.closed:
            self.other._send_reset()
            return len(data)
        taken = self.outgoing.push(data, bool(flags & socket.MSG_MORE))
        if taken < len(data):
            self._must_not_wait(flags)
            self._lacks_room = True
            # What was held back made room by leaving, after it had been counted as being in the way.
            self._room_appeared()
        if data and not taken:
            raise _os_error(errno.EWOULDBLOCK)
        return taken

    def shutdown(self, how: int) -> None:
        self._check_open()
        if self._dead:
            raise _os_error(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self.outgoing.finish()
        self._wake()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.watcher is not None:
            self.watcher.closed(self.number)
            self.watcher = None
        if self._connecting or self._dead or self._over:
            return
        if self._lingers_not() or self.incoming.unread:
            self._send_reset()
        else:
            self.outgoing.finish()

    # What the kernel does.

    def events(self) -> int:
        """The conditions that hold, as epoll(7) names them, asked for or not."""
        if self._connecting:
            return 0
        if self._dead:
            failed = select.EPOLLERR if self._error else 0
            return select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLHUP | failed
        readable = self.incoming.unread or self.incoming.fin_arrived
        writable = self.outgoing.finished or self.outgoing.writable
        over = self.outgoing.finished and self.incoming.fin_arrived
        return (
            (select.EPOLLIN if readable else 0)
            | (select.EPOLLOUT if writable else 0)
            | (select.EPOLLRDHUP if self.incoming.fin_arrived else 0)
            | (select.EPOLLHUP if over else 0)
        )

    def look(self) -> int:
        """``events``, for an epoll: one that finds no room is told when there is some."""
        events = self.events()
        self._lacks_room = self._lacks_room or not events & select.EPOLLOUT
        return events

    def hear_reset(self) -> None:
        """A RST came in: what has arrived stays readable, what has not left never leaves."""
        if self._dead:
            return
        self._dead = self.was_reset = True
        self._error = errno.EPIPE if self.incoming.fin_arrived else errno.ECONNRESET
        self.outgoing.break_off()
        self._wake()

    def _wake(self) -> None:
        if self.watcher is not None:
            self.watcher.woken(self.number)

    def _room_appeared(self) -> None:
        if self._lacks_room and self.outgoing.writable:
            self._lacks_room = False
            self._wake()

    def _send_reset(self) -> None:
        self._dead = True
        self.outgoing.break_off()
        self.other.hear_reset()

    @property
    def _over(self) -> bool:
        """Both FINs have arrived: there is no connection left to reset."""
        return self.incoming.fin_arrived and self.outgoing.fin_arrived

    def _lingers_not(self) -> bool:
        return self.options.get((socket.SOL_SOCKET, socket.SO_LINGER)) == NO_LINGER

    def _take_error(self) -> int:
        code, self._error = self._error, 0
        return code

    def _must_not_wait(self, flags: int) -> None:
        assert not self._waits or flags & socket.MSG_DONTWAIT, "nothing here can wait"

    def _check_open(self) -> None:
        if self.closed:
            raise _os_error(errno.EBADF)


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def connected_pair(
    numbers: Iterator[int] | None = None, send_buffer: int = SEND_BUFFER, receive_buffer: int = RECEIVE_BUFFER
) -> tuple[MemorySocket, MemorySocket]:
    """Two sockets connected to each other.

    :param numbers: where their descriptor numbers come from.
    :param send_buffer: bytes the kernel holds on the sender's side, in each direction.
    :param receive_buffer: bytes the kernel holds on the receiver's side, in each direction.
    """
    numbers = numbers or itertools.count(1000)
    one_way, other_way = Pipe(send_buffer, receive_buffer), Pipe(send_buffer, receive_buffer)
    one = MemorySocket(one_way, other_way, next(numbers))
    other = MemorySocket(other_way, one_way, next(numbers))
    one.other, other.other = other, one
    return one, other
