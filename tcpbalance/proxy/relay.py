"""Both directions of one session: who may still send, and how each side's end reaches the other.

==========================================  =========================================================
event                                       what follows
==========================================  =========================================================
A finished sending (FIN)                    once A's bytes are out, B's write side is closed;
                                            B may go on sending
both finished and all bytes are out         both are closed, in order
A finished, B cannot be half-closed (TLS)   B gets A's bytes, then both are closed
A broke off (RST)                           B is reset at once, whatever was under way
A is gone in order, without half-close      A's bytes go out to B, then B is closed
B takes nothing                             A is not read while B's buffer is full (64 KiB)
==========================================  =========================================================

The rules are carried out here and decided in ``session``. A side is two flags, not a state machine: whether
its sending has finished, and whether its write side is closed.
"""

from __future__ import annotations

import math
from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor, IPushProducer, ISSLTransport
from zope.interface import implementer

from tcpbalance.net.direction import Direction
from tcpbalance.net.leg import Leg
from tcpbalance.net.leg import join as join_legs
from tcpbalance.net.transports import at_end, in_flight
from tcpbalance.net.wheel import Wheel


@implementer(IPushProducer)
class Side:
    """One side of a session: its transport, what has ended there, and the tap that the other side turns off
    and on.

    It stands between the two transports as the producer, because a stock transport as producer reports EOF
    again when it is resumed after EOF, and closes when its consumer is lost.

    :param transport: owned by the session from here on.
    :ivar told: bytes that the transport has told the session of.
    :ivar direction: what carries the bytes that come in here, once legs do so by themselves.
    """

    __slots__ = ("can_half_close", "direction", "finished", "gone", "told", "transport", "write_closed")

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.told = 0
        self.direction: Direction | None = None
        self.finished = False
        self.write_closed = False
        self.gone = False
        self.can_half_close = _can_half_close(transport)

    @property
    def received(self) -> int:
        """Bytes that the peer has sent and we have taken."""
        return self.told + (self.direction.carried if self.direction is not None else 0)

    @property
    def active(self) -> float:
        """When the last byte came that the session was not told of, by its wheel."""
        return self.direction.active if self.direction is not None else -math.inf

    def pauseProducing(self) -> None:
        """The other side's buffer is full."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side's buffer is empty; after EOF there is nothing to resume."""
        if not (self.finished or self.gone):
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other side's transport is lost; the session hears of that from its protocol, and decides."""

    def at_end(self) -> bool:
        """Whether the peer has really finished, now that its transport says so; see ``transports.at_end``.

        :raises OSError: the connection is broken.
        """
        return isinstance(self.transport, Leg) or at_end(self.transport)

    def finish_writing(self) -> None:
        """Let what is buffered go out, then close the write side."""
        if not self.gone:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def in_flight(self) -> int:
        """Bytes on their way to the peer, which change as it fetches them."""
        if self.gone:
            return 0
        transport = self.transport
        return transport.in_flight() if isinstance(transport, Leg) else in_flight(transport)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for room in the kernel; a stock transport cannot tell."""
        return isinstance(self.transport, Leg) and not self.transport.full

    def close(self, orderly: bool) -> None:
        """Close for good: after what is buffered went out, or at once and with a reset."""
        if self.gone:
            return
        self.transport.unregisterProducer()
        if orderly:
            # A paused TLS transport would not hear the peer's answer to the goodbye.
            self.resumeProducing()
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()


def join(client: Side, backend: Side) -> None:
    """Make each side slow the other down when it takes bytes more slowly than they come."""
    client.transport.registerProducer(backend, True)
    backend.transport.registerProducer(client, True)


def carry(client: Side, backend: Side, wheel: Wheel) -> None:
    """Let the bytes go from leg to leg, with nobody in between, where both sides are legs.

    :param wheel: tells the time of the last byte.
    """
    one, other = client.transport, backend.transport
    if isinstance(one, Leg) and isinstance(other, Leg):
        client.direction, backend.direction = join_legs(one, other, wheel)


def part(client: Side) -> None:
    """Undo ``join`` for a client whose backend is lost, so that it can be joined to another."""
    if not client.gone:
        client.transport.unregisterProducer()


def _can_half_close(transport: Any) -> bool:
    # A TLS transport shows the interfaces of the TCP transport under it, half-close included, and must not
    # be asked for it.
    return isinstance(transport, Leg) or (
        IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport)
    )
