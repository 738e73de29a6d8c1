"""PROXY headers of version 2, in binary.

Source: HAProxy's doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import islice

from tcpbalance.wire.crc32c import crc32c
from tcpbalance.wire.errors import ProxyHeaderError
from tcpbalance.wire.proxy_header import (
    InetAddress,
    ProxyAddress,
    ProxyHeader,
    UnixAddress,
    inet_address,
    of_one_family,
)
from tcpbalance.wire.tlv import CRC32C, HEAD, NOOP, Tlv, checksum, read_tlvs, write_tlvs

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

LOCAL = 0x20
PROXY = 0x21
"""The commands, with the version in the upper four bits."""

INET, INET6, UNIX = 0x10, 0x20, 0x30
UNSPEC, STREAM, DGRAM = 0x00, 0x01, 0x02
"""The halves of the byte that says what kind of connection it is."""

MAX_BODY = 0xFFFF
"""Bytes behind the first 16; their length has 16 bits."""

MAX_TLVS = 128
"""Fields; there are 256 types, a dozen of them registered. Thousands of empty ones would only cost time."""

_START = struct.Struct("!12sBBH")
_ADDRESSES = {
    UNSPEC: struct.Struct(""),
    INET: struct.Struct("!4s4sHH"),
    INET6: struct.Struct("!16s16sHH"),
    UNIX: struct.Struct("108s108s"),
}
_MAX_PATH = 108
_CHECKSUM_SIZE = 4


def read_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Do what `read_header` does, for this version alone."""
    if len(data) > 12 and data[12] not in (LOCAL, PROXY):
        raise ProxyHeaderError(f"a PROXY header of unknown version or command: {data[12]:#04x}")
    if len(data) > 13 and data[12] == PROXY and not _is_known(data[13]):
        raise ProxyHeaderError(f"a PROXY header of unknown family or protocol: {data[13]:#04x}")
    if len(data) < _START.size:
        return None
    _, command, kind, length = _START.unpack_from(data)
    end = _START.size + length
    if command == PROXY and length < _ADDRESSES[kind & 0xF0].size:
        raise ProxyHeaderError(f"a PROXY header of {length} bytes is too short for its family {kind:#04x}")
    if len(data) < end:
        return None
    # All of what LOCAL brings is to be ignored, whatever it is.
    return (_header(data[:end], kind) if command == PROXY else ProxyHeader(None, None, (), 2)), end


def _is_known(kind: int) -> bool:
    return kind & 0xF0 in _ADDRESSES and kind & 0x0F in (UNSPEC, STREAM, DGRAM)


def _header(data: bytes, kind: int) -> ProxyHeader:
    layout = _ADDRESSES[kind & 0xF0]
    try:
        tlvs = _tlvs(data, _START.size + layout.size)
    except ValueError as mistake:
        raise ProxyHeaderError(f"a PROXY header with a flaw: {mistake}") from None
    source = destination = None
    if kind & 0xF0 and kind & 0x0F:
        source, destination = _pair(layout.unpack_from(data, _START.size))
    return ProxyHeader(source, destination, tlvs, 2)


def _pair(parts: tuple[bytes, bytes] | tuple[bytes, bytes, int, int]) -> tuple[ProxyAddress, ProxyAddress]:
    if len(parts) == 2:
        return UnixAddress(_path(parts[0])), UnixAddress(_path(parts[1]))
    source, destination, source_port, destination_port = parts
    return inet_address(source, source_port), inet_address(destination, destination_port)


def _path(padded: bytes) -> bytes:
    # An abstract name begins with a NUL and may have more of them; a file's ends at the first.
    return padded.rstrip(b"\0") if padded.startswith(b"\0") else padded.partition(b"\0")[0]


def _tlvs(data: bytes, start: int) -> tuple[Tlv, ...]:
    tlvs = tuple(islice(read_tlvs(data[start:]), MAX_TLVS + 1))
    if len(tlvs) > MAX_TLVS:
        raise ValueError(f"it has more than {MAX_TLVS} TLVs")
    _verify(data, start, tlvs)
    return tuple(tlv for tlv in tlvs if tlv.type not in (CRC32C, NOOP))


def _verify(data: bytes, start: int, tlvs: Iterable[Tlv]) -> None:
    """Compare the checksum if there is one (section 2.2.3)."""
    claims = []
    end = start
    for tlv in tlvs:
        end += HEAD.size + len(tlv.value)
        if tlv.type == CRC32C:
            claims.append((checksum(tlv), end))
    if not claims:
        return
    # Each costs a walk over the whole header, so that thousands of them would be an attack.
    if len(claims) > 1:
        raise ValueError("it has more than one checksum")
    claimed, end = claims[0]
    if claimed != crc32c(data[: end - _CHECKSUM_SIZE] + bytes(_CHECKSUM_SIZE) + data[end:]):
        raise ValueError("its checksum is wrong")


def encode_v2(
    source: ProxyAddress | None, destination: ProxyAddress | None, tlvs: Iterable[Tlv] = ()
) -> bytes:
    """Write the header with the addresses of a connection, with a checksum at its end.

    Of an IPv4 and an IPv6 address the former is mapped into IPv6. UNSPEC, with no addresses, where one is
    missing or a unix socket is only at one end.

    :param tlvs: further facts; the checksum is added to them.
    :returns: at most 16 + 65535 bytes.
    :raises ValueError: for a host that is not an IP address, or more than fits into the header.
    """
    kind, addresses = _addresses(source, destination)
    body = addresses + write_tlvs(map(_checked, tlvs)) + HEAD.pack(CRC32C, _CHECKSUM_SIZE)
    length = len(body) + _CHECKSUM_SIZE
    if length > MAX_BODY:
        raise ValueError(f"a PROXY header must have at most {MAX_BODY} bytes of contents, got {length}")
    unsigned = _START.pack(V2_SIGNATURE, PROXY, kind, length) + body
    return unsigned + crc32c(unsigned + bytes(_CHECKSUM_SIZE)).to_bytes(_CHECKSUM_SIZE, "big")


def encode_v2_local() -> bytes:
    """Write the header of a connection that the proxy makes on its own account, such as a health check."""
    return _START.pack(V2_SIGNATURE, LOCAL, UNSPEC, 0)


def _addresses(source: ProxyAddress | None, destination: ProxyAddress | None) -> tuple[int, bytes]:
    if isinstance(source, InetAddress) and isinstance(destination, InetAddress):
        one, other = of_one_family(source, destination)
        family = INET if len(one) == 4 else INET6
        return family | STREAM, _ADDRESSES[family].pack(one, other, source.port, destination.port)
    if isinstance(source, UnixAddress) and isinstance(destination, UnixAddress):
        paths = source.path, destination.path
        if max(map(len, paths)) > _MAX_PATH:
            raise ValueError(f"the path of a unix socket must have at most {_MAX_PATH} bytes, got {paths}")
        return UNIX | STREAM, _ADDRESSES[UNIX].pack(*paths)
    return UNSPEC, b""


def _checked(tlv: Tlv) -> Tlv:
    if tlv.type == CRC32C:
        raise ValueError("the checksum is worked out here, it cannot be given")
    return tlv
