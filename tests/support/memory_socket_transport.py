"""The balancer's end of a connection on the native data path: a leg on a memory socket."""

from __future__ import annotations

from typing import Any, cast

from support.memory_socket import MemorySocket
from tcpbalance.net.addresses import PeerAddress
from tcpbalance.net.poller import Poller
from tcpbalance.net.socket_transport import SocketTransport


class MemoryLeg(SocketTransport):
    """``SocketTransport``, counting what it holds.

    :param board: the poller.
    :param sock: the balancer's end.
    :param protocol: what it reports to.
    :param peer: the address of the other end.
    :ivar peak: the most bytes that were ever kept here for a peer whose kernel takes no more.
    """

    def __init__(self, poller: Poller, sock: MemorySocket, protocol: Any, peer: PeerAddress) -> None:
        super().__init__(poller, cast(Any, sock), protocol, peer)
        self.peak = 0
        self.kernel = sock

    @property
    def kept(self) -> int:
        """Bytes read for the peer and not taken by its kernel, the pipe's included."""
        return len(self._unsent or b"") + (0 if self._incoming is None else self._incoming.held)

    @property
    def is_open(self) -> bool:
        """Whether the socket is not closed yet."""
        return not self.kernel.closed

    def note(self) -> None:
        """Note what is kept now."""
        self.peak = max(self.peak, self.kept)

    def write(self, data: bytes, flags: int = 0) -> None:
        super().write(data, flags)
        self.note()

    def put(self, data: bytes, flags: int = 0) -> bool:
        taken = super().put(data, flags)
        self.note()
        return taken

    def in_flight(self) -> int:
        return self.kept + len(self.kernel.outgoing.unsent) if self._open and not self._broken else 0
