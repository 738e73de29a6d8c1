"""A leg that speaks TLS on its socket."""

from __future__ import annotations

import contextlib
import errno
from functools import partial
from socket import SHUT_WR
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.net.poller import ERROR
from tcpbalance.net.socket_transport import DONE, LOST, SocketTransport
from tcpbalance.net.tls.errors import HandshakeFailed, TlsBroken, openssl_words
from tcpbalance.net.tls.openssl import forget_errors
from tcpbalance.net.tls.tls_socket import WANTS_WRITE, TlsSocket
from tcpbalance.net.tls.verification import why


class TlsTransport(SocketTransport):
    """A leg whose bytes go through TLS; it begins with the handshake, of whose end the protocol is told.

    Nothing is to be written before that. A goodbye is an end like any other, and carried over as one.

    :param plain: the leg whose socket it takes; that one is no more.
    :param connection: one that reads and writes memory.
    """

    __slots__ = ("_shaking",)

    socket: Any

    def __init__(self, plain: SocketTransport, connection: SSL.Connection) -> None:
        poller, protocol, peer, readable = plain._poller, plain._protocol, plain._peer, plain.readable
        sock = plain.detach_socket()
        super().__init__(poller, TlsSocket(connection, sock), protocol, peer)  # type: ignore[arg-type]  # the part of a socket that legs use
        self.splices = False
        self._shaking = True
        self.readable = readable
        poller.watch(sock.fileno(), self)

    def begin(self) -> None:
        """Take the first step, if it is ours or the peer's has come already."""
        try:
            self.socket.begin()
        except SSL.Error as error:
            # Told in a later turn: whoever begins does not expect to be called back from within.
            self._poller.again(self, partial(self._fail, error))
            return
        self.readable = True
        self.read_again()

    def getHandle(self) -> SSL.Connection:
        """OpenSSL's connection, as of Twisted's own transports."""
        connection: SSL.Connection = self.socket.connection
        return connection

    def _read(self) -> None:
        if not self._shaking or self._shake():
            super()._read()
        if self.socket.news is not None:
            self._heed(self.socket.news)

    def _heed(self, news: str) -> None:
        """Go on where no event will call for it."""
        self.socket.news = None
        if news == WANTS_WRITE:
            self.full = self._open
        self.readable = self._open and not self._done_reading
        self.read_again()

    def on_events(self, events: int) -> None:
        """See ``switchboard.Handler``."""
        if events & ERROR:
            self._read_up()
        super().on_events(events)

    # Writing: what is encrypted and finds no room is the socket's

    def put(self, data: bytes, flags: int = 0) -> bool:
        """See ``SocketTransport``."""
        if super().put(data, flags) and not self.socket.unsent:
            return True
        self.full = self._open
        return False

    def _send(self, data: bytes, flags: int) -> None:
        super()._send(data, flags)
        self._look_whether_full()

    def _flush(self) -> None:
        super()._flush()
        self._look_whether_full()

    def _look_whether_full(self) -> None:
        if self.socket.unsent:
            self.full = self._open

    def _go_on_writing(self) -> None:
        try:
            self.socket.flush()
        except BlockingIOError:
            return
        except OSError as error:
            self.break_later(error)
        else:
            super()._go_on_writing()

    def _break(self, error: int) -> None:
        super()._break(error)
        self.socket.unsent = b""

    def in_flight(self) -> int:
        """See ``SocketTransport``."""
        return super().in_flight() + len(self.socket.unsent)

    def _read_up(self) -> None:
        """Read what came before a break, while the kernel still tells the break from an end.

        A goodbye among it says that all has come. Whoever has answered and closed says his before the break,
        which is his kernel's answer to ours: unlike an end of the stream, ours is bytes that nobody reads.
        """
        if not (self._shaking or self._paused or self._done_reading):
            # Short reads are no sign that all was read: as many as a turn allows.
            self.readable = self.at_the_end = True
            self._read()

    def _drain_then_fail(self) -> None:
        if self._shaking:
            self.on_connection_error()
        else:
            super()._drain_then_fail()

    def _ended_in_order(self) -> bool:
        return self.socket.goodbye_came or super()._ended_in_order()

    def _has_unread(self) -> bool:
        unread: bool = self.socket.something_waits
        return unread

    def _shake(self) -> bool:
        """Go on with the handshake; tell whether it is over."""
        try:
            self.socket.do_handshake()
        except BlockingIOError:
            self.readable = False
            return False
        except SSL.Error as error:
            self._fail(error)
            return False
        self._shaking = False
        self._protocol.handshakeCompleted()
        return self._open

    def _fail(self, error: SSL.Error) -> None:
        """The handshake has failed."""
        failure = _failure_of(error, self.getHandle())
        forget_errors()
        self.socket.drain()
        self._close_with(failure)

    def on_connection_error(self) -> None:
        """See ``SocketTransport``; with the peer's alert, and whether more has come than was read."""
        complaint = self.socket.complaint
        unheard = not self._shaking and self.socket.something_waits
        if complaint is None and not unheard:
            super().on_connection_error()
        else:
            cause = complaint or "broken off before all was read"
            self._close_with(Failure(TlsBroken(cause, unheard=unheard)))  # type: ignore[no-untyped-call]  # Twisted's

    def _shut_down(self) -> None:
        try:
            self.socket.say_goodbye()
        except BlockingIOError:
            self.full = True
        except OSError as error:
            self.break_later(error)
        else:
            self._finish_beneath()

    def _finish_beneath(self) -> None:
        try:
            self.socket.shutdown(SHUT_WR)
        except OSError:
            self._poller.again(self, self._end_broken)
        else:
            self._protocol.writeConnectionLost()

    def _end_broken(self) -> None:
        self._read_up()
        if self._open:
            self._break(self._error() or errno.ENOTCONN)
            self._drain_then_fail()

    def _close_with(self, failure: Failure, reset: bool = False) -> None:
        if self._open and isinstance(failure.value, ConnectionDone) and not self._shaking:
            with contextlib.suppress(OSError):
                self.socket.say_goodbye()
        self.socket.unsent = b""
        super()._close_with(failure, reset)


def _failure_of(error: SSL.Error, connection: SSL.Connection) -> Failure:
    """Why a handshake is over: the peer has gone, or the two could not agree."""
    if isinstance(error, SSL.ZeroReturnError):
        return DONE
    if isinstance(error, SSL.SysCallError):
        return LOST
    return Failure(HandshakeFailed(why(connection) or openssl_words(error)))  # type: ignore[no-untyped-call]  # Twisted's
