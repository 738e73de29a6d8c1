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

import socket
from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor, IPushProducer, ISSLTransport
from zope.interface import implementer

from tcpbalance.net.transports import in_flight


@implementer(IPushProducer)
class Side:
    """One side of a session: its transport, what has ended there, and the tap that the other side turns off
    and on.

    It stands between the two transports as the producer, because a stock transport as producer reports EOF
    again when it is resumed after EOF, and closes when its consumer is lost.

    :param transport: owned by the session from here on.
    """

    __slots__ = ("can_half_close", "finished", "gone", "received", "transport", "write_closed")

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.received = 0
        self.finished = False
        self.write_closed = False
        self.gone = False
        self.can_half_close = _can_half_close(transport)

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
        """Whether the peer has really finished, now that its transport says so.

        Twisted's poll-like reactors take an error or hang-up for the end of the stream when the transport
        was paused while they waited for events and resumed by another one's event before its own was looked
        at. The kernel knows better.

        :raises OSError: the connection is broken.
        """
        handle = getattr(self.transport, "getHandle", None)
        if handle is None:
            return True
        try:
            return not handle().recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    def finish_writing(self) -> None:
        """Let what is buffered go out, then close the write side."""
        if not self.gone:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def in_flight(self) -> int:
        """Bytes on their way to the peer, which change as it fetches them."""
        return 0 if self.gone else in_flight(self.transport)

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


def part(client: Side) -> None:
    """Undo ``join`` for a client whose backend is lost, so that it can be joined to another."""
    if not client.gone:
        client.transport.unregisterProducer()


def _can_half_close(transport: Any) -> bool:
    # A TLS transport shows the interfaces of the TCP transport under it, half-close included, and must not
    # be asked for it.
    return IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport)
