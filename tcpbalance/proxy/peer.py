"""One side of a session: the protocol that its transport reports to, and what has ended there."""

from __future__ import annotations

import math
import typing
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.pump import MORE, Pump
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.twisted_transport import at_end, in_flight
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.reasons import EndReason

BROKEN_OFF = (ConnectionClosed, SSL.Error)
"""How transports say that the peer, or the network, broke off; anything else is an exception of our own."""


class Owner(typing.Protocol):
    """What a side belongs to, and tells what happens."""

    def finished(self, side: Peer) -> None:
        """The peer has finished sending."""
        ...

    def write_closed(self, side: Peer) -> None:
        """All bytes for the peer are out, and it has been told that no more will come."""
        ...

    def connection_error(self, side: Peer) -> None:
        """The peer has broken off; what it sent before is still coming in, and ``lost`` follows."""
        ...

    def lost(self, side: Peer, failure: Failure) -> None:
        """The transport is gone."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide the end."""
        ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Peer(Protocol):
    """What the client's side and the backend's have in common: they tell the session what happens, do as it
    says, and decide nothing. A side is two flags, not a state machine: whether its sending has finished, and
    whether its write side is closed.

    A side is also the tap that the other one turns off and on. It stands between the two transports as the
    producer, because a stock transport as producer reports EOF again when it is resumed after EOF, and closes
    when its consumer is lost.

    :ivar transport: owned by the session from the moment that it is connected.
    :ivar told: bytes that the transport has told of.
    :ivar direction: what carries the bytes that come in here, once legs do so by themselves.
    :ivar brake: what keeps the bytes that come in here within their rate; None where there is none.
    :ivar stopped: whether the other side can take no more.
    :ivar finished: whether the peer has finished sending.
    :ivar write_closed: whether the peer has all its bytes and was told that no more will come.
    :ivar gone: whether the transport is no more.
    """

    transport: Any
    session: Owner
    told = 0
    direction: Pump | None = None
    limiter: BandwidthLimiter | DryRunBandwidthLimiter | None = None
    stopped = False
    finished = False
    write_closed = False
    gone = False

    # What the transport tells

    def readConnectionLost(self) -> None:
        """The peer has finished sending, or so it seems: see ``transports.at_end``."""
        transport = self.transport
        if isinstance(transport, SocketTransport):
            self.session.finished(self)
            return
        try:
            if at_end(transport):
                self.session.finished(self)
            else:
                transport.resumeProducing()
        except OSError:
            transport.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]  # Twisted's

    def writeConnectionLost(self) -> None:
        """Our write side is closed: all bytes for the peer are out."""
        self.session.write_closed(self)

    def on_connection_error(self) -> None:
        """The peer has broken off, and not all that it sent before is read yet."""
        self.session.connection_error(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self.release_limiter()
        self.session.lost(self, reason)

    # What it knows

    @property
    def received(self) -> int:
        """Bytes that the peer has sent and we have taken."""
        return self.told + (self.direction.carried if self.direction is not None else 0)

    @property
    def active(self) -> float:
        """When the last byte came that the session was not told of, by its wheel."""
        return self.direction.active if self.direction is not None else -math.inf

    @property
    def can_half_close(self) -> bool:
        """Whether the write side can be closed alone.

        A TLS transport shows the interfaces of the TCP transport under it, half-close included, and must not
        be asked for it.
        """
        transport = self.transport
        return isinstance(transport, SocketTransport) or (
            IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport)
        )

    @property
    def drained(self) -> bool:
        """Whether nothing waits for room in the kernel; a stock transport cannot tell."""
        return isinstance(self.transport, SocketTransport) and not self.transport.full

    @property
    def held_back(self) -> bool:
        """Whether more may have come than its rate lets us read for now."""
        return self.limiter is not None and self.limiter.holds

    def in_flight(self) -> int:
        """Bytes on their way to the peer, which change as it fetches them."""
        if self.gone:
            return 0
        transport = self.transport
        return transport.in_flight() if isinstance(transport, SocketTransport) else in_flight(transport)

    # What the other side and the session ask for

    def pauseProducing(self) -> None:
        """The other side's buffer is full."""
        self.stopped = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side's buffer is empty."""
        self.stopped = False
        self.read_on()

    def read_on(self) -> None:
        """Read again, unless something else speaks against it; after EOF there is nothing to resume."""
        if not (self.stopped or self.held_back or self.finished or self.gone):
            self.transport.resumeProducing()

    def read_no_more(self) -> None:
        """There is nobody left who could take what comes."""
        transport = self.transport
        if isinstance(transport, SocketTransport):
            transport.read_no_more()
        else:
            # Twisted's would not hear of a break, and its TLS may have to read before it can write. What it
            # reads is dropped where it is to be written.
            self.resumeProducing()

    def stopProducing(self) -> None:
        """The other side's transport is lost; the session hears of that from its protocol, and decides."""

    def send(self, data: bytes, source: Peer) -> None:
        """Send what the peer at *source* has sent; with the end that follows, where that is in sight."""
        transport, other = self.transport, source.transport
        if (
            isinstance(transport, SocketTransport)
            and isinstance(other, SocketTransport)
            and other.ending
            and not source.held_back
        ):
            transport.write(data, MORE)
        else:
            transport.write(data)

    def finish_writing(self) -> None:
        """Let what is buffered go out, then close the write side."""
        if not self.gone:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def close(self, orderly: bool) -> None:
        """Close for good: after what is buffered went out, or at once and with a reset."""
        self.release_limiter()
        if self.gone:
            return
        transport = self.transport
        if not isinstance(transport, SocketTransport):
            transport.unregisterProducer()
            if orderly:
                # A paused TLS transport would not hear the peer's answer to the goodbye.
                self.resumeProducing()
        if orderly:
            transport.loseConnection()
        else:
            transport.abortConnection()

    def release_limiter(self) -> None:
        """Let bytes come as fast as they do."""
        if self.limiter is not None:
            self.limiter.release()
            # No circle is left behind for the garbage collector to find.
            self.limiter = None
