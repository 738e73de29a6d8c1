"""What a PROXY header says, whichever version it was written in."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TypeVar

from attrs import field, frozen
from attrs.validators import ge, le

from tcpbalance.wire.ssl_facts import SslFacts, ssl_facts
from tcpbalance.wire.tlv import (
    ALPN,
    AUTHORITY,
    NETNS,
    SSL,
    UNIQUE_ID,
    Tlv,
    ascii_text,
    unique_id,
    utf8,
)

T = TypeVar("T")


@frozen
class InetAddress:
    """One end of a connection over IP.

    :param host: an IPv4 or IPv6 address, in the form that the system gives the addresses of peers.
    :param port: 0 to 65535.
    """

    host: str
    port: int = field(validator=[ge(0), le(0xFFFF)])

    @property
    def packed(self) -> bytes:
        """The address in network byte order, 4 or 16 bytes; without a zone, which means nothing elsewhere.

        :raises ValueError: when the host is not an IP address.
        """
        return ipaddress.ip_address(self.host).packed


@frozen
class UnixAddress:
    """One end of a connection over a unix socket.

    :param path: the socket's file; in the abstract namespace it begins with a NUL, and it is empty for a
        socket without a name.
    """

    path: bytes


ProxyAddress = InetAddress | UnixAddress

MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in the form of IPv6 begins with: RFC 4291, section 2.5.5.2."""


@frozen
class ProxyHeader:
    """Whose connection it is that a proxy has forwarded.

    A fact that cannot be decoded is None, as one that was not sent; ``tlvs`` has its bytes.

    :param source: the client's end, and
    :param destination: the end it connected to; both None when the header names none (LOCAL, UNKNOWN,
        UNSPEC), and the connection's own addresses stand.
    :param tlvs: further facts as they were received, without checksum and padding.
    :param version: of the format, 1 or 2.
    """

    source: ProxyAddress | None
    destination: ProxyAddress | None
    tlvs: tuple[Tlv, ...]
    version: int

    @property
    def alpn(self) -> bytes | None:
        """The protocol that was negotiated, as in TLS's own ALPN (section 2.2.1)."""
        return self._first(ALPN, lambda tlv: tlv.value)

    @property
    def authority(self) -> str | None:
        """The host that the client asked for, as in TLS's server name (section 2.2.2)."""
        return self._first(AUTHORITY, utf8)

    @property
    def unique_id(self) -> bytes | None:
        """The connection's name across proxies, at most 128 bytes (section 2.2.5)."""
        return self._first(UNIQUE_ID, unique_id)

    @property
    def ssl(self) -> SslFacts | None:
        """The TLS that the client spoke (section 2.2.6)."""
        return self._first(SSL, ssl_facts)

    @property
    def netns(self) -> str | None:
        """The name of the network namespace (section 2.2.7)."""
        return self._first(NETNS, ascii_text)

    def _first(self, kind: int, decode: Callable[[Tlv], T | None]) -> T | None:
        # The specification does not say which of two counts; HAProxy takes the first as well.
        return next((decode(tlv) for tlv in self.tlvs if tlv.type == kind), None)


def inet_address(packed: bytes, port: int) -> InetAddress:
    """Give an address its text: the system's, which is the same in both versions and in ``getpeername``.

    :param packed: 4 or 16 bytes in network byte order.
    """
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return InetAddress(socket.inet_ntop(family, packed), port)


def of_one_family(source: InetAddress, destination: InetAddress) -> tuple[bytes, bytes]:
    """Pack two addresses; an IPv4 beside an IPv6 one is mapped into IPv6 (RFC 4291, section 2.5.5.2).

    :returns: 4 bytes each or 16 bytes each.
    :raises ValueError: when a host is not an IP address.
    """
    one, other = source.packed, destination.packed
    return (one, other) if len(one) == len(other) else (_mapped(one), _mapped(other))


def _mapped(packed: bytes) -> bytes:
    return packed if len(packed) == 16 else MAPPED + packed
