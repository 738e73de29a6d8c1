"""The two roads that connections take through the process, and the one place where it is decided which.

The quick road is the switchboard with its legs (Linux). The portable road is Twisted's own transports: any
reactor, any platform. Listeners and dials run on either.
"""

from __future__ import annotations

import select
from socket import SocketType
from typing import Any, Literal, Protocol, get_args

from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.wording import must_be_one_of
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import PeerAddress
from tcpbalance.net.leg import Leg
from tcpbalance.net.switchboard import READABLE, Handler, Switchboard
from tcpbalance.net.transports import stock_transport

_log = Logger()

DataPath = Literal["auto", "portable"]


class Waiting(Handler, Protocol):
    """A socket that waits for clients, or for a connection to come about: Twisted's descriptor and the
    switchboard's handler in one."""

    def fileno(self) -> int: ...


class Road(Protocol):
    """How sockets are watched, and what becomes of those that are connected.

    :ivar name: as logs call it.
    :ivar reason: why this one serves, for people.
    """

    name: str
    reason: str

    def open(self) -> None:
        """Begin, in the process that will serve; calling it again does nothing."""
        ...

    def close(self) -> None:
        """End, once every socket on this road is closed; calling it again does nothing."""
        ...

    def await_clients(self, listener: Waiting) -> None:
        """Tell *listener* when there is somebody to accept."""
        ...

    def leave_clients(self, listener: Waiting) -> None:
        """Tell it no more."""
        ...

    def await_connection(self, sock: SocketType, attempt: Waiting) -> None:
        """Tell *attempt* when its socket may be connected, or not."""
        ...

    def leave_connection(self, attempt: Waiting) -> None:
        """Tell it no more: its socket is about to be closed."""
        ...

    def end_attempt(self, attempt: Waiting) -> None:
        """Tell it no more: its socket is about to get a transport."""
        ...

    def transport(self, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
        """Make a transport, which owns the socket from here on.

        :param sock: connected, not blocking.
        :param protocol: what it will report to.
        :param peer: the peer's address.
        :raises OSError: the system cannot watch one more socket.
        """
        ...

    def fail(self, transport: Any, failure: Failure) -> None:
        """Reset the connection of a transport whose protocol has raised *failure*, which it is told."""
        ...


class PortableRoad:
    """Twisted's own transports.

    :param reactor: IReactorFDSet.
    :param reason: why not the quick road.
    """

    name = "portable road"

    def __init__(self, reactor: Any, reason: str = "by default") -> None:
        self._reactor = reactor
        self.reason = reason

    def open(self) -> None:
        """See ``Road``."""

    def close(self) -> None:
        """See ``Road``."""

    def await_clients(self, listener: Any) -> None:
        """See ``Road``."""
        self._reactor.addReader(listener)

    def leave_clients(self, listener: Any) -> None:
        """See ``Road``."""
        self._reactor.removeReader(listener)

    def await_connection(self, sock: SocketType, attempt: Any) -> None:
        """See ``Road``."""
        self._reactor.addWriter(attempt)

    def leave_connection(self, attempt: Any) -> None:
        """See ``Road``."""
        self._reactor.removeWriter(attempt)

    end_attempt = leave_connection

    def transport(self, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
        """See ``Road``."""
        return stock_transport(self._reactor, sock, protocol, peer)

    def fail(self, transport: Any, failure: Failure) -> None:
        """See ``Road``."""
        transport.connectionLost(failure)


class QuickRoad:
    """Legs on a switchboard.

    :param board: theirs alone.
    :param reason: what makes it possible.
    """

    name = "quick road"

    def __init__(self, board: Switchboard, reason: str = "by default") -> None:
        self._board = board
        self.reason = reason
        self.open = board.open
        self.close = board.close

    def await_clients(self, listener: Waiting) -> None:
        """See ``Road``."""
        # Not edge-triggered: who accepts a bounded number has to be told of those that still wait.
        self._board.watch(listener.fileno(), listener, READABLE)

    def leave_clients(self, listener: Waiting) -> None:
        """See ``Road``."""
        self._board.unwatch(listener.fileno())

    def await_connection(self, sock: SocketType, attempt: Waiting) -> None:
        """See ``Road``."""
        self._board.watch(sock.fileno(), attempt)

    def leave_connection(self, attempt: Waiting) -> None:
        """See ``Road``."""
        self._board.forget(attempt.fileno())

    def end_attempt(self, attempt: Waiting) -> None:
        """See ``Road``; the leg takes the attempt's place on the switchboard."""

    def transport(self, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Leg:
        """See ``Road``."""
        leg = Leg(self._board, sock, protocol, peer)
        self._board.watch(sock.fileno(), leg)
        return leg

    def fail(self, transport: Leg, failure: Failure) -> None:
        """See ``Road``."""
        transport.on_failure(failure)


def choose(data_path: DataPath, reactor: Any) -> Road:
    """Take the quick road wherever it can be had, unless the operator says otherwise.

    :raises SettingError: for another word.
    """
    words = get_args(DataPath)
    if data_path not in words:
        raise SettingError(f"balancer: data_path {must_be_one_of(data_path, words)}")
    if data_path == "portable":
        return PortableRoad(reactor, 'data_path = "portable"')
    if not hasattr(select, "epoll"):
        return PortableRoad(reactor, "this system has no epoll")
    name = type(reactor).__name__
    if not IReactorFDSet.providedBy(reactor):
        return PortableRoad(reactor, f"{name} cannot watch a descriptor")
    return QuickRoad(Switchboard(reactor), f"epoll within {name}")


def begin(road: Road, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
    """Give *protocol* a transport over *sock* and let it begin.

    One that raises at that moment is logged, its connection reset, and it is told so.

    :returns: the transport, which may be closed already.
    :raises OSError: the system cannot watch one more socket; *sock* is still the caller's.
    """
    transport = road.transport(sock, protocol, peer)
    try:
        protocol.makeConnection(transport)
    except Exception:
        failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        _log.failure("{protocol} could not begin", failure, protocol=protocol)
        road.fail(transport, failure)
    return transport
