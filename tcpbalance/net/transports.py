"""Puts one of Twisted's transports on a connected socket, whichever end opened it."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger

_log = Logger()

PeerAddress = IPv4Address | IPv6Address | UNIXAddress


def peer_address(family: int, peer: Any) -> PeerAddress:
    """Turn what the socket module calls an address into Twisted's form.

    :param family: the socket's address family.
    :param peer: what ``accept()`` or ``getpeername()`` gave.
    """
    if family == socket.AF_INET:
        return IPv4Address("TCP", *peer)
    if family == socket.AF_INET6:
        return IPv6Address("TCP", *peer)
    return UNIXAddress(peer or None)


def shown(address: object) -> str:
    """An address as operators write it; endpoints of other makers may have addresses of their own kind."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    return str(address)


def in_flight(transport: Any) -> int:
    """Bytes that the transport and our kernel hold for the peer, sent or not, and that the peer has not
    acknowledged: tcp(7).

    :returns: 0 where that cannot be told.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket):
        return 0
    queued = int.from_bytes(fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return queued + _unsent(transport)


def _unsent(transport: Any) -> int:
    """Bytes that wait for room in the kernel: while they last, the kernel's part may be full at each look."""
    if not isinstance(transport, FileDescriptor):
        return 0
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


class _Port:
    """The one thing that a transport asks of the port it came from, for its ``repr``."""

    def __init__(self, number: object) -> None:
        self._realPortNumber = number


def attach(reactor: Any, sock: socket.socket, protocol: IProtocol, peer: Any) -> None:
    """Give *protocol* a transport over *sock*, which the transport owns from here on.

    A protocol that raises at that moment is logged, and its connection reset.

    :param reactor: the reactor that watches the socket (IReactorFDSet).
    :param sock: a connected stream socket.
    :param protocol: its ``makeConnection`` is called before this returns.
    :param peer: the peer's address as the socket module writes it.
    """
    transport_class = unix.Server if sock.family == socket.AF_UNIX else tcp.Server
    port = cast(Any, _Port(sock.fileno()))
    transport = transport_class(sock, protocol, peer, port, sock.fileno(), reactor)
    try:
        protocol.makeConnection(transport)
    except Exception:
        _log.failure("{protocol} could not begin", protocol=protocol)
        transport.abortConnection()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
