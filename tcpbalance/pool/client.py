"""A client's address as the bytes that policies and affinity work on."""

from __future__ import annotations

import socket

IPV4_PREFIX, IPV6_PREFIX = 32, 64
"""Leading bits that make a client, where nobody has said otherwise: one IPv6 host moves about within its
network's /64 (RFC 8981)."""

_MAPPED = b"\0" * 10 + b"\xff\xff"  # RFC 4291, section 2.5.5.2: an IPv4 client seen by an IPv6 listener


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
    return address[12:] if address.startswith(_MAPPED) else address


def packed_host(address: object) -> bytes | None:
    """Turn one of Twisted's addresses into the bytes of its host, as ``packed`` does.

    :returns: None for an address without one, such as a unix socket's.
    """
    return packed(getattr(address, "host", ""))


def masked(packed: bytes, ipv4_prefix: int, ipv6_prefix: int) -> bytes:
    """Clear the host part of a packed address; the length stays, so IPv4 and IPv6 never coincide.

    :param packed: what `packed` returned, 4 or 16 bytes.
    :param ipv4_prefix: leading bits kept of an IPv4 address, 0 to 32.
    :param ipv6_prefix: leading bits kept of an IPv6 address, 0 to 128.
    """
    size = len(packed)
    cleared = 32 - ipv4_prefix if size == 4 else 128 - ipv6_prefix
    if cleared == 0:
        return packed
    return (int.from_bytes(packed) >> cleared << cleared).to_bytes(size)
