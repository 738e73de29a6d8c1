"""What opens connections to backends, as sessions and checks ask for them."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from tcpbalance.config.addresses import Address
from tcpbalance.net.wheel import Wheel


class ConnectionFactory(Protocol):
    """What learns how an attempt ended: the part of Twisted's ``ClientFactory`` that is used."""

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        """Called when the socket is connected; None closes it."""
        ...

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Called when it does not come about, *reason* holding a ``ConnectFailed``."""
        ...


class Pending(Protocol):
    """An attempt under way."""

    def cancel(self) -> None:
        """Give up; the factory hears nothing more."""
        ...


class Connector(Protocol):
    """Opens connections: the seam at which carriers and tests replace sockets.

    :ivar wheel: times what follows once a socket is connected.
    """

    wheel: Wheel

    def connect(self, address: Address, factory: ConnectionFactory, timeout: float) -> Pending:
        """Start an attempt of at most *timeout* seconds; *factory* never hears of it before this returns."""
        ...
