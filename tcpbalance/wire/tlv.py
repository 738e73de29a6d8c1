"""The fields behind the addresses of a PROXY header: a type, a length and a value each.

Source: HAProxy's doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from attrs import frozen

ALPN = 0x01
AUTHORITY = 0x02
CRC32C = 0x03
NOOP = 0x04
UNIQUE_ID = 0x05
SSL = 0x20
NETNS = 0x30

MAX_TLV = 0xFFFF
"""Bytes; the length has 16 bits."""

MAX_UNIQUE_ID = 128
"""Bytes; section 2.2.5."""

HEAD = struct.Struct("!BH")
"""What comes before a value: type and length."""


@frozen
class Tlv:
    """One field.

    :param type: 0 to 255.
    :param value: at most 65535 bytes.
    """

    type: int
    value: bytes


def read_tlvs(data: bytes) -> Iterator[Tlv]:
    """Part what consists of fields and nothing else.

    :raises ValueError: when the last field is cut off.
    """
    at = 0
    while at < len(data):
        if len(data) - at < HEAD.size:
            raise ValueError("a TLV is cut off before its length")
        kind, length = HEAD.unpack_from(data, at)
        at += HEAD.size + length
        if at > len(data):
            raise ValueError(f"the TLV {kind:#04x} of {length} bytes is cut off")
        yield Tlv(kind, data[at - length : at])


def write_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Join fields.

    :raises ValueError: for a type beyond 255 or a value that is too long.
    """
    return b"".join(map(_written, tlvs))


def _written(tlv: Tlv) -> bytes:
    if not 0 <= tlv.type <= 0xFF:
        raise ValueError(f"the type of a TLV must be 0 to 255, got {tlv.type}")
    if len(tlv.value) > MAX_TLV:
        raise ValueError(f"the TLV {tlv.type:#04x} must have at most {MAX_TLV} bytes, got {len(tlv.value)}")
    return HEAD.pack(tlv.type, len(tlv.value)) + tlv.value


def utf8(tlv: Tlv) -> str | None:
    """Give the value as text, None when it is not UTF-8."""
    return _text(tlv, "utf-8")


def ascii_text(tlv: Tlv) -> str | None:
    """Give the value as text, None when it is not US-ASCII."""
    return _text(tlv, "ascii")


def _text(tlv: Tlv, encoding: str) -> str | None:
    try:
        return tlv.value.decode(encoding)
    except UnicodeDecodeError:
        return None


def unique_id(tlv: Tlv) -> bytes | None:
    """Give the value as the name of a connection, None when it has more than 128 bytes (section 2.2.5)."""
    return tlv.value if len(tlv.value) <= MAX_UNIQUE_ID else None


def checksum(tlv: Tlv) -> int:
    """Give the value as a checksum of 32 bits. Source: section 2.2.3.

    :raises ValueError: when it does not have four bytes.
    """
    if len(tlv.value) != 4:
        raise ValueError(f"a checksum has 4 bytes, this one has {len(tlv.value)}")
    return int.from_bytes(tlv.value, "big")
