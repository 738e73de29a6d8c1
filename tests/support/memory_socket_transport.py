"""The balancer's end of a connection on the native data path: a transport on a memory socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from weakref import WeakMethod

from support.memory_socket import MemorySocket
from tcpbalance.net.addresses import PeerAddress
from tcpbalance.net.output import Output
from tcpbalance.net.poller import Poller
from tcpbalance.net.socket_transport import SocketTransport


class MemorySocketTransport(SocketTransport):
    """``SocketTransport``, counting what it holds.

    :param board: the poller.
    :param sock: the balancer's end.
    :param protocol: what it reports to.
    :param peer: the address of the other end.
    :ivar peak: the most bytes that were ever kept here for a peer whose kernel takes no more.
    """

    def __init__(self, poller: Poller, sock: MemorySocket, protocol: Any, peer: PeerAddress) -> None:
        super().__init__(poller, cast(Any, sock), protocol, peer)
        self.output = _NotingOutput(sock, self.note)
        self.peak = 0
        self.kernel = sock

    @property
    def kept(self) -> int:
        """Bytes read for the peer and not taken by its kernel, the pipe's included."""
        return len(self.output.unsent or b"") + (0 if self._incoming is None else self._incoming.held)

    def note(self) -> None:
        """Note what is kept now."""
        self.peak = max(self.peak, self.kept)

    def write(self, data: bytes, flags: int = 0) -> None:
        super().write(data, flags)
        self.note()

    def has_input(self) -> bool:
        kept = self._tls is not None and self._tls.has_input
        return self.is_open and (kept or bool(self.kernel.incoming.unread))

    def has_news(self) -> bool:
        return self.has_input() or not self.is_open or self.kernel.has_news

    def took_nothing(self, size: int) -> bool:
        return self.is_open and len(self.kernel.outgoing.unsent) >= size

    def in_flight(self) -> int:
        return self.kept + len(self.kernel.outgoing.unsent) if self.is_open and not self._broken else 0


class _NotingOutput(Output):
    """``Output``, calling *note*, of the transport that it belongs to, when it keeps something."""

    def __init__(self, sock: MemorySocket, note: Callable[[], None]) -> None:
        super().__init__(cast(Any, sock))
        self._note = WeakMethod(note)

    def keep(self, data: bytes, sent: int) -> None:
        super().keep(data, sent)
        note = self._note()
        assert note is not None
        note()
