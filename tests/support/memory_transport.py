"""The balancer's end of a connection: Twisted's own TCP transport on a memory socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.tcp import Connection

from support.memory_reactor import MemoryReactor
from support.memory_socket import MemorySocket
from tcpbalance.net.end_queue import EndQueue
from tcpbalance.net.twisted_transport import ReadsToTheEnd


class MemoryTransport(ReadsToTheEnd, Connection):
    """``tcp.Connection``, as on the portable data path, with given addresses, counting what it holds.

    :param ends: the queue of ends on the reactor.
    :param sock: the balancer's end.
    :param protocol: what it reports to.
    :param reactor: what watches the socket.
    :param host: the address of this end.
    :param peer: the address of the other.
    :ivar peak: the most bytes that were ever kept here for a peer whose kernel takes no more.
    """

    def __init__(
        self,
        ends: EndQueue,
        sock: MemorySocket,
        protocol: Any,
        reactor: MemoryReactor,
        host: IAddress,
        peer: IAddress,
    ) -> None:
        super().__init__(ends, sock, protocol, reactor)
        self.peak = 0
        self.kernel = sock
        self._host = host
        self._peer = peer
        self.logstr = f"{self._getLogPrefix(protocol)},{peer}"
        self.startReading()
        self.connected = 1

    @property
    def kept(self) -> int:
        """Bytes written by the protocol and not taken by the kernel."""
        return len(self.dataBuffer) + self._tempDataLen

    @property
    def is_open(self) -> bool:
        """Whether the socket is not closed yet."""
        return not self.kernel.closed

    def has_input(self) -> bool:
        return self.is_open and bool(self.kernel.incoming.unread)

    def has_news(self) -> bool:
        return not self.is_open or self.kernel.has_news

    def took_nothing(self, size: int) -> bool:
        return self.is_open and len(self.kernel.outgoing.unsent) >= size

    def unacknowledged(self) -> int:
        return 0 if self._broken or not self.is_open else len(self.kernel.outgoing.unsent)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.peak = max(self.peak, self.kept)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        super().writeSequence(iovec)
        self.peak = max(self.peak, self.kept)

    def getHost(self) -> IAddress:
        return self._host

    def getPeer(self) -> IAddress:
        return self._peer

    def __repr__(self) -> str:
        return f"<MemoryTransport to {self._peer}>"
