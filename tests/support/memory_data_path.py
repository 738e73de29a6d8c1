"""The data paths of the memory network: what the balancer's ends of its connections are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IAddress

from support.memory_poller import MemoryPoller
from support.memory_reactor import MemoryReactor
from support.memory_socket import MemorySocket
from support.memory_socket_transport import MemorySocketTransport
from support.memory_transport import MemoryTransport
from tcpbalance.net.data_path import NativeDataPath, begin
from tcpbalance.net.end_queue import EndQueue
from tcpbalance.net.poller import Poller
from tcpbalance.net.splice import PipeStore
from tcpbalance.net.tls.tls_socket import TlsSocket

EPOLL = 999
"""The number of the poller's descriptor, below those of all sockets."""


class MemoryDataPath(Protocol):
    """Puts transports on sockets."""

    def attach(self, sock: MemorySocket, protocol: Any, address: Any) -> Any:
        """Give *protocol* a transport and let it begin.

        :param address: the peer's.
        :returns: the transport.
        """
        ...

    def leftovers(self) -> list[str]:
        """What it still holds, besides the reactor's readers and writers."""
        ...


class MemoryTwistedDataPath:
    """Twisted's own transports.

    :param reactor: watches the sockets.
    :param host: the address of the balancer's ends.
    """

    def __init__(self, reactor: MemoryReactor, host: IAddress) -> None:
        self._reactor = reactor
        self._host = host
        self._ends = EndQueue(reactor)

    def attach(self, sock: MemorySocket, protocol: Any, address: IAddress) -> MemoryTransport:
        transport = MemoryTransport(self._ends, sock, protocol, self._reactor, self._host, address)
        protocol.makeConnection(transport)
        return transport

    def leftovers(self) -> list[str]:
        return []


class MemoryNativeDataPath(NativeDataPath):
    """Transports on a poller of the reactor's.

    :param reactor: watches the poller.
    :param sockets: what can be watched, by number.
    :param shuffle: see ``MemoryPoller``.
    :param pipes: what bulk is moved with.
    """

    def __init__(
        self,
        reactor: MemoryReactor,
        sockets: Mapping[int, MemorySocket],
        shuffle: random.Random | None,
        pipes: PipeStore,
    ) -> None:
        poller = MemoryPoller(EPOLL, sockets, shuffle)
        reactor.know(EPOLL, poller.events)
        super().__init__(Poller(reactor, lambda: poller, pipes))
        self.open()
        self.transports: list[MemorySocketTransport] = []
        self._epoll = poller
        self._pipes = pipes

    def attach(self, sock: MemorySocket, protocol: Any, address: Any) -> MemorySocketTransport:
        return cast(MemorySocketTransport, begin(self, cast(Any, sock), protocol, address))

    def transport(self, sock: Any, protocol: Any, peer: Any) -> MemorySocketTransport:
        transport = MemorySocketTransport(self.poller, sock, protocol, peer)
        transport.kernel = _beneath(sock)
        self.poller.watch(sock.fileno(), transport.on_events)
        self.transports.append(transport)
        return transport

    def has_input(self, sock: Any) -> bool:
        return bool(_beneath(sock).incoming.unread)

    def in_flight(self, sock: Any) -> int:
        return len(_beneath(sock).outgoing.unsent)

    def report(self, number: int, events: int) -> None:
        """Report an event at a descriptor in the place of what is to be reported of it."""
        self._epoll.reported(number)
        self._watched()[number](events)

    def note(self) -> None:
        """Let each transport note what it keeps."""
        for transport in self.transports:
            transport.note()

    def leftovers(self) -> list[str]:
        return [
            *(f"watched: {handler}" for handler in self._watched().values()),
            *(f"called again: {handler}" for handler, _ in self.poller._again),
            *(["a pipe is lent"] * self._pipes.lent),
        ]

    def _watched(self) -> dict[int, Callable[[int], None]]:
        return {**self.poller._handlers, **self.poller._new_handlers}


def _beneath(sock: Any) -> MemorySocket:
    """Give the socket that TLS is spoken over, where it is."""
    return cast(MemorySocket, sock._sock if isinstance(sock, TlsSocket) else sock)
