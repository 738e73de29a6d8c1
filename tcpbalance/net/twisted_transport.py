"""Twisted's own transports: put on a connected socket, and given what they lack."""

from __future__ import annotations

import contextlib
import errno
import socket
from socket import SocketType
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted, ConnectionClosed, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_LOST
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from tcpbalance.net.end_queue import EndQueue
from tcpbalance.net.ends import (
    DONE,
    LOST,
    NO_LINGER,
    has_news,
    report_connection_error,
    took_nothing,
    unacknowledged,
    unread,
)
from tcpbalance.net.errnos import is_our_own


class ReadsToTheEnd(FileDescriptor):
    """Lets a transport of Twisted's read what came before its connection broke, and report its ends
    in their turn.

    Twisted closes the socket as soon as a write fails, or the reactor reports a hang-up; the kernel has the
    bytes that came in before all the same. It stands before the transport's class among the bases.

    :param ends: the queue that the peer's ends wait in.
    :param arguments: those of the transport's class.
    """

    socket: Any
    protocol: Any
    reactor: Any
    logstr: str
    _aborting: bool
    _broken = False
    _paused = False
    _read_end_waits = False
    _read_end_reported = False
    _loss_waits = False
    _write_error = 0
    _ended_in_order = False
    _given_up = False

    def __init__(self, ends: EndQueue, *arguments: Any) -> None:
        self._ends = ends
        super().__init__(*arguments)

    def __repr__(self) -> str:
        """Twisted's would name the port that it came from, which it does not know."""
        return f"<{self.logstr}>"

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._paused = True
        super().pauseProducing()  # type: ignore[no-untyped-call]  # Twisted's

    def resumeProducing(self) -> None:
        """Read again."""
        self._paused = False
        super().resumeProducing()  # type: ignore[no-untyped-call]

    def readConnectionLost(self, reason: Failure) -> None:
        """Twisted's call: the stream is at its end, which waits for its turn to be reported."""
        if self._ends.charge():
            self._report_read_end(reason)
        elif not self._read_end_waits:
            # One that is resumed while it waits comes to its end again.
            self._read_end_waits = True
            self._ends.wait(self._report_read_end, reason)

    def _report_read_end(self, reason: Failure) -> None:
        self._read_end_waits = False
        if self.disconnected or self.disconnecting or self._aborting:
            return  # It was closed meanwhile, and is not read any more.
        # Behind a break the kernel shows an end in any case.
        if self._ended_in_order or not self._broken:
            self._read_end_reported = True
            super().readConnectionLost(reason)
        if self._broken:
            self._lose(LOST)

    def connectionLost(self, reason: Failure) -> None:
        """Twisted's call: the connection is no more. A break waits for its turn to be reported, unless the
        reactor has no more turns. An end in order does not wait, nor do a reset from this side and a fault of
        ours."""
        if self._given_up:
            # The reactor notices that the socket was closed since it was read from.
            return
        error = reason.value
        if (isinstance(error, ConnectionDone) and not self._broken) or isinstance(error, ConnectionAborted):
            super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's
            return
        if not isinstance(error, ConnectionLost) or not getattr(self.reactor, "running", True):
            self._lose(reason)
            return
        # A writer that stays meets the break again and again; so does a write meanwhile.
        self.stopReading()  # type: ignore[no-untyped-call]
        self.stopWriting()  # type: ignore[no-untyped-call]
        if self._ends.charge():
            self._report_loss(reason)
        elif not self._loss_waits:
            self._loss_waits = True
            self._ends.wait(self._report_loss, reason)

    def abortConnection(self) -> None:
        """Reset the connection, which is reported in the next turn."""
        # It is charged to this one: many may follow from many breaks.
        self._ends.charge()
        super().abortConnection()  # type: ignore[misc]  # It is the transport's class that has it.

    def _report_loss(self, reason: Failure) -> None:
        self._loss_waits = False
        # It may have come to another end meanwhile.
        if not self.disconnected:
            self._lose(reason)

    def _lose(self, reason: Failure) -> None:
        """Read on before the connection is lost, if there is anything to be read."""
        if isinstance(reason.value, ConnectionLost) and not self._aborting and self._has_close_notify():
            reason = DONE
        if not self._broken and isinstance(reason.value, ConnectionLost) and self._has_more_to_report():
            self._read_on()
        elif self._broken and isinstance(reason.value, ConnectionDone):
            # ``loseConnection`` calls this from within, since it has nothing to write any more.
            self.reactor.callLater(0, super().connectionLost, reason)
        else:
            if not isinstance(reason.value, ConnectionClosed):
                self._reset_on_close()
            super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's

    def _has_close_notify(self) -> bool:
        """Whether the peer has ended TLS in order: what its kernel resets after that takes nothing back."""
        if not getattr(self, "TLS", False) or not isinstance(self.protocol, TLSMemoryBIOProtocol):
            return False
        tls: Any = self.protocol._tlsConnection
        return tls is not None and bool(tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

    def _reset_on_close(self) -> None:
        """It ends by a fault of ours: the peer has not got all, and must not take what it has for all."""
        self._shouldShutdown = False
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)

    def unacknowledged(self) -> int:
        """Bytes that the kernel holds for the peer; none once that is broken."""
        return 0 if self._broken or self.disconnected else unacknowledged(self.socket)

    def give_up(self) -> SocketType:
        """Leave the socket to the caller, and report nothing more."""
        self.stopReading()  # type: ignore[no-untyped-call]  # Twisted's
        self.stopWriting()  # type: ignore[no-untyped-call]
        self._given_up = self.disconnected = True
        sock: SocketType = self.socket
        return sock

    def has_input(self) -> bool:
        """Whether bytes have come that were not read."""
        return not self.disconnected and unread(self.socket) > 0

    def has_news(self) -> bool:
        """Whether bytes, an end or a break have come that were not read."""
        return bool(self.disconnected) or has_news(self.socket)

    def took_nothing(self, size: int) -> bool:
        """Whether the peer's kernel has got none of the last bytes that the kernel was given."""
        return not self.disconnected and took_nothing(self.socket, size)

    def writeSomeData(self, data: Any) -> Any:
        """Twisted's call: send some of it.

        Unlike Twisted's own, it does not call a lack of memory the peer's break, or try again at once.

        :returns: the number of bytes; or an exception, with which the connection ends.
        """
        try:
            return self.socket.send(memoryview(data)[: self.SEND_LIMIT])
        except BlockingIOError:
            return 0
        except OSError as error:
            self._write_error = error.errno or 0
            return error if is_our_own(self._write_error) else CONNECTION_LOST

    def _has_more_to_report(self) -> bool:
        """Whether bytes, or an end, that came before its connection broke have not been read yet."""
        if self.disconnected or self.disconnecting or self._aborting:
            return False
        self._ended_in_order = self._end_came_before_break()
        return self._ended_in_order or self._has_unread()

    def _end_came_before_break(self) -> bool:
        """Whether there is an end of the peer's own to be reported to a protocol that knows half-close.

        The error of a break is EPIPE where the peer's FIN had come before: ``tcp_reset`` in
        net/ipv4/tcp_input.c. A write to a unix socket fails with that in any case, but the socket keeps its
        error.
        """
        if self._read_end_reported or not IHalfCloseableProtocol.providedBy(self.protocol):
            return False
        kept = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return (kept or self._write_error) == errno.EPIPE

    def _has_unread(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        return False

    def _read_on(self) -> None:
        """Drop what was to be written, and read until the end of the stream."""
        self._broken = self._writeDisconnected = True
        self.stopWriting()  # type: ignore[no-untyped-call]
        self.dataBuffer, self.offset = b"", 0
        self._tempDataBuffer, self._tempDataLen = [], 0
        if not self._paused:
            self.startReading()  # type: ignore[no-untyped-call]
        protocol = self.protocol
        while isinstance(protocol, ProtocolWrapper):
            protocol = protocol.wrappedProtocol
        report_connection_error(protocol)


class TcpTransport(ReadsToTheEnd, tcp.Server):
    """Twisted's, over TCP."""


class UnixTransport(ReadsToTheEnd, unix.Server):
    """Twisted's, over a unix socket."""
