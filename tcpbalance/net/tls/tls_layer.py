"""What TLS adds to a socket transport: a handshake first, a close_notify before each end, and reads and
writes that leave something in the TLS socket."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from socket import SHUT_WR
from typing import Protocol

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tcpbalance.net.output import Output
from tcpbalance.net.pump import MORE
from tcpbalance.net.reading import Reader, Source
from tcpbalance.net.tls.errors import HandshakeFailed, TlsBroken, openssl_words
from tcpbalance.net.tls.openssl import forget_errors
from tcpbalance.net.tls.tls_socket import WAITS, WANTS_WRITE, TlsSocket
from tcpbalance.net.tls.verification import why


class UnderlyingTransport(Protocol):
    """The part of a socket transport that its TLS uses."""

    output: Output

    def call_later(self, call: Callable[[], None]) -> None:
        """Make a call in the next turn."""
        ...

    def break_later(self, error: OSError) -> None:
        """The connection has turned out to be broken: report it in a later turn."""
        ...

    def break_now(self, default: int) -> None:
        """The connection is broken: read what is there, and report it.

        :param default: the error, where the socket has none.
        """
        ...

    def close_with(self, failure: Failure) -> None:
        """Close, and report why."""
        ...


class TlsSource(Source, Reader, Protocol):
    """What comes in at a TLS socket, as its layer has it read; itself, it reads for the protocol."""

    def read_on(self) -> None:
        """Read in the next turn, though no event may say that there is more."""
        ...

    def read_up(self) -> None:
        """Read what is there now, unless reading is over."""
        ...


class TlsOutput(Output):
    """An ``Output`` into a TLS socket, which is full, too, while encrypted bytes wait in the socket."""

    __slots__ = ("_tls",)

    def __init__(self, tls: TlsSocket) -> None:
        super().__init__(tls)
        self.splices = False
        self.full = bool(tls.unsent)
        self._tls = tls

    def send(self, data: bytes, flags: int = 0) -> bool:
        """See ``Output``."""
        try:
            sent = self._tls.send_message(data, flags)
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
        """See ``Output``."""
        return self._tls.send_message

    def keep(self, data: bytes, sent: int) -> None:
        """See ``Output``: what is encrypted already, the socket keeps."""
        if sent != WAITS:
            super().keep(data, sent)
        self.full = True

    def flush(self) -> bool:
        """See ``Output``."""
        try:
            # What is encrypted goes first.
            self._tls.flush()
        except BlockingIOError:
            return False
        super().flush()
        if self._tls.unsent:
            self.full = True
        return not self.full

    def drop(self) -> None:
        """See ``Output``."""
        super().drop()
        self.cut_short = self.cut_short or self._tls.has_unsent_data
        self._tls.unsent = b""

    def waiting(self) -> int:
        """See ``Output``."""
        return super().waiting() + len(self._tls.unsent)


class TlsLayer:
    """The ``Reader`` of a transport that speaks TLS, and what else its transport does differently.

    :param transport: of the connection.
    :param source: what comes in at it.
    :param tls: its socket.
    :ivar socket: the same.
    :ivar handshaking: whether the handshake is still to be finished; nothing is to be written before.
    :ivar inner: what reads behind the handshake.
    """

    __slots__ = ("_source", "_transport", "handshaking", "inner", "socket")

    def __init__(self, transport: UnderlyingTransport, source: TlsSource, tls: TlsSocket) -> None:
        self._transport = transport
        self._source = source
        source.splices = False
        self.socket = tls
        self.handshaking = not tls.is_established
        self.inner: Reader = source

    def begin(self) -> None:
        """Take a client's first step."""
        try:
            self.socket.begin()
        except SSL.Error as error:
            # Reported in a later turn: the caller does not expect to be called back from within.
            self._transport.call_later(partial(self.fail, error))
        else:
            self._source.read_on()

    # Reading

    @property
    def drains(self) -> bool:
        """See ``Reader``: a handshake whose connection is broken has failed."""
        return not self.handshaking

    def pull(self) -> None:
        """See ``Reader``."""
        if not self.handshaking:
            self.inner.pull()
        elif self._handshake():
            self.inner.pull()
            self.socket.all_came = False
        if self.socket.pending is not None:
            self.go_on()

    def go_on(self) -> None:
        """See ``Layer``: no event will say that there is more to be read, or to be sent."""
        if self._source.is_open:
            if self.socket.pending == WANTS_WRITE:
                self._transport.output.full = True
            self.socket.pending = None
            self._source.read_on()

    def _handshake(self) -> bool:
        """Go on with the handshake.

        :returns: whether it is over, and the transport open.
        """
        source = self._source
        try:
            more = self.socket.do_handshake(source.at_the_end)
        except SSL.Error as error:
            self.fail(error)
            return False
        source.readable = bool(more)
        if more is None:
            return False
        self.handshaking = False
        source.protocol.handshakeCompleted()
        return source.is_open

    def fail(self, error: SSL.Error) -> None:
        """The handshake has failed: close, and report why."""
        failure = _failure_of(error, self.socket.connection)
        forget_errors()
        self.socket.drain()
        self._transport.close_with(failure)

    # Breaking

    def read_up(self) -> None:
        """Read what came before a break, while the kernel still shows which of the two it is, a break or an
        end.

        A close_notify among it says that all has come. A peer that has answered and closed sends its own
        before the break, which is its kernel's answer to ours: unlike the end of a stream, a close_notify is
        bytes, and the peer does not read them any more.
        """
        if not self.handshaking:
            self._source.read_up()

    @property
    def ended_in_order(self) -> bool:
        """Whether the peer has sent its close_notify."""
        return self.socket.close_notify_received

    @property
    def has_unread(self) -> bool:
        """Whether something has come that was not read."""
        return self.socket.has_unread

    @property
    def has_input(self) -> bool:
        """Whether something has come that was not passed on, such as the beginning of a record."""
        return self.socket.has_input

    def error(self) -> Exception:
        """What a broken connection is reported as: with the peer's alert, and whether anything is unread."""
        unheard = not self.handshaking and self.socket.has_unread
        cause = self.socket.error
        if cause is None and not unheard:
            return ConnectionLost()
        return TlsBroken(cause or "reset before all was read", unheard=unheard)

    # Ending

    def shut_down(self) -> None:
        """End the writing, by a close_notify and the end of the stream behind it."""
        try:
            self.socket.send_close_notify(MORE)
        except BlockingIOError:
            self._transport.output.full = True
            return
        except OSError as error:
            self._transport.break_later(error)
            return
        try:
            self.socket.shutdown(SHUT_WR)
        except OSError:
            self._transport.call_later(self._end_broken)
        else:
            self._source.protocol.writeConnectionLost()

    def _end_broken(self) -> None:
        self.read_up()
        self._transport.break_now(errno.ENOTCONN)

    def close_in_order(self) -> None:
        """Send a close_notify before the transport is closed, if there is space for it."""
        if not self.socket.has_said_all:
            # During the handshake OpenSSL refuses it: SSL_shutdown(3).
            with contextlib.suppress(OSError):
                self.socket.send_close_notify(MORE)


def _failure_of(error: SSL.Error, connection: SSL.Connection) -> Failure:
    """Why a handshake is over: the peer has gone, or the two could not agree."""
    if isinstance(error, SSL.ZeroReturnError):
        return Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    if isinstance(error, SSL.SysCallError):
        return Failure(ConnectionLost())  # type: ignore[no-untyped-call]
    return Failure(HandshakeFailed(why(connection) or openssl_words(error)))  # type: ignore[no-untyped-call]
