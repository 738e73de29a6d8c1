"""What is asked of a connection's transport, whichever data path carries it.

Two classes implement it: ``SocketTransport`` of the native data path, and ``AdaptedTransport`` around any
transport of Twisted's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import SocketType
from typing import Any, Protocol

from OpenSSL import SSL

from tcpbalance.net.bounded_pump import BoundedPump
from tcpbalance.net.pump import Pump
from tcpbalance.net.wheel import Wheel


class TlsServer(Protocol):
    """Makes our end of a connection whose client speaks TLS, as an IOpenSSLServerConnectionCreator."""

    def connection(self) -> SSL.Connection: ...


class TlsClient(Protocol):
    """Makes OpenSSL's end of a connection to a backend, as an IOpenSSLClientConnectionCreator."""

    def connection(self) -> SSL.Connection: ...


class Transport(Protocol):
    """One connection, as sessions, dials and probes use it.

    It reports to an IHalfCloseableProtocol, and to its ``on_connection_error`` where it has one: the
    connection is broken, and not all that came before is read yet.
    """

    # Reading

    @property
    def ending(self) -> bool:
        """Whether the peer is known to have finished sending; False where that is known only at the end."""
        ...

    @property
    def may_be_cut(self) -> bool:
        """Whether the stream, which has ended, had no close_notify of TLS at its end."""
        ...

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...

    def read_no_more(self) -> None:
        """Pass on nothing that comes from now on; a break is still reported."""
        ...

    def read_at_most(self, size: int) -> None:
        """Take no more than *size* bytes at once, or a record of TLS where that is more."""
        ...

    def look(self) -> None:
        """Show the protocol what comes before it is read, where that can be done, until `accept_tls`."""
        ...

    def has_input(self) -> bool:
        """Whether bytes have come that were not passed on; unlike a read, this takes no error of the socket.

        The beginning of a TLS record counts where the socket is ours; in Twisted's TLS it cannot be seen.
        """
        ...

    def has_news(self) -> bool:
        """Whether something has come that was not passed on: bytes, an end or a break; see ``has_input``."""
        ...

    def confirm_end(self) -> bool:
        """Decide whether the end that was just reported is one; where it is not, the transport goes on."""
        ...

    # Writing

    def took_nothing(self, size: int) -> bool:
        """Whether the peer's kernel has got none of the last bytes written; False where that is not known.

        An end of the peer's acknowledges all that had come before. So where there is one, no program of the
        peer's has read any of these bytes before it closed.

        :param size: how many these are, without what TLS adds.
        """
        ...

    @property
    def full(self) -> bool:
        """Whether bytes wait here because the kernel takes no more; False where that is not known."""
        ...

    @property
    def drained(self) -> bool:
        """Whether all bytes are in the kernel; False where that is not known."""
        ...

    @property
    def cut_short(self) -> bool:
        """Whether the transport was lost with bytes for the peer that the kernel had not taken."""
        ...

    def write(self, data: bytes, flags: int = 0) -> None:
        """Send *data*.

        :param flags: ``pump.MORE`` where the end follows at once.
        """
        ...

    def writeSequence(self, data: Iterable[bytes]) -> None: ...
    def registerProducer(self, producer: Any, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...

    def in_flight(self) -> int:
        """Count the bytes that wait here and in the kernel for the peer to acknowledge them."""
        ...

    # Ending

    @property
    def can_half_close(self) -> bool:
        """Whether the write side can be closed alone."""
        ...

    @property
    def ends_by_close_notify(self) -> bool:
        """Whether it is Twisted's TLS: its write side ends by a close_notify, behind which it reads until the
        peer has sent one, too, and then closes."""
        ...

    def loseWriteConnection(self) -> None: ...

    def loseConnection(self) -> None:
        """Close, once all that was written is out."""
        ...

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        ...

    # TLS

    def accept_tls(self, tls: TlsServer, rest: bytes = b"") -> None:
        """Let the client speak TLS from here on; ``handshakeCompleted`` is reported once it does.

        Nothing is to be written before that. The peer's close_notify is an end like any other.

        :param rest: the last bytes of what the protocol was given, which are a part of it.
        """
        ...

    def connect_tls(self, peer: TlsClient) -> None:
        """Speak TLS with a backend from here on; ``handshakeCompleted`` is reported once both do."""
        ...

    # Changing hands

    def hand_over(self, protocol: Any) -> None:
        """Report to another protocol from here on, which is not called for that."""
        ...

    def give_up(self, unused: int) -> tuple[SocketType, int]:
        """Leave the socket to the caller, as it is, and report nothing more.

        It speaks no TLS, and nothing was written to it.

        :param unused: how many of the last bytes that the protocol was given are not the protocol's.
        :returns: the socket, and how many of these bytes are not to be had from it any more.
        """
        ...

    def relay_with(self, other: Transport, wheel: Wheel) -> tuple[Pump, Pump] | None:
        """Carry the bytes of both to the other from the next turn on, past their protocols.

        :param wheel: has the time of the last byte.
        :returns: the pump from here and the pump to here; None where bytes have to go by the protocols.
        """
        ...

    def pump_to(
        self, other: Transport, size: int, wheel: Wheel, on_done: Callable[[], None]
    ) -> BoundedPump | None:
        """Carry the next bytes that come here to another transport, past the protocol.

        :param size: how many.
        :param wheel: has the time of the last byte.
        :param on_done: called once they are out.
        :returns: what carries them; None where bytes have to go by the protocol.
        """
        ...

    # Its ends

    def getPeer(self) -> Any: ...
    def getHost(self) -> Any: ...

    def getHandle(self) -> Any:
        """OpenSSL's connection where TLS is spoken, else the socket."""
        ...
