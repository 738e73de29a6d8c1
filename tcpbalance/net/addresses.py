"""Addresses: from the socket module's form to Twisted's, to bytes, and to what operators read."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpbalance.wire.proxy_header import MAPPED, InetAddress, ProxyAddress, UnixAddress

PeerAddress = IPv4Address | IPv6Address | UNIXAddress

_INET = int(socket.AF_INET)


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


def twisted_address(address: ProxyAddress) -> PeerAddress:
    """Turn an address from a PROXY header into Twisted's form."""
    if isinstance(address, UnixAddress):
        return UNIXAddress(address.path or None)
    if ":" in address.host:
        return IPv6Address("TCP", address.host, address.port)
    return IPv4Address("TCP", address.host, address.port)


def proxy_address(address: object) -> ProxyAddress | None:
    """Turn one of Twisted's addresses into what a PROXY header can say, None where it cannot."""
    if isinstance(address, UNIXAddress):
        return UnixAddress(address.name or b"")
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    # A transport of another program may have a name where the address belongs.
    host = address.host.partition("%")[0]
    known = isIPAddress(host) or isIPv6Address(host)
    return InetAddress(address.host, address.port) if known else None


def socket_address(address: PeerAddress) -> Any:
    """The same in the socket module's form; None for a unix socket without a name."""
    if isinstance(address, IPv4Address):
        return address.host, address.port
    if isinstance(address, IPv6Address):
        return address.host, address.port, address.flowInfo, address.scopeID
    return address.name


def address_text(address: object) -> str:
    """An address as operators write it; endpoints of other makers may have addresses of their own kind."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    return str(address)


def packed(host: str) -> bytes | None:
    """Turn the host of a peer address into its bytes, so that one client is the same bytes on every listener.

    :param host: an IP address as Twisted reports it; a zone id (``%eth0``) is dropped.
    :returns: 4 bytes for IPv4 and for IPv4-mapped IPv6, 16 for IPv6, None for what is no IP address (the peer
        of a unix socket).
    """
    try:
        if ":" not in host:
            return socket.inet_pton(socket.AF_INET, host)
        address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return None
    # An IPv4 client seen by an IPv6 listener.
    return address[len(MAPPED) :] if address.startswith(MAPPED) else address


def packed_host(address: object) -> bytes | None:
    """Turn one of Twisted's addresses into the bytes of its host, as ``packed`` does.

    :returns: None for an address without one, such as a unix socket's.
    """
    return packed(getattr(address, "host", ""))


class ClientAddress:
    """Where a client is: worked out once, and carried from the accept to the record.

    :param given: one of Twisted's addresses; endpoints of other makers may have one of their own kind. With a
        family, what the socket module calls an address.
    :param family: of the socket; 0 for one of Twisted's addresses.
    :ivar packed: the bytes of its host, by which lists, limits and affinity know it; None for an address
        without a host, such as a unix socket's.
    """

    __slots__ = ("_family", "_given", "packed")

    def __init__(self, given: Any, family: int = 0) -> None:
        self._given = given
        self._family = family
        if family == _INET:
            self.packed: bytes | None = socket.inet_pton(_INET, given[0])
        elif not family:
            self.packed = packed_host(given)
        else:
            self.packed = None if family == socket.AF_UNIX else packed(given[0])

    @property
    def twisted(self) -> Any:
        """The same as one of Twisted's addresses."""
        return peer_address(self._family, self._given) if self._family else self._given

    def __str__(self) -> str:
        if self._family == _INET:
            host, port = self._given
            return f"{host}:{port}"
        return address_text(self.twisted)
