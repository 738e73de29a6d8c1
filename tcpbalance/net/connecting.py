"""What opens connections to backends, as sessions and checks ask for them."""

from __future__ import annotations

from collections.abc import Callable
from socket import SocketType
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from tcpbalance.config.addresses import Address
from tcpbalance.net.data_path import NativeDataPath
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.wheel import Wheel


class ConnectionFactory(Protocol):
    """What learns how an attempt ended: the part of Twisted's ``ClientFactory`` that is used."""

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        """Called when the socket is connected; None closes it."""
        ...

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Called when it does not come about, *reason* holding a ``ConnectFailed``."""
        ...


MayDial = Callable[[str], bool]
"""Whether a connection may be made to an IP address; of a name's, asked about each before it is dialled."""


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

    def connect(
        self,
        address: Address,
        factory: ConnectionFactory,
        timeout: float,
        may_dial: MayDial | None = None,
    ) -> Pending:
        """Start an attempt; *factory* never hears of it before this returns.

        :param timeout: seconds that it may take.
        :param may_dial: which addresses of a host are left out; None for none.
        """
        ...


class Attempt(Pending, Protocol):
    """An attempt over one socket, of which the poller reports."""

    def on_events(self, events: int) -> None:
        """See ``poller.Handler``."""
        ...

    def check(self, now: float) -> None:
        """See ``wheel.Watched``: its time is over."""
        ...


class NativeConnector(Connector, Protocol):
    """A ``Connector`` of the native data path, whose sockets can be had while they connect.

    :ivar data_path: the data path.
    """

    data_path: NativeDataPath

    def open(self, address: Address) -> SocketType:
        """Begin to connect a socket to an address for which ``Address.is_fixed`` holds.

        It may hold back a second write until the first is acknowledged; see ``socket_options.set_no_delay``.

        :raises ConnectFailed: it fails at once.
        """
        ...

    def has_reached_itself(self, sock: SocketType, address: Address) -> bool:
        """Whether a socket that is connected to an address has itself at the other end; see ``own_ports``."""
        ...

    def transport(self, sock: SocketType, address: Address, protocol: IProtocol) -> SocketTransport:
        """Make the transport of a socket that is connected to an address."""
        ...

    def take_over(
        self, sock: SocketType, address: Address, factory: ConnectionFactory, timeout: float, left: float
    ) -> Attempt:
        """Go on with a socket that ``open`` has begun to connect, as `connect` would.

        :param timeout: seconds that it may take.
        :param left: seconds of them that are left.
        """
        ...


def as_native(connector: Connector) -> NativeConnector | None:
    """Give a connector as what it is on the native data path; None for any other."""
    is_native = isinstance(getattr(connector, "data_path", None), NativeDataPath)
    return cast(NativeConnector, connector) if is_native else None
