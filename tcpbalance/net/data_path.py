"""The two data paths, and the one place that decides which of them serves.

The native data path is the poller with its socket transports (Linux). The portable data path is Twisted's own
transports: any reactor, any platform. Listeners and dials run on either.
"""

from __future__ import annotations

import select
from socket import SocketType
from typing import Any, Literal, Protocol, get_args

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.messages import must_be_one_of
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import PeerAddress, socket_address
from tcpbalance.net.end_queue import EndQueue
from tcpbalance.net.ends import unacknowledged, unread
from tcpbalance.net.poller import READABLE, Handler, Poller
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.twisted_transport import TcpTransport, UnixTransport

_log = Logger()

DataPathName = Literal["auto", "portable"]


class Waiting(Handler, Protocol):
    """A socket that waits for clients, or to be connected: Twisted's descriptor and the poller's handler in
    one."""

    def fileno(self) -> int: ...


class DataPath(Protocol):
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
        """End, once every socket on this data path is closed; calling it again does nothing."""
        ...

    def await_clients(self, listener: Waiting) -> None:
        """Call *listener* when there are clients to accept."""
        ...

    def leave_clients(self, listener: Waiting) -> None:
        """Call it no more."""
        ...

    def await_connection(self, sock: SocketType, attempt: Waiting) -> None:
        """Call *attempt* when its socket may be connected, or has failed to."""
        ...

    def leave_connection(self, attempt: Waiting) -> None:
        """Call it no more: its socket is about to be closed."""
        ...

    def end_attempt(self, attempt: Waiting) -> None:
        """Call it no more: its socket is about to get a transport."""
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
        """Reset the connection of a transport whose protocol has raised *failure*, which is reported to
        it."""
        ...

    def others_wait(self) -> bool | None:
        """Whether a socket has something to do in the next turn; None where that is not known."""
        ...


class TwistedDataPath:
    """Twisted's own transports.

    :param reactor: IReactorFDSet.
    :param reason: why not the native data path.
    """

    name = "portable data path"

    def __init__(self, reactor: Any, reason: str = "by default") -> None:
        self._reactor = reactor
        self._ends = EndQueue(reactor)
        self.reason = reason

    def open(self) -> None:
        """See ``DataPath``."""

    def close(self) -> None:
        """See ``DataPath``."""

    def await_clients(self, listener: Any) -> None:
        """See ``DataPath``."""
        self._reactor.addReader(listener)

    def leave_clients(self, listener: Any) -> None:
        """See ``DataPath``."""
        self._reactor.removeReader(listener)

    def await_connection(self, sock: SocketType, attempt: Any) -> None:
        """See ``DataPath``."""
        self._reactor.addWriter(attempt)

    def leave_connection(self, attempt: Any) -> None:
        """See ``DataPath``."""
        self._reactor.removeWriter(attempt)

    end_attempt = leave_connection

    def transport(self, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
        """See ``DataPath``."""
        transport_class = UnixTransport if isinstance(peer, UNIXAddress) else TcpTransport
        address = socket_address(peer)
        return transport_class(self._ends, sock, protocol, address, None, sock.fileno(), self._reactor)

    def fail(self, transport: Any, failure: Failure) -> None:
        """See ``DataPath``."""
        transport.connectionLost(failure)

    def others_wait(self) -> bool | None:
        """See ``DataPath``."""
        return None


class NativeDataPath:
    """Socket transports on a poller.

    :param poller: theirs alone.
    :param reason: what makes it possible.
    :ivar poller: the same.
    """

    name = "native data path"

    def __init__(self, poller: Poller, reason: str = "by default") -> None:
        self.poller = poller
        self.reason = reason
        self.open = poller.open
        self.close = poller.close

    def await_clients(self, listener: Waiting) -> None:
        """See ``DataPath``."""
        # Not edge-triggered: a listener accepts a bounded number, and is called for those that still wait.
        self.poller.watch(listener.fileno(), listener.on_events, READABLE)

    def leave_clients(self, listener: Waiting) -> None:
        """See ``DataPath``."""
        self.poller.unwatch(listener.fileno())

    def await_connection(self, sock: SocketType, attempt: Waiting) -> None:
        """See ``DataPath``."""
        self.poller.watch(sock.fileno(), attempt.on_events)

    def leave_connection(self, attempt: Waiting) -> None:
        """See ``DataPath``."""
        self.poller.forget(attempt.fileno())

    def end_attempt(self, attempt: Waiting) -> None:
        """See ``DataPath``; the transport takes the attempt's place on the poller."""

    def transport(self, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> SocketTransport:
        """See ``DataPath``."""
        transport = SocketTransport(self.poller, sock, protocol, peer)
        self.poller.watch(sock.fileno(), transport.on_events)
        return transport

    def fail(self, transport: SocketTransport, failure: Failure) -> None:
        """See ``DataPath``."""
        transport.on_failure(failure)

    def others_wait(self) -> bool | None:
        """See ``DataPath``."""
        return self.poller.others_wait

    def in_flight(self, sock: SocketType) -> int:
        """Count the bytes that wait in the kernel for the peer of a socket to acknowledge them."""
        return unacknowledged(sock)

    def has_input(self, sock: SocketType) -> bool:
        """Whether bytes have come at a socket that were not read."""
        return unread(sock) > 0


def choose(data_path: DataPathName, reactor: Any) -> DataPath:
    """Take the native data path wherever it can be had, unless the operator says otherwise.

    :raises SettingError: for another word.
    """
    words = get_args(DataPathName)
    if data_path not in words:
        raise SettingError(f"balancer: data_path {must_be_one_of(data_path, words)}")
    if data_path == "portable":
        return TwistedDataPath(reactor, 'data_path = "portable"')
    if not hasattr(select, "epoll"):
        return TwistedDataPath(reactor, "this system has no epoll")
    name = type(reactor).__name__
    if not IReactorFDSet.providedBy(reactor):
        return TwistedDataPath(reactor, f"{name} cannot watch a descriptor")
    return NativeDataPath(Poller(reactor), f"epoll within {name}")


def begin(data_path: DataPath, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
    """Give *protocol* a transport over *sock* and let it begin.

    If it raises at that moment, that is logged and reported to it, and its connection is reset.

    :returns: the transport, which may be closed already.
    :raises OSError: the system cannot watch one more socket; *sock* is still the caller's.
    """
    transport = data_path.transport(sock, protocol, peer)
    try:
        protocol.makeConnection(transport)
    except Exception:
        failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        _log.failure("{protocol} could not begin", failure, protocol=protocol)
        data_path.fail(transport, failure)
    return transport
