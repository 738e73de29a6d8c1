"""PROXY headers of version 2: addresses, commands, families, lengths and the checksum."""

from __future__ import annotations

import pytest

from support.proxy_headers import DESTINATION, INET_ADDRESSES, SIGNATURE, SOURCE, tlv, v2_header
from tcpbalance.wire.crc32c import crc32c
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    ProxyAddress,
    ProxyHeader,
    ProxyHeaderError,
    Tlv,
    UnixAddress,
    encode_v2,
    encode_v2_local,
    read_header,
)
from tcpbalance.wire.proxy_v2 import MAX_TLVS

INET6_ADDRESSES = bytes.fromhex("20010db8000000000000000000000001") * 2 + b"\x00\x01\x00\x02"
MAPPED_ADDRESSES = bytes.fromhex("00000000000000000000ffffc0000201") * 2 + b"\x00\x01\x00\x02"
UNIX_ADDRESSES = b"/run/a".ljust(108, b"\0") + b"\0abc".ljust(108, b"\0")
ADDRESSES = {0x00: b"", 0x10: INET_ADDRESSES, 0x20: INET6_ADDRESSES, 0x30: UNIX_ADDRESSES}
NOBODY = ProxyHeader(None, None, (), 2)


def signed(tlvs: bytes = b"", behind: bytes = b"") -> bytes:
    """Write a header with a right checksum among its TLVs."""
    header = v2_header(tlvs=tlvs + tlv(0x03, bytes(4)) + behind)
    at = len(header) - len(behind) - 4
    return header[:at] + crc32c(header).to_bytes(4, "big") + header[at + 4 :]


def ends(data: bytes) -> tuple[ProxyAddress | None, ProxyAddress | None]:
    found = read_header(data)
    assert found is not None
    return found[0].source, found[0].destination


def test_a_header_is_read() -> None:
    header = v2_header()
    assert read_header(header + b"GET /") == (ProxyHeader(SOURCE, DESTINATION, (), 2), len(header))


@pytest.mark.parametrize(
    ("family", "addresses", "source", "destination"),
    [
        (0x12, INET_ADDRESSES, SOURCE, DESTINATION),
        (0x21, INET6_ADDRESSES, InetAddress("2001:db8::1", 1), InetAddress("2001:db8::1", 2)),
        (0x22, INET6_ADDRESSES, InetAddress("2001:db8::1", 1), InetAddress("2001:db8::1", 2)),
        (0x21, MAPPED_ADDRESSES, InetAddress("::ffff:192.0.2.1", 1), InetAddress("::ffff:192.0.2.1", 2)),
        (0x31, UNIX_ADDRESSES, UnixAddress(b"/run/a"), UnixAddress(b"\0abc")),
        (0x32, UNIX_ADDRESSES, UnixAddress(b"/run/a"), UnixAddress(b"\0abc")),
        (0x31, b"a\0b".ljust(108, b"\0") + bytes(108), UnixAddress(b"a"), UnixAddress(b"")),
        (0x31, b"x" * 216, UnixAddress(b"x" * 108), UnixAddress(b"x" * 108)),
        (0x00, b"", None, None),
        (0x01, b"", None, None),
        (0x10, INET_ADDRESSES, None, None),
        (0x20, INET6_ADDRESSES, None, None),
        (0x30, UNIX_ADDRESSES, None, None),
    ],
)
def test_addresses_of_each_family(
    family: int, addresses: bytes, source: ProxyAddress | None, destination: ProxyAddress | None
) -> None:
    assert ends(v2_header(family=family, addresses=addresses)) == (source, destination)


@pytest.mark.parametrize("family", [0x00, 0x11, 0x21, 0x55, 0xFF])
@pytest.mark.parametrize("body", [b"", b"\x01", INET_ADDRESSES, b"\xff" * 65535])
def test_local_is_taken_whatever_it_brings(family: int, body: bytes) -> None:
    header = v2_header(command=0x20, family=family, addresses=body)
    assert read_header(header + b"x") == (NOBODY, 16 + len(body))


@pytest.mark.parametrize("command", [0x01, 0x11, 0x22, 0x2F, 0x31, 0x00, 0xFF])
def test_an_unknown_version_or_command_is_refused_at_its_byte(command: int) -> None:
    header = v2_header(command=command)
    assert read_header(header[:12]) is None
    with pytest.raises(ProxyHeaderError, match="version or command"):
        read_header(header[:13])


@pytest.mark.parametrize("family", [0x13, 0x1F, 0x41, 0x40, 0xF1, 0x03])
def test_an_unknown_family_or_protocol_is_refused_at_its_byte(family: int) -> None:
    header = v2_header(family=family)
    assert read_header(header[:13]) is None
    with pytest.raises(ProxyHeaderError, match="family or protocol"):
        read_header(header[:14])


