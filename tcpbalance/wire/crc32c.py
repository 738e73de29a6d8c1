"""The checksum CRC32C, also known by the name of Castagnoli."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, with the bits in the order in which they come."""


def _entry(register: int) -> int:
    for _ in range(8):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


_TABLE = tuple(map(_entry, range(256)))


def crc32c(data: bytes) -> int:
    """Give the checksum of some bytes, 32 bits. Source: RFC 9260, appendix A; a byte at a time, by table."""
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ _TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF
