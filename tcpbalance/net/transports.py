"""Twisted's own transports: put on a connected socket, and asked what they do not tell by themselves."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from socket import SocketType
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper

from tcpbalance.net.addresses import PeerAddress, socket_address
from tcpbalance.net.leg import Leg


def in_flight(transport: Any) -> int:
    """Bytes that the transport and our kernel hold for the peer, sent or not, and that the peer has not
    acknowledged: tcp(7).

    :returns: 0 where that cannot be told.
    """
    handle = getattr(transport, "socket", None)  # what TLS gives as its handle is OpenSSL's
    if not isinstance(handle, SocketType):
        return 0
    queued = int.from_bytes(fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return queued + _unsent(transport)


def _unsent(transport: Any) -> int:
    """Bytes that wait for room in the kernel: while they last, the kernel's part may be full at each look."""
    if not isinstance(transport, FileDescriptor):
        return 0
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def at_end(transport: Any) -> bool:
    """Whether the peer has really finished, now that its transport says so.

    Twisted's poll-like reactors take an error or hang-up for the end of the stream when the transport was
    paused while they waited for events and resumed by another one's event before its own was looked at. The
    kernel knows better.

    :raises OSError: the connection is broken.
    """
    handle = getattr(transport, "getHandle", None)
    if handle is None:
        return True
    try:
        return not handle().recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def read_at_most(transport: Any, size: int) -> None:
    """Let a transport take no more than *size* bytes at once, or a record of TLS where that is more."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    if isinstance(transport, Leg):
        transport.chunk = size
    elif isinstance(transport, FileDescriptor):
        transport.bufferSize = size


def hand_over(transport: Any, protocol: IProtocol) -> None:
    """Let a transport report to another protocol from here on, which is told nothing of it."""
    if isinstance(transport, Leg):
        transport.hand_over(protocol)
    elif getattr(transport, "TLS", False):
        transport.protocol.wrappedProtocol = protocol
    else:
        transport.protocol = protocol


class _Port:
    """The one thing that a transport asks of the port it came from, for its ``repr``."""

    def __init__(self, number: object) -> None:
        self._realPortNumber = number


def stock_transport(reactor: Any, sock: SocketType, protocol: IProtocol, peer: PeerAddress) -> Any:
    """Make a transport of Twisted's over *sock*, which the transport owns from here on.

    :param reactor: watches the socket (IReactorFDSet).
    :param sock: a connected stream socket.
    :param protocol: what it will report to.
    :param peer: the peer's address.
    """
    transport_class = unix.Server if isinstance(peer, UNIXAddress) else tcp.Server
    port = cast(Any, _Port(sock.fileno()))
    return transport_class(cast(Any, sock), protocol, socket_address(peer), port, sock.fileno(), reactor)
