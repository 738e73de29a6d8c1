"""PROXY headers of version 1, a line of text.

Source: HAProxy's doc/proxy-protocol.txt, section 2.1.
"""

from __future__ import annotations

import ipaddress
import re

from tcpbalance.wire.errors import ProxyHeaderError
from tcpbalance.wire.proxy_header import InetAddress, ProxyAddress, ProxyHeader, inet_address, of_one_family

V1_SIGNATURE = b"PROXY "

MAX_LINE = 107
"""Bytes, with its end."""

_UNKNOWN = b"UNKNOWN"
_FAMILIES: dict[bytes, type[ipaddress.IPv4Address | ipaddress.IPv6Address]] = {
    b"TCP4": ipaddress.IPv4Address,
    b"TCP6": ipaddress.IPv6Address,
}
_STARTS = (V1_SIGNATURE + _UNKNOWN, *(V1_SIGNATURE + family + b" " for family in _FAMILIES))
_V1_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


def read_v1(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Do what `read_header` does, for this version alone."""
    if not any(data.startswith(start[: len(data)]) for start in _STARTS):
        raise ProxyHeaderError(f"a PROXY line of an unknown family: {data[:16]!r}")
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end >= 0:
        return _header(data[len(V1_SIGNATURE) : end]), end + 2
    if len(data) >= MAX_LINE:
        raise ProxyHeaderError(f"a PROXY line that does not end within {MAX_LINE} bytes")
    return None


def _header(line: bytes) -> ProxyHeader:
    if line.startswith(_UNKNOWN):
        return ProxyHeader(None, None, (), 1)
    try:
        family, source, destination, source_port, destination_port = line.split(b" ")
        return ProxyHeader(
            inet_address(_packed(family, source), _port(source_port)),
            inet_address(_packed(family, destination), _port(destination_port)),
            (),
            1,
        )
    except ValueError:
        raise ProxyHeaderError(
            f"a PROXY line must give its family, two addresses of it and two ports, got {line!r}"
        ) from None


def _packed(family: bytes, text: bytes) -> bytes:
    if b"%" in text:
        raise ValueError("a zone means nothing to another machine")
    return _FAMILIES[family](text.decode("ascii")).packed


def _port(text: bytes) -> int:
    if not _V1_PORT.fullmatch(text):
        raise ValueError("a port is a decimal number without leading zeroes")
    return int(text)


def encode_v1(source: ProxyAddress | None, destination: ProxyAddress | None) -> bytes:
    """Write the line with the addresses of a connection; UNKNOWN unless both are IP addresses.

    Of an IPv4 and an IPv6 address the former is mapped into IPv6.

    :returns: at most 107 bytes.
    :raises ValueError: when a host is not an IP address.
    """
    if not (isinstance(source, InetAddress) and isinstance(destination, InetAddress)):
        return V1_SIGNATURE + _UNKNOWN + b"\r\n"
    one, other = of_one_family(source, destination)
    family = "TCP4" if len(one) == 4 else "TCP6"
    hosts = f"{inet_address(one, source.port).host} {inet_address(other, destination.port).host}"
    return f"PROXY {family} {hosts} {source.port} {destination.port}\r\n".encode("ascii")
