"""Gives any transport of Twisted's what sessions ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import MSG_PEEK, SocketType
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from tcpbalance.net.bounded_pump import BoundedPump
from tcpbalance.net.ends import has_news, took_nothing, unacknowledged, unread
from tcpbalance.net.pump import Pump
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.transport import TlsClient, TlsServer, Transport
from tcpbalance.net.twisted_transport import ReadsToTheEnd
from tcpbalance.net.wheel import Wheel


def as_transport(transport: Any) -> Transport:
    """Give a transport as sessions use it.

    :param transport: the one that a protocol was connected with.
    """
    if isinstance(transport, _ADAPTED):
        return cast(Transport, transport)
    return AdaptedTransport(transport)


class AdaptedTransport:
    """A ``Transport`` around one of Twisted's: of any endpoint, with TLS of its own or without.

    :param transport: the one that the protocol was connected with.
    :ivar ending: False; the end is known when it is reported.
    :ivar full: False; it is not known what waits.
    :ivar drained: False; the same.
    :ivar ends_by_close_notify: see ``Transport``.
    :ivar registerProducer: the transport's own, as is ``unregisterProducer``.
    """

    __slots__ = ("_ended", "_transport", "ends_by_close_notify", "registerProducer", "unregisterProducer")

    ending = full = drained = False

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._ended = False
        self.registerProducer = transport.registerProducer
        self.unregisterProducer = transport.unregisterProducer
        self.ends_by_close_notify = bool(ISSLTransport.providedBy(transport))

    # Reading

    @property
    def may_be_cut(self) -> bool:
        """See ``Transport``; False where the transport is not Twisted's own, which cannot be asked."""
        transport = _unwrapped(self._transport)
        if not self.ends_by_close_notify or not isinstance(transport, FileDescriptor):
            return False
        # At a close_notify, Twisted's TLS closes the transport beneath; else that has closed by itself.
        return not transport.disconnecting

    def pauseProducing(self) -> None:
        """See ``Transport``."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See ``Transport``."""
        # Twisted's would report the end once more.
        if not self._ended:
            self._transport.resumeProducing()

    def read_no_more(self) -> None:
        """See ``Transport``: what is read is dropped by the session.

        Twisted's would not hear of a break if they did not read, and their TLS may have to read before it can
        write.
        """
        self.resumeProducing()

    def read_at_most(self, size: int) -> None:
        """See ``Transport``."""
        transport = _unwrapped(self._transport)
        if isinstance(transport, SocketTransport):
            transport.read_at_most(size)
        elif isinstance(transport, FileDescriptor):
            transport.bufferSize = size

    def look(self) -> None:
        """See ``Transport``: bytes are read, and what was not used is given back to `accept_tls`."""

    def has_input(self) -> bool:
        """See ``Transport``; False where the transport is not Twisted's own, which cannot be asked."""
        transport = _unwrapped(self._transport)
        if isinstance(transport, SocketTransport | ReadsToTheEnd):
            return transport.has_input()
        handle = getattr(transport, "socket", None)
        return isinstance(handle, SocketType) and unread(handle) > 0

    def has_news(self) -> bool:
        """See ``Transport``; False where the transport is not Twisted's own, which cannot be asked."""
        transport = _unwrapped(self._transport)
        if isinstance(transport, SocketTransport | ReadsToTheEnd):
            return transport.has_news()
        handle = getattr(transport, "socket", None)
        return isinstance(handle, SocketType) and has_news(handle)

    def took_nothing(self, size: int) -> bool:
        """See ``Transport``; False where the transport is not Twisted's own, which cannot be asked."""
        transport = _unwrapped(self._transport)
        if isinstance(transport, SocketTransport | ReadsToTheEnd):
            return transport.took_nothing(size - self._unsent())
        handle = getattr(transport, "socket", None)
        return isinstance(handle, SocketType) and took_nothing(handle, size - self._unsent())

    def confirm_end(self) -> bool:
        """See ``Transport``.

        Twisted's poll-like reactors take an error or hang-up for the end of the stream when the transport was
        paused while they waited for events and resumed by another one's event before its own was looked at.
        The kernel knows better.
        """
        handle = getattr(self._transport, "getHandle", None)
        try:
            if handle is None or not handle().recv(1, MSG_PEEK):
                self._ended = True
                return True
        except BlockingIOError:
            pass
        except OSError:
            self._transport.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]  # Twisted's
            return False
        self._transport.resumeProducing()
        return False

    # Writing

    def write(self, data: bytes, flags: int = 0) -> None:
        """See ``Transport``."""
        self._transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See ``Transport``."""
        self._transport.writeSequence(data)

    def in_flight(self) -> int:
        """See ``Transport``: less where the transport is not Twisted's own, which cannot be asked."""
        # While bytes wait here for space in the kernel, its part may be full at each look.
        waiting, transport = self._unsent(), _unwrapped(self._transport)
        if isinstance(transport, SocketTransport):
            return waiting + transport.in_flight()
        if isinstance(transport, FileDescriptor):
            # The end of the stream waits, too; the kernel counts it as a byte.
            waiting += transport._writeDisconnecting and not transport._writeDisconnected
        if isinstance(transport, ReadsToTheEnd):
            return waiting + transport.unacknowledged()
        handle = getattr(transport, "socket", None)
        return waiting + (unacknowledged(handle) if isinstance(handle, SocketType) else 0)

    @property
    def cut_short(self) -> bool:
        """See ``Transport``; False where Twisted's TLS was lost, which has dropped what waited."""
        return self._unsent() > 0

    def _unsent(self) -> int:
        waiting, transport = 0, self._transport
        while isinstance(transport, ProtocolWrapper):
            waiting += _unencrypted(transport)
            transport = transport.transport
        if getattr(transport, "TLS", False):
            # One that is lost has no protocol any more.
            waiting += _unencrypted(getattr(transport, "protocol", None))
        if isinstance(transport, FileDescriptor):
            waiting += len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return waiting

    # Ending

    @property
    def can_half_close(self) -> bool:
        """See ``Transport``.

        A TLS transport shows the interfaces of the TCP transport under it, half-close included, and must not
        be asked for it.
        """
        return not self.ends_by_close_notify and IHalfCloseableDescriptor.providedBy(self._transport)

    def loseWriteConnection(self) -> None:
        """See ``Transport``."""
        if self.ends_by_close_notify:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """See ``Transport``."""
        # Twisted's TLS never closes while a producer is registered.
        self._transport.unregisterProducer()
        if self.ends_by_close_notify:
            # While it is paused, it would not hear the peer's answer.
            self.resumeProducing()
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """See ``Transport``."""
        self._transport.unregisterProducer()
        self._transport.abortConnection()

    # TLS

    def accept_tls(self, tls: TlsServer, rest: bytes = b"") -> None:
        """See ``Transport``."""
        self._transport.startTLS(tls)
        self.ends_by_close_notify = True
        if rest:
            self._transport.protocol.dataReceived(rest)

    def connect_tls(self, peer: TlsClient) -> None:
        """See ``Transport``."""
        transport = self._transport
        protocol = transport.protocol
        try:
            # Twisted's transports of ours are those of a server: the other way round makes a client.
            transport.startTLS(peer, False)
        except Exception:
            # Twisted has put its TLS protocol in between, to which not even an end can be reported.
            transport.protocol = protocol
            raise
        self.ends_by_close_notify = True

    # Changing hands

    def hand_over(self, protocol: Any) -> None:
        """See ``Transport``."""
        transport = self._transport
        if getattr(transport, "TLS", False):
            transport.protocol.wrappedProtocol = protocol
        else:
            transport.protocol = protocol

    def give_up(self, unused: int) -> tuple[SocketType, int]:
        """See ``Transport``: only a transport of our own, without wrappers, can do so."""
        return cast(ReadsToTheEnd, self._transport).give_up(), unused

    def relay_with(self, other: Transport, wheel: Wheel) -> tuple[Pump, Pump] | None:
        """See ``Transport``: bytes go by the protocols."""
        return None

    def pump_to(
        self, other: Transport, size: int, wheel: Wheel, on_done: Callable[[], None]
    ) -> BoundedPump | None:
        """See ``Transport``: bytes go by the protocol."""
        return None

    # Its ends

    def getPeer(self) -> Any:
        """See ``Transport``."""
        return self._transport.getPeer()

    def getHost(self) -> Any:
        """See ``Transport``."""
        return self._transport.getHost()

    def getHandle(self) -> Any:
        """See ``Transport``."""
        return self._transport.getHandle()

    @property
    def socket(self) -> Any:
        """The socket beneath, where there is one."""
        return self._transport.socket


_ADAPTED = (SocketTransport, AdaptedTransport)


def _unwrapped(transport: Any) -> Any:
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def _unencrypted(tls: Any) -> int:
    """Count the bytes that wait in Twisted's TLS: for the next turn, or for the peer."""
    if not isinstance(tls, TLSMemoryBIOProtocol):
        return 0
    aggregator = getattr(tls, "_aggregator", None)
    gathered = sum(map(len, getattr(aggregator, "_buffer", ())))
    return gathered + sum(map(len, tls._appSendBuffer))