@pytest.mark.parametrize("family", [0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32])
def test_a_length_too_short_for_the_family_is_refused_with_it(family: int) -> None:
    header = v2_header(family=family, length=len(ADDRESSES[family & 0xF0]) - 1)
    assert read_header(header[:15]) is None
    with pytest.raises(ProxyHeaderError, match="too short"):
        read_header(header[:16])


@pytest.mark.parametrize("at", range(len(SIGNATURE)))
def test_the_first_wrong_byte_of_the_signature_is_enough(at: int) -> None:
    data = SIGNATURE[:at] + b"!"
    assert read_header(data[:-1]) is None
    with pytest.raises(ProxyHeaderError, match="not a PROXY header"):
        read_header(data)


def test_the_longest_header() -> None:
    header = v2_header(tlvs=tlv(0xE0, b"x" * (65535 - 12 - 3)))
    assert len(header) == 16 + 65535
    assert read_header(header[:-1]) is None
    found = read_header(header + b"x")
    assert found is not None
    assert found[1] == len(header)


def test_a_right_checksum_is_taken_wherever_it_stands() -> None:
    for header in (signed(), signed(b"", tlv(0xE0, b"abc")), signed(tlv(0xE0, b"abc"))):
        assert ends(header) == (SOURCE, DESTINATION)


@pytest.mark.parametrize(
    ("tlvs", "why"),
    [
        (tlv(0x03, b"\1\2\3\4"), "checksum is wrong"),
        (tlv(0x03, b"\1\2\3"), "a checksum has 4 bytes"),
        (tlv(0x03, b"\1\2\3\4\5"), "a checksum has 4 bytes"),
        (tlv(0x03, bytes(4)) * 2, "more than one checksum"),
    ],
)
def test_a_wrong_checksum_is_refused(tlvs: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read_header(v2_header(tlvs=tlvs))


def test_the_checksum_is_written_last() -> None:
    header = encode_v2(SOURCE, DESTINATION, (Tlv(0xE0, b"abc"),))
    assert header == signed(tlv(0xE0, b"abc"))


def test_an_address_of_each_family_is_written_as_ipv6() -> None:
    mixed = encode_v2(SOURCE, InetAddress("2001:db8::2", 443))
    assert ends(mixed) == (InetAddress("::ffff:192.0.2.1", 56324), InetAddress("2001:db8::2", 443))


@pytest.mark.parametrize(
    ("source", "destination"),
    [(None, None), (SOURCE, None), (None, DESTINATION), (SOURCE, UnixAddress(b"/run/a"))],
)
def test_without_two_addresses_only_facts_are_written(
    source: ProxyAddress | None, destination: ProxyAddress | None
) -> None:
    fact = Tlv(0xE0, b"abc")
    header = encode_v2(source, destination, (fact,))
    assert read_header(header) == (ProxyHeader(None, None, (fact,), 2), len(header))


def test_local_is_written_without_anything() -> None:
    assert encode_v2_local() == v2_header(command=0x20, family=0x00, addresses=b"")


@pytest.mark.parametrize(
    ("tlvs", "why"),
    [
        ([Tlv(0xE0, b"x" * 65536)], "at most 65535 bytes, got 65536"),
        ([Tlv(0xE0, b"x" * 32768)] * 2, "at most 65535 bytes of contents, got 65561"),
        ([Tlv(256, b"")], "must be 0 to 255, got 256"),
        ([Tlv(0x03, bytes(4))], "cannot be given"),
    ],
)
def test_what_does_not_fit_is_not_written(tlvs: list[Tlv], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode_v2(SOURCE, DESTINATION, tlvs)


def test_what_just_fits_is_written() -> None:
    header = encode_v2(SOURCE, DESTINATION, [Tlv(0xE0, b"x" * (65535 - 12 - 3 - 7))])
    assert len(header) == 16 + 65535
    assert ends(header) == (SOURCE, DESTINATION)


def test_a_path_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="at most 108 bytes"):
        encode_v2(UnixAddress(b"x" * 109), UnixAddress(b""))


@pytest.mark.parametrize(("count", "eligible"), [(MAX_TLVS, True), (MAX_TLVS + 1, False)])
def test_the_number_of_fields_is_bounded(count: int, eligible: bool) -> None:
    body = bytes(12) + b"\x04\0\0" * count
    data = SIGNATURE + b"\x21\x11" + len(body).to_bytes(2) + body
    if eligible:
        assert read_header(data) is not None
    else:
        with pytest.raises(ProxyHeaderError, match=f"more than {MAX_TLVS} TLVs"):
            read_header(data)
