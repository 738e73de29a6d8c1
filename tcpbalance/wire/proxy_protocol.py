"""The PROXY protocol: what a proxy says of a connection before the connection's own bytes.

Source: HAProxy's doc/proxy-protocol.txt, the revision of 2026/01/15.
"""

from __future__ import annotations

from typing import Literal

from tcpbalance.wire import proxy_v1, proxy_v2
from tcpbalance.wire.errors import ProxyHeaderError
from tcpbalance.wire.proxy_header import InetAddress, ProxyAddress, ProxyHeader, UnixAddress
from tcpbalance.wire.proxy_v1 import encode_v1
from tcpbalance.wire.proxy_v2 import encode_v2, encode_v2_local
from tcpbalance.wire.ssl_facts import SslFacts, ssl_tlv
from tcpbalance.wire.tlv import Tlv

__all__ = [
    "InetAddress",
    "ProxyAddress",
    "ProxyHeader",
    "ProxyHeaderError",
    "ProxyVersion",
    "SslFacts",
    "Tlv",
    "UnixAddress",
    "encode_v1",
    "encode_v2",
    "encode_v2_local",
    "read_header",
    "ssl_tlv",
]

ProxyVersion = Literal["v1", "v2"]
"""What operators and programs call the versions."""

_READERS = ((proxy_v1.V1_SIGNATURE, proxy_v1.read_v1), (proxy_v2.V2_SIGNATURE, proxy_v2.read_v2))


def read_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header that a connection begins with, of either version.

    The addresses of datagrams are taken like those of streams. A known family with an unspecified protocol
    must bring its addresses, which are ignored. Source: section 2.

    :param data: all that has come so far; what is behind the header is not looked at.
    :returns: the header and how many bytes it took; None while there have to be more of them.
    :raises ProxyHeaderError: as soon as it cannot become a header any more.
    """
    for signature, read in _READERS:
        if data.startswith(signature[: len(data)]):
            return read(data)
    raise ProxyHeaderError(f"not a PROXY header, it begins with {data[:16]!r}")
