"""A probe's connection to a backend: held for as long as it is needed, and closed whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tcpbalance.event import OneTimeEvent
from tcpbalance.health.probes.base import Target

LINGER = 0.25
"""The part of the timeout that a peer may take to close, too, before it is cut off."""


class ProbeConnection(Protocol):
    """The backend as a probe sees it.

    :ivar verdict: what the probe waits for; fails with the reason when the connection ends before.
    :ivar closed: the connection is gone, and so is its descriptor.
    """

    transport: Any

    def __init__(self) -> None:
        self.verdict: OneTimeEvent[None] = OneTimeEvent()
        self.closed: OneTimeEvent[None] = OneTimeEvent()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted says that it is gone."""
        self.verdict.settle(reason)
        self.closed.settle(None)


class QuietFactory(Factory):
    """Gives the endpoint the one peer there is, without a line in the log for each connection."""

    noisy = False

    def __init__(self, peer: Protocol) -> None:
        self._peer = peer

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The peer."""
        return self._peer


@asynccontextmanager
async def connected(
    endpoint: IStreamClientEndpoint, peer: ProbeConnection, target: Target
) -> AsyncIterator[None]:
    """Hold a connection for the time of the block; it is closed, not just closing, when the block is left.

    It ends in the orderly way, which leaves no error in the backend's log; a peer that does not do its
    part in time is cut off, and so is anyone once the check is cancelled.
    """
    await endpoint.connect(QuietFactory(peer))
    linger = target.timeout * LINGER
    try:
        yield
    except CancelledError:
        linger = 0
        raise
    finally:
        await hang_up(peer, target.reactor, linger)


async def hang_up(peer: ProbeConnection, clock: Any, linger: float) -> None:
    """Close a connection and wait until it is gone.

    :param clock: IReactorTime.
    :param linger: seconds until the peer is cut off; what is closed without its help does not wait for it.
    """
    peer.transport.loseConnection()
    cut_off = clock.callLater(linger, peer.transport.abortConnection)
    try:
        await peer.closed.wait()
    except CancelledError:
        peer.transport.abortConnection()
        await peer.closed.wait()
        raise
    finally:
        if cut_off.active():
            cut_off.cancel()
