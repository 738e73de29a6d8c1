"""The transport of one socket on the poller.

What comes in is the duty of its ``Input``, what goes out that of its ``Output``; here are the events, the
breaks and ends, and the surface that protocols see. At first the input reads for the protocol; a ``Preview``
shows what comes before it is read, a ``TlsLayer`` has a handshake first, and from ``relay_with`` on a
``Pump`` carries the bytes to another transport; ends and breaks are still reported to the protocol.

Unlike Twisted's transports, this one writes and closes inside the call where it can. A break that a write
meets is reported in a later turn, so that the writer is not called back from within.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
from collections.abc import Callable, Iterable
from socket import SocketType
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.addresses import PeerAddress, address_text, peer_address
from tcpbalance.net.bounded_pump import BoundedPump
from tcpbalance.net.ends import (
    ABORTED,
    DONE,
    LOST,
    has_news,
    reset_on_close,
    took_nothing,
    unacknowledged,
    unread,
)
from tcpbalance.net.errnos import is_our_own
from tcpbalance.net.input import Input
from tcpbalance.net.output import Output
from tcpbalance.net.poller import END, ERROR, READABLE, URGENT, WRITABLE, Poller
from tcpbalance.net.preview import Preview
from tcpbalance.net.pump import Pump
from tcpbalance.net.tls.tls_layer import TlsLayer, TlsOutput
from tcpbalance.net.tls.tls_socket import TlsSocket
from tcpbalance.net.transport import TlsClient, TlsServer, Transport
from tcpbalance.net.wheel import Wheel

BUFFER = 64 * 1024
"""Bytes that may wait in a transport before its producer is paused, as in Twisted's."""

_NO_DATA = ERROR | URGENT | END
_SOMETHING_TO_READ = READABLE | URGENT | END


