"""What Twisted tells of either side, passed on to the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.proxy.relay import Side

if TYPE_CHECKING:
    from tcpbalance.proxy.session import Session


@implementer(IHalfCloseableProtocol)
class SideProtocol(Protocol):
    """What the two sides' protocols share: they tell the session what happens at their side, and decide
    nothing."""

    session: Session
    side: Side

    def readConnectionLost(self) -> None:
        """The peer has finished sending, or so it seems: see ``Side.at_end``."""
        transport: Any = self.transport
        try:
            if self.side.at_end():
                self.session.finished(self.side)
            else:
                transport.resumeProducing()
        except OSError:
            transport.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]  # Twisted's

    def writeConnectionLost(self) -> None:
        """Our write side is closed: all bytes for the peer are out."""
        self.session.write_closed(self.side)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self.session.lost(self.side, reason)


class BackendProtocol(SideProtocol):
    """The backend's side of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def connectionMade(self) -> None:
        """The backend has accepted."""
        self.side = Side(self.transport)
        self.session.backend_connected(self.side)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self.session.backend_sent(data)
