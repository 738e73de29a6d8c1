"""A leg: one socket on the poller, and the transport that protocols see of it.

At first a leg is a transport like Twisted's own: bytes that come in go to the protocol, bytes that the
protocol writes go out, a producer is paused while too many wait. From ``join`` on its bytes go to another
leg, in a ``Pump``; ends and breaks are still told to the protocol.

Unlike Twisted's transports, a leg writes and closes inside the call where it can. What breaks inside a write
is told in a later turn, so that nobody is called back from within it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from socket import SocketType
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.addresses import PeerAddress, peer_address, shown
from tcpbalance.net.faults import is_our_own
from tcpbalance.net.poller import (
    ERROR,
    HANG_UP,
    PEER_ENDED,
    READABLE,
    URGENT,
    WRITABLE,
    Poller,
)
from tcpbalance.net.pump import CHUNK, READS_A_TURN, Pump
from tcpbalance.net.transport import Transport
from tcpbalance.net.wheel import Wheel

BUFFER = 64 * 1024
"""Bytes that may wait in a leg before its producer is paused, as in Twisted's transports."""

_END = PEER_ENDED | HANG_UP
_SOMETHING_TO_READ = READABLE | URGENT | _END

NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER set to this makes ``close`` a reset."""

DONE = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's is not annotated
LOST = Failure(ConnectionLost())  # type: ignore[no-untyped-call]
_ABORTED = Failure(ConnectionAborted())  # type: ignore[no-untyped-call]


@implementer(ITransport, IPushProducer, IConsumer)
class SocketTransport:
    """One connected socket, owned from here on.

    :param board: calls it when something has happened at the socket.
    :param sock: connected, not blocking.
    :param protocol: an IHalfCloseableProtocol; told of what comes in, of ends and of breaks.
    :param peer: the peer's address.
    :ivar socket: while the leg is open.
    :ivar readable: whether a read may bring something.
    :ivar at_the_end: whether a short read is no sign that all was read: the peer's end, urgent data, or on a
        unix socket a message with descriptors, may stand behind it.
    :ivar ending: whether the peer has finished sending, and all it sent is here to be read.
    :ivar full: whether the socket takes no more for now.
    :ivar splices: whether splice(2) works on the socket, as far as is known.
    :ivar cut_short: whether bytes for the peer were dropped, because the connection broke.
    """

    can_half_close = True
    ends_by_close_notify = False

    __slots__ = (
        "_broken",
        "_chunk",
        "_closing",
        "_done_reading",
        "_finishing",
        "_incoming",
        "_looking",
        "_open",
        "_outgoing",
        "_paused",
        "_peer",
        "_poller",
        "_producer",
        "_protocol",
        "_queued",
        "_shown",
        "_unsent",
        "at_the_end",
        "cut_short",
        "ending",
        "full",
        "readable",
        "socket",
        "splices",
    )

    def __init__(self, poller: Poller, sock: SocketType, protocol: Any, peer: PeerAddress) -> None:
        self.socket = sock
        self.readable = False
        # A read of a unix socket stops where a message with descriptors does: unix(7).
        self.at_the_end = isinstance(peer, UNIXAddress)
        self.ending = False
        self.full = False
        self.splices = True
        self._chunk = CHUNK
        self._poller = poller
        self._protocol = protocol
        self._peer = peer
        self._producer: Any = None
        self.cut_short = False
        self._unsent: bytearray | None = None
        self._incoming: Pump | None = None
        self._outgoing: Pump | None = None
        self._open = True
        self._broken = 0
        self._paused = False
        self._queued = False
        self._looking = False
        self._shown = 0
        self._done_reading = False
        self._finishing = False
        self._closing = False

    # What the poller tells

    def on_events(self, events: int) -> None:
        """See ``switchboard.Handler``."""
        if events & ERROR and (error := self._error()):
            if self._broken:
                # A write has met it first, to which a unix socket says EPIPE whatever has happened.
                self._broken = error
            else:
                self._break(error)
                self._drain_then_fail()
            return
        if events & _SOMETHING_TO_READ:
            self.readable = not self._done_reading
            if events & _END:
                self.at_the_end = True
                self.ending = not self._broken
            if events & URGENT:
                # A read stops before the urgent byte, short and with more behind it; splice(2) stays there.
                self.at_the_end = True
                self.splices = False
        if self.full and events & WRITABLE:
            self._go_on_writing()
        if self.readable and not self._queued:
            self._read()

    def on_failure(self, failure: Failure) -> None:
        """See ``switchboard.Handler``."""
        self._close_with(failure, reset=True)

    def on_teardown(self) -> None:
        """See ``switchboard.Handler``."""
        self._close_with(LOST, reset=True)

    def _error(self) -> int:
        """Take the socket's error, which the kernel tells once; 0 where there is none."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._open else 0

    # Reading

    def _read(self) -> None:
        """Take what has come in to whoever it is for."""
        if self._outgoing is not None:
            self._outgoing.pull()
        elif self._looking:
            self._look()
        else:
            self._read_for_protocol()

    def _read_for_protocol(self) -> None:
        for _ in range(READS_A_TURN):
            if not self.readable or self._paused:
                return
            try:
                data = self.socket.recv(self._chunk)
            except BlockingIOError:
                self.readable = False
                return
            except OSError:
                self.on_connection_error()
                return
            if not data:
                self.on_eof()
                return
            if len(data) < self._chunk:
                self.readable = self.at_the_end
            self._protocol.dataReceived(data)
            if self._outgoing is not None:
                break
        self.read_again()

    def look(self) -> None:
        """Show the protocol what comes in before it is read, so that it can ``leave`` some of it."""
        self._looking = True

    def leave(self, count: int) -> None:
        """Read what the protocol is being shown, less the last *count* bytes; then go on as usual."""
        if self._looking:
            self._looking = False
            self._take(self._shown - count)

    def confirm_end(self) -> bool:
        """See ``Transport``: what is reported as the end is the end."""
        return True

    def read_at_most(self, size: int) -> None:
        """See ``Transport``."""
        self._chunk = size

    def hand_over(self, protocol: Any) -> None:
        """Report to another protocol from here on."""
        self._protocol = protocol

    def detach_socket(self) -> SocketType:
        """Give up the socket, for another leg; this one is no more, and tells nobody."""
        self._open = self.full = self.readable = False
        self._done_reading = True
        self._protocol = self._producer = self._unsent = None
        return self.socket

    def _look(self) -> None:
        try:
            data = self.socket.recv(CHUNK, socket.MSG_PEEK)
        except BlockingIOError:
            self.readable = False
            return
        except OSError:
            self.on_connection_error()
            return
        if not data:
            self.on_eof()
            return
        self._shown = len(data)
        self._protocol.dataReceived(data)
        if self._looking and self._open:
            self._take(self._shown)
        self.read_again()

    def _take(self, count: int) -> None:
        # It was there a moment ago; what has happened since is told later.
        with contextlib.suppress(OSError):
            self.socket.recv(count)

    def read_again(self) -> None:
        """Read on in the next turn, if there is more."""
        if self.readable and not self._queued:
            self._queued = True
            self._poller.again(self, self._next_read)

    def _next_read(self) -> None:
        self._queued = False
        if self.readable:
            self._read()

    def on_eof(self) -> None:
        """All that the peer has sent is read: it has finished sending, or has broken off."""
        if not self._ended_in_order():
            self.on_connection_error()
            return
        self.readable = False
        self._done_reading = True
        self._protocol.readConnectionLost()
        if self._broken:
            self.on_connection_error()

    def _ended_in_order(self) -> bool:
        """Whether the end of the stream is the peer's own: behind a break the kernel shows one, too.

        The error of a break is EPIPE where the peer's FIN had come before: ``tcp_reset`` in
        net/ipv4/tcp_input.c.
        """
        return self._broken in (0, errno.EPIPE)

    def on_connection_error(self) -> None:
        """The peer, or the network, has broken off, and nothing is left to be read."""
        self._close_with(LOST)

    def _break(self, error: int) -> None:
        """Note that the connection is broken: nothing goes out any more, and what waits for that is dropped.

        :param error: the first that was met, an errno.
        """
        self._broken = error
        self.ending = False
        # Nothing more is taken: neither from the protocol nor from a direction.
        self.full = self._finishing = True
        self._drop_unsent()
        if self._incoming is not None:
            self._incoming.release()

    def _drop_unsent(self) -> None:
        self.cut_short = self.cut_short or self._unsent is not None
        self._unsent = None

    def break_later(self, error: OSError) -> None:
        """A write has failed: tell it in a later turn, since whoever wrote does not expect to be called back
        from within.

        Where this machine lacks something, as memory, the peer has not broken off: it is reset.

        :param error: what the write met. The kernel tells an error once and shows an end of the stream from
            then on.
        """
        if self._broken or not self._open:
            return
        self._break(error.errno or errno.EPIPE)
        if self._producer is not None:
            self._producer.pauseProducing()
        if is_our_own(self._broken):
            self.read_no_more()
            failure = Failure(error)  # type: ignore[no-untyped-call]
            self._poller.again(self, functools.partial(self._close_with, failure, reset=True))
        else:
            self._poller.again(self, self._drain_then_fail)

    def _drain_then_fail(self) -> None:
        """Read what the peer had sent before it broke off, and pass it on; then tell the break.

        The protocol is told at once that the break is to come where this takes longer: where the other side
        takes the bytes slowly, or there are more of them than one turn reads.
        """
        if self._done_reading or self._looking:
            self.on_connection_error()
            return
        # The kernel tells of nothing more; so read until the end is seen.
        self.readable = self.at_the_end = True
        self._read()
        if self._open and self._has_unread():
            report_connection_error(self._protocol)
        elif self._open:
            self.on_eof()

    def _has_unread(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        return False

    def read_no_more(self) -> None:
        """Leave what comes from now on unread; a break is still told."""
        self._done_reading = True
        self.readable = False

    def pulled_by_sink(self) -> None:
        """The leg that our bytes go to takes them again."""
        if self.readable and not self._queued:
            self._read()

    def relay_with(self, other: Transport, wheel: Wheel) -> tuple[Pump, Pump] | None:
        """See ``Transport``."""
        if not isinstance(other, SocketTransport):
            return None
        pipes = self._poller.pipes
        there, back = Pump(self, other, pipes, wheel), Pump(other, self, pipes, wheel)
        self._carry(there, back)
        other._carry(back, there)
        return there, back

    def _carry(self, outgoing: Pump, incoming: Pump) -> None:
        self._outgoing, self._incoming = outgoing, incoming
        self._producer = None
        self._paused = False
        self.read_again()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Read again, from the next turn on."""
        if self._paused:
            self._paused = False
            self.read_again()

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""
        self.loseConnection()

    # Writing

    def write(self, data: bytes, flags: int = 0) -> None:
        """Send *data*, or keep it until the socket takes it.

        :param flags: ``MORE`` where the end follows at once.
        """
        if self._finishing or self._closing or not self._open or not data:
            return
        if self._unsent is None:
            self._send(data, flags)
        else:
            self._unsent += data
        if self._unsent is not None and self._producer is not None and len(self._unsent) > BUFFER:
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send each of *data*."""
        self.write(b"".join(data))

    def put(self, data: bytes, flags: int = 0) -> bool:
        """Send *data* for a ``Pump``, and keep what the socket does not take.

        :param flags: as for ``write``.
        :returns: whether it took all.
        """
        try:
            sent = self.socket.send(data, flags)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.cut_short = True
            self.break_later(error)
            return False
        if sent == len(data):
            return True
        self._keep(data, sent)
        return False

    def _send(self, data: bytes, flags: int) -> None:
        try:
            sent = self.socket.send(data, flags)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.cut_short = True
            self.break_later(error)
            return
        if sent < len(data):
            self._keep(data, sent)

    def _keep(self, data: bytes, sent: int) -> None:
        self._unsent = bytearray(memoryview(data)[sent:])
        self.full = True

    def _go_on_writing(self) -> None:
        """The socket takes bytes again."""
        if self._broken:
            return
        self.full = False
        if self._unsent is not None:
            self._flush()
        if self._incoming is not None and not self.full:
            self._incoming.push()
        if self._open and not self.full:
            self._all_sent()

    def _flush(self) -> None:
        """Send what was kept."""
        assert self._unsent is not None
        try:
            del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            self.full = True
        except OSError as error:
            self.break_later(error)
        else:
            self.full = bool(self._unsent)
        if not self.full:
            self._unsent = None

    def _all_sent(self) -> None:
        """Nothing waits any more: do what waited for that."""
        if self._closing:
            self._close_with(DONE)
        elif self._finishing:
            self._shut_down()
        elif self._incoming is not None:
            self._incoming.source.pulled_by_sink()
        elif self._producer is not None:
            self._producer.resumeProducing()

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause *producer*, a push producer, while too many bytes wait here."""
        assert streaming, "a leg takes push producers only"
        self._producer = producer

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer = None

    # Ending

    def loseWriteConnection(self) -> None:
        """Finish sending, once all that was written is out."""
        if self._finishing or self._closing or not self._open:
            return
        self._finishing = True
        if not self.full:
            self._shut_down()

    def loseConnection(self) -> None:
        """Close, once all that was written is out."""
        if self._closing or not self._open:
            return
        if not self.full or self._broken:
            self._close_with(DONE)
            return
        self._closing = self._done_reading = True
        self.readable = False

    def abortConnection(self) -> None:
        """Close at once and with a reset."""
        self._close_with(_ABORTED, reset=True)

    def _shut_down(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.break_later(error)
        else:
            self._protocol.writeConnectionLost()

    def _close_with(self, failure: Failure, reset: bool = False) -> None:
        """Close the socket and tell the protocol; what the leg still had to send is lost."""
        if not self._open:
            return
        self._open = self.full = self.readable = False
        self._done_reading = True
        self._poller.forget(self.socket.fileno())
        if reset:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.socket.close()
        protocol, incoming = self._protocol, self._incoming
        # No circle is left behind for the garbage collector to find.
        self._drop_unsent()
        self._protocol = self._producer = self._incoming = self._outgoing = None
        if incoming is not None:
            incoming.release()
        protocol.connectionLost(failure)

    # What it knows

    @property
    def drained(self) -> bool:
        """See ``Transport``."""
        return not self.full

    def in_flight(self) -> int:
        """Bytes that wait here and in the kernel for the peer to acknowledge them; 0 once that is broken."""
        if not self._open or self._broken:
            return 0
        waiting = 0 if self._unsent is None else len(self._unsent)
        held = 0 if self._incoming is None else self._incoming.held
        return unacknowledged(self.socket) + waiting + held

    def getHandle(self) -> Any:
        """See ``Transport``."""
        return self.socket

    def getPeer(self) -> PeerAddress:
        """The address at the other end."""
        return self._peer

    def getHost(self) -> PeerAddress:
        """The address at this end."""
        return peer_address(self.socket.family, self.socket.getsockname())

    def __repr__(self) -> str:
        return f"<Leg to {shown(self._peer)}>"


def report_connection_error(protocol: Any) -> None:
    """Tell a protocol, where it wants to know, that its connection is broken before all that came is read.

    :param protocol: what it has still to be told is bytes, and then ``connectionLost``.
    """
    report = getattr(protocol, "on_connection_error", None)
    if report is not None:
        report()


def unacknowledged(sock: SocketType) -> int:
    """Bytes, and the end of the stream, that the kernel has and the peer's has not acknowledged: tcp(7)."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
