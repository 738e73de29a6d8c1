"""Which part of an address makes a client, for policies, affinity and the queue."""

from __future__ import annotations

IPV4_PREFIX, IPV6_PREFIX = 32, 64
"""Leading bits that make a client, where no other number is configured: one IPv6 host changes its address
within its network's /64 (RFC 8981)."""


def masked(packed: bytes, ipv4_prefix: int, ipv6_prefix: int) -> bytes:
    """Clear the host part of a packed address; the length stays, so IPv4 and IPv6 never coincide.

    :param packed: a client's address, 4 or 16 bytes in network byte order.
    :param ipv4_prefix: leading bits kept of an IPv4 address, 0 to 32.
    :param ipv6_prefix: leading bits kept of an IPv6 address, 0 to 128.
    """
    size = len(packed)
    cleared = 32 - ipv4_prefix if size == 4 else 128 - ipv6_prefix
    if cleared == 0:
        return packed
    return (int.from_bytes(packed) >> cleared << cleared).to_bytes(size)