@implementer(ITransport, IPushProducer, IConsumer)
class SocketTransport:
    """One connected socket, owned from here on.

    :param poller: calls it when something has happened at the socket.
    :param sock: connected, not blocking.
    :param protocol: an IHalfCloseableProtocol; it gets what comes in, ends and breaks.
    :param peer: the peer's address.
    :ivar socket: while the transport is open; a ``TlsSocket`` once TLS is spoken.
    :ivar is_open: whether the socket is not closed yet.
    :ivar input: what comes in.
    :ivar output: what goes out.
    """

    can_half_close = True
    ends_by_close_notify = False

    __slots__ = (
        "_broken",
        "_closing",
        "_finishing",
        "_incoming",
        "_peer",
        "_poller",
        "_producer",
        "_tls",
        "input",
        "is_open",
        "output",
        "socket",
    )

    def __init__(self, poller: Poller, sock: SocketType, protocol: Any, peer: PeerAddress) -> None:
        self.socket = sock
        # A read of a unix socket stops where a message with descriptors does: unix(7).
        self.input = Input(self, poller, sock, protocol, isinstance(peer, UNIXAddress))
        self.output = Output(sock)
        self.is_open = True
        self._poller = poller
        self._peer = peer
        self._producer: Any = None
        self._incoming: Pump | None = None
        self._tls: TlsLayer | None = None
        self._broken = 0
        self._finishing = False
        self._closing = False

    def resume(self, ended: bool, finished: bool) -> None:
        """Go on with a socket at which something has happened before.

        :param ended: whether the peer's end of the stream was read.
        :param finished: whether our end of the stream was sent.
        """
        if ended:
            self.input.stop()
        self._finishing = finished

    # What the poller reports

    def on_events(self, events: int) -> None:
        """See ``poller.Handler``."""
        source = self.input
        if events & _NO_DATA:
            if events & ERROR and self._has_error():
                return
            if events & END:
                source.at_the_end = True
                source.ending = not self._broken
            if events & URGENT:
                # A read stops before the urgent byte, short and with more behind it; splice(2) stays there.
                source.at_the_end = True
                source.splices = False
        if events & _SOMETHING_TO_READ:
            source.readable = not source.done
        if self.output.full and events & WRITABLE:
            self._go_on_writing()
        if source.readable and not source.queued:
            source.reader.pull()

    def on_failure(self, failure: Failure) -> None:
        """See ``poller.Handler``."""
        self.close_with(failure, reset=True)

    def on_teardown(self) -> None:
        """See ``poller.Handler``."""
        self.close_with(LOST, reset=True)

    # Reading

    @property
    def ending(self) -> bool:
        """See ``Transport``."""
        return self.input.ending

    @property
    def may_be_cut(self) -> bool:
        """See ``Transport``."""
        return self._tls is not None and not self._tls.ended_in_order

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self.input.paused = True

    def resumeProducing(self) -> None:
        """See ``IPushProducer``: from the next turn on."""
        self.input.resume()

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""
        self.loseConnection()

    def read_no_more(self) -> None:
        """See ``Transport``."""
        self.input.stop()

    def read_at_most(self, size: int) -> None:
        """See ``Transport``."""
        self.input.chunk = size

    def look(self) -> None:
        """See ``Transport``."""
        self.input.reader = Preview(self.input)

    def has_input(self) -> bool:
        """See ``Transport``."""
        return self._tls.has_input if self._tls is not None else unread(self.socket) > 0

    def has_news(self) -> bool:
        """See ``Transport``."""
        return (self._tls is not None and self._tls.has_input) or has_news(self.socket)

    def took_nothing(self, size: int) -> bool:
        """See ``Transport``."""
        return self.is_open and took_nothing(self.socket, size - self.output.waiting())

    def confirm_end(self) -> bool:
        """See ``Transport``: what is reported as the end is the end."""
        return True

    # Breaks

    @property
    def is_broken(self) -> bool:
        """See ``input.InputOwner``."""
        return self._broken != 0

    def ended_in_order(self) -> bool:
        """See ``input.InputOwner``.

        The error of a break is EPIPE where the peer's FIN had come before: ``tcp_reset`` in
        net/ipv4/tcp_input.c. The close_notify of TLS says the same.
        """
        return self._broken in (0, errno.EPIPE) or (self._tls is not None and self._tls.ended_in_order)

    def has_unread(self) -> bool:
        """See ``input.InputOwner``."""
        if self._tls is not None:
            return self._tls.has_unread
        with contextlib.suppress(OSError):
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        return False

    def on_connection_error(self) -> None:
        """See ``input.InputOwner``."""
        if self._tls is None:
            self.close_with(LOST)
        else:
            self.close_with(Failure(self._tls.error()))  # type: ignore[no-untyped-call]  # Twisted's

    def _has_error(self) -> bool:
        """Whether the socket has an error, which is reported once all that came before it is read."""
        if self._tls is not None:
            self._tls.read_up()
        error = self._take_error()
        if error and not self._broken:
            self._break(error)
            self.input.drain_then_fail()
        elif error:
            # A write has met it first, to which a unix socket says EPIPE whatever has happened.
            self._broken = error
        return error != 0

    def _take_error(self) -> int:
        """Take the socket's error, which the kernel reports once; 0 where there is none."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self.is_open else 0

    def _break(self, error: int) -> None:
        """Note that the connection is broken: nothing goes out any more, and what waits for that is dropped.

        :param error: the first that was met, an errno.
        """
        self._broken = error
        self.input.ending = False
        # Nothing more is taken: neither from the protocol nor from a pump.
        self.output.full = self._finishing = True
        self.output.drop()
        if self._incoming is not None:
            self._incoming.release()

    def break_later(self, error: OSError) -> None:
        """A write has failed: report it in a later turn, since the writer does not expect to be called back
        from within.

        Where this machine lacks something, as memory, the peer has not reset the connection: it is reset.

        :param error: what the write met. The kernel reports an error once and shows an end of the stream from
            then on.
        """
        if self._broken or not self.is_open:
            return
        self._break(error.errno or errno.EPIPE)
        if self._producer is not None:
            self._producer.pauseProducing()
        if is_our_own(self._broken):
            self.input.stop()
            failure = Failure(error)  # type: ignore[no-untyped-call]
            self.call_later(functools.partial(self.close_with, failure, reset=True))
        else:
            self.call_later(self.input.drain_then_fail)

    def break_now(self, default: int) -> None:
        """See ``tls_layer.UnderlyingTransport``."""
        if self.is_open:
            self._break(self._take_error() or default)
            self.input.drain_then_fail()

    def call_later(self, call: Callable[[], None]) -> None:
        """Make a call in the next turn."""
        self._poller.again(self, call)

    # Writing

    @property
    def full(self) -> bool:
        """See ``Transport``."""
        return self.output.full

    @property
    def cut_short(self) -> bool:
        """See ``Transport``."""
        return self.output.cut_short

    @property
    def drained(self) -> bool:
        """See ``Transport``."""
        return not self.output.full

    def write(self, data: bytes, flags: int = 0) -> None:
        """See ``Transport``."""
        if self._finishing or self._closing or not self.is_open or not data:
            return
        output = self.output
        if output.unsent is None:
            try:
                output.send(data, flags)
            except OSError as error:
                self.break_later(error)
                return
        else:
            output.unsent += data
        if output.unsent is not None and self._producer is not None and len(output.unsent) > BUFFER:
            self._producer.pauseProducing()

    def write_failed(self, error: OSError) -> None:
        """A write on the socket has failed before it had a transport."""
        self.output.cut_short = True
        self.break_later(error)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send each of *data*."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause *producer*, a push producer, while too many bytes wait here."""
        assert streaming, "a socket transport takes push producers only"
        self._producer = producer

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer = None

    def in_flight(self) -> int:
        """See ``Transport``; nothing once the connection is broken."""
        if not self.is_open or self._broken:
            return 0
        held = 0 if self._incoming is None else self._incoming.held
        return unacknowledged(self.socket) + self.output.waiting() + held

    def _go_on_writing(self) -> None:
        """The socket takes bytes again."""
        if self._broken:
            return
        try:
            if not self.output.flush():
                return
        except OSError as error:
            self.break_later(error)
            return
        if self._incoming is not None:
            self._incoming.push()
        if self.is_open and not self.output.full:
            self._all_sent()

    def _all_sent(self) -> None:
        """Nothing waits any more: do what waited for that."""
        if self._closing:
            self._close_in_order()
        elif self._finishing:
            self._shut_down()
        elif self._incoming is not None:
            self._incoming.source.pulled_by_sink()
        elif self._producer is not None:
            self._producer.resumeProducing()

    # Ending

    def loseWriteConnection(self) -> None:
        """Finish sending, once all that was written is out."""
        if self._finishing or self._closing or not self.is_open:
            return
        self._finishing = True
        if not self.output.full:
            self._shut_down()

    def loseConnection(self) -> None:
        """See ``Transport``."""
        if self._closing or not self.is_open:
            return
        if not self.output.full or self._broken:
            self._close_in_order()
            return
        self._closing = True
        self.input.stop()

    def abortConnection(self) -> None:
        """See ``Transport``."""
        self.close_with(ABORTED, reset=True)

    def _shut_down(self) -> None:
        if self._tls is not None:
            self._tls.shut_down()
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.break_later(error)
        else:
            self.input.protocol.writeConnectionLost()

    def _close_in_order(self) -> None:
        if self._tls is not None:
            self._tls.close_in_order()
        self.close_with(DONE)

    def close_with(self, failure: Failure, reset: bool = False) -> None:
        """Close the socket and report why; what was still to be sent is lost."""
        if not self.is_open:
            return
        self.is_open = self.output.full = False
        self._poller.forget(self.socket.fileno())
        if reset:
            reset_on_close(self.socket)
        self.socket.close()
        self.output.drop()
        protocol, incoming = self.input.protocol, self._incoming
        self.input.close()
        # No reference cycle is left behind for the garbage collector to find.
        self._producer = self._tls = self._incoming = None
        if incoming is not None:
            incoming.release()
        protocol.connectionLost(failure)

    # TLS

    def accept_tls(self, tls: TlsServer, rest: bytes = b"") -> None:
        """See ``Transport``."""
        if isinstance(self.input.reader, Preview):
            self.input.reader.end(len(rest))
        self.speak_tls(TlsSocket(tls.connection(), self.socket))
        self.input.read_again()

    def connect_tls(self, peer: TlsClient) -> None:
        """See ``Transport``."""
        self.speak_tls(TlsSocket(peer.connection(), self.socket)).begin()

    def speak_tls(self, tls: TlsSocket) -> TlsLayer:
        """Read and write through a TLS socket that has this transport's socket."""
        self.socket = self.input.socket = cast(SocketType, tls)  # the part of it that is used here
        self.output = TlsOutput(tls)
        layer = self._tls = self.input.reader = TlsLayer(self, self.input, tls)
        return layer

    @property
    def tls(self) -> TlsLayer | None:
        """What speaks TLS here; None in the clear, and once it is closed."""
        return self._tls

    # Changing hands

    def hand_over(self, protocol: Any) -> None:
        """See ``Transport``."""
        self.input.protocol = protocol

    def give_up(self, unused: int) -> tuple[SocketType, int]:
        """See ``Transport``: a preview leaves what was not used."""
        sock, lost = self.socket, unused
        if isinstance(self.input.reader, Preview):
            self.input.reader.end(unused)
            lost = 0
        self._poller.unwatch(sock.fileno())
        self.is_open = self.output.full = False
        self.input.close()
        self._producer = None
        return sock, lost

    def relay_with(self, other: Transport, wheel: Wheel) -> tuple[Pump, Pump] | None:
        """See ``Transport``: both have to be of this class."""
        if not isinstance(other, SocketTransport):
            return None
        pipes = self._poller.pipes
        there = Pump(self, self.input, self._tls, other, pipes, wheel)
        back = Pump(other, other.input, other._tls, self, pipes, wheel)
        self._relay(there, back)
        other._relay(back, there)
        return there, back

    def pump_to(
        self, other: Transport, size: int, wheel: Wheel, on_done: Callable[[], None]
    ) -> BoundedPump | None:
        """See ``Transport``: both have to be of this class, and in the clear."""
        if not isinstance(other, SocketTransport) or self._tls is not None or other._tls is not None:
            return None
        source = self.input

        def undo() -> None:
            if source.reader is pump:
                source.reader = source
                source.relayed = False
                source.read_again()
            if other._incoming is pump:
                other._incoming = None

        pipes = self._poller.pipes
        pump = BoundedPump(self, source, other, pipes, wheel, size=size, on_done=on_done, undo=undo)
        source.reader = other._incoming = pump
        source.relayed = True
        source.paused = False
        source.read_again()
        return pump

    def _relay(self, outgoing: Pump, incoming: Pump) -> None:
        if self._tls is None:
            self.input.reader = outgoing
        else:
            self._tls.inner = outgoing
        self.input.relayed = True
        self.input.paused = False
        self._incoming = incoming
        self._producer = None
        self._poller.watch(self.socket.fileno(), outgoing.on_events)
        self.input.read_again()

    # Its ends

    def getHandle(self) -> Any:
        """See ``Transport``."""
        handle: Any = self.socket
        return handle.connection if isinstance(handle, TlsSocket) else handle

    def getPeer(self) -> PeerAddress:
        """The address at the other end."""
        return self._peer

    def getHost(self) -> PeerAddress:
        """The address at this end."""
        return peer_address(self.socket.family, self.socket.getsockname())

    def __repr__(self) -> str:
        return f"<SocketTransport to {address_text(self._peer)}>"
