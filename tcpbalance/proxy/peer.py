"""One side of a session: the protocol that its transport reports to, and what has ended there."""

from __future__ import annotations

import math
import typing
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.adapted_transport import as_transport
from tcpbalance.net.pump import MORE, Pump
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.transport import Transport
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.reasons import EndReason

BROKEN_OFF = (ConnectionClosed, SSL.Error)
"""How transports report a reset by the peer, or the network; anything else is an exception of our own."""


class PeerOwner(typing.Protocol):
    """What a side belongs to, and reports to."""

    def finished(self, side: Peer) -> None:
        """The peer has finished sending."""
        ...

    def write_closed(self, side: Peer) -> None:
        """All bytes for the peer are out, and the end of the stream behind them."""
        ...

    def connection_error(self, side: Peer) -> None:
        """The connection has failed; what the peer sent before is still coming in, and ``lost`` follows."""
        ...

    def lost(self, side: Peer, failure: Failure) -> None:
        """The transport is gone."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide the end."""
        ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Peer(Protocol):
    """What the client's side and the backend's have in common: they report to the session what happens, do
    what it asks for, and decide nothing. A side is two flags, not a state machine: whether its sending has
    finished, and whether its write side is closed.

    A side is also the producer that is registered with the other side's transport: one of Twisted's
    transports as producer would report EOF again when it is resumed after EOF, and close when its consumer is
    lost.

    :ivar transport: owned by the session from the moment that it is connected.
    :ivar reported: bytes that the transport has reported.
    :ivar pump: carries the bytes that come in here, once they go past the session.
    :ivar limiter: keeps the bytes that come in here within their rate; None without a rate.
    :ivar stopped: whether the other side can take no more.
    :ivar finished: whether the peer has finished sending.
    :ivar write_closed: whether all bytes for the peer are out, and the end of the stream behind them.
    :ivar gone: whether the transport is no more.
    """

    transport: Transport  # type: ignore[assignment]  # Twisted's own are adapted to it
    session: PeerOwner
    reported = 0
    pump: Pump | None = None
    limiter: BandwidthLimiter | DryRunBandwidthLimiter | None = None
    stopped = False
    finished = False
    write_closed = False
    gone = False

    # What the transport reports

    def makeConnection(self, transport: Any) -> None:
        """Twisted's call: the side is connected."""
        self.transport = as_transport(transport)
        self.connectionMade()  # type: ignore[no-untyped-call]  # Twisted's

    def resume(self, transport: SocketTransport, reported: int, finished: bool, write_closed: bool) -> None:
        """Go on with what has happened on the same socket before; see the attributes of these names."""
        self.transport = transport
        transport.resume(finished, write_closed)
        self.reported, self.finished, self.write_closed = reported, finished, write_closed

    def readConnectionLost(self) -> None:
        """The peer has finished sending, or so it seems."""
        if self.transport.confirm_end():
            self.session.finished(self)

    def writeConnectionLost(self) -> None:
        """Our write side is closed: all bytes for the peer are out."""
        self.session.write_closed(self)

    def on_connection_error(self) -> None:
        """The connection has failed, and not all that the peer sent before is read yet."""
        self.session.connection_error(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if self.limiter is not None:
            self.release_limiter()
        self.session.lost(self, reason)

    # What it knows

    @property
    def received(self) -> int:
        """Bytes that the peer has sent and we have taken."""
        return self.reported + (self.pump.carried if self.pump is not None else 0)

    @property
    def active(self) -> float:
        """When the last byte came that went past the session, by its wheel."""
        return self.pump.active if self.pump is not None else -math.inf

    @property
    def can_half_close(self) -> bool:
        """Whether the write side can be closed alone."""
        return self.transport.can_half_close

    @property
    def drained(self) -> bool:
        """Whether all bytes for the peer are in the kernel, as far as is known."""
        return self.transport.drained

    @property
    def cut_short(self) -> bool:
        """Whether its transport was lost with bytes for the peer that the kernel had not taken."""
        return self.transport.cut_short

    @property
    def held_back(self) -> bool:
        """Whether more may have come than its rate lets us read for now."""
        return self.limiter is not None and self.limiter.holds

    def in_flight(self) -> int:
        """Bytes on their way to the peer, which change as it fetches them."""
        return 0 if self.gone else self.transport.in_flight()

    def has_input(self) -> bool:
        """Whether bytes have come from the peer that were not read."""
        return not self.gone and self.transport.has_input()

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
        """Nothing is left that could take what comes."""
        # Where the transport reads on to hear of its end, it does so after each of the limiter's waits, too.
        self.stopped = False
        self.transport.read_no_more()

    def stopProducing(self) -> None:
        """The other side's transport is lost; the session hears of that from its protocol, and decides."""

    def send(self, data: bytes, source: Peer) -> None:
        """Send what the peer at *source* has sent; with the end that follows, where that is in sight."""
        if source.transport.ending and not source.held_back:
            self.transport.write(data, MORE)
        else:
            self.transport.write(data)

    def finish_writing(self) -> None:
        """Let what is buffered go out, then close the write side."""
        if not self.gone:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def close(self, orderly: bool) -> None:
        """Close for good: after what is buffered went out, or at once and with a reset."""
        if self.limiter is not None:
            self.release_limiter()
        if self.gone:
            return
        if orderly:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def release_limiter(self) -> None:
        """Let bytes come as fast as they do."""
        if self.limiter is not None:
            self.limiter.release()
            # No reference cycle is left behind for the garbage collector to find.
            self.limiter = None
