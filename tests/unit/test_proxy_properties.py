"""What holds for every PROXY header, and for bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.proxy_headers import (
    IPV4,
    IPV6,
    PAIRS,
    SIGNATURE,
    SSL_FACTS,
    TLVS,
    same_form,
    tlv,
    v1_line,
    v2_header,
)
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    ProxyAddress,
    ProxyHeader,
    ProxyHeaderError,
    SslFacts,
    Tlv,
    encode_v1,
    encode_v2,
    read_header,
    ssl_tlv,
)

V1 = st.tuples(IPV4, IPV4) | st.tuples(IPV6, IPV6) | st.tuples(IPV4, IPV6)
V1_HEADERS = V1.map(lambda pair: encode_v1(*pair))
V2_HEADERS = st.builds(lambda pair, tlvs: encode_v2(pair[0], pair[1], tlvs), PAIRS, TLVS)
HEADERS = V1_HEADERS | V2_HEADERS

# Bytes that get past the first checks, so that the later ones are reached.
NEARLY = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=120).map(lambda rest: b"PROXY TCP4 " + rest + b"\r\n"),
    st.builds(v1_line, source=st.binary(max_size=20), source_port=st.binary(max_size=6)),
    st.binary(max_size=300).map(lambda rest: SIGNATURE + rest),
    st.builds(
        v2_header,
        command=st.sampled_from([0x20, 0x21]),
        family=st.sampled_from([0x00, 0x11, 0x21, 0x31]),
        tlvs=st.binary(max_size=300),
    ),
    st.builds(tlv, st.sampled_from([1, 2, 3, 5, 0x20, 0x30]), st.binary(max_size=20)).map(
        lambda written: v2_header(tlvs=written)
    ),
)


def plain(address: ProxyAddress | None) -> ProxyAddress | None:
    return same_form(address) if isinstance(address, InetAddress) else address


@given(NEARLY)
def test_no_bytes_raise_any_other_error_or_take_more_than_there_are(data: bytes) -> None:
    try:
        found = read_header(data)
    except ProxyHeaderError:
        return
    if found is None:
        assert len(data) < 16 + 65535
        return
    header, size = found
    assert size <= len(data)
    assert size <= (107 if header.version == 1 else 16 + 65535)
    # Each fact can be asked for, and is of its kind or None.
    assert header.alpn is None or isinstance(header.alpn, bytes)
    assert header.authority is None or isinstance(header.authority, str)
    assert header.unique_id is None or len(header.unique_id) <= 128
    assert header.netns is None or header.netns.isascii()
    assert header.ssl is None or isinstance(header.ssl, SslFacts)


@given(NEARLY, st.binary(max_size=20))
def test_what_is_refused_stays_refused_and_what_is_read_stays_read(data: bytes, more: bytes) -> None:
    try:
        found = read_header(data)
    except ProxyHeaderError:
        with pytest.raises(ProxyHeaderError):
            read_header(data + more)
        return
    if found is not None:
        assert read_header(data + more) == found


@given(HEADERS, st.binary(max_size=20))
def test_a_header_is_read_at_its_last_byte_and_no_other(header: bytes, more: bytes) -> None:
    for size in range(len(header)):
        assert read_header(header[:size]) is None
    found = read_header(header)
    assert found is not None
    assert found[1] == len(header)
    assert read_header(header + more) == found


@given(st.tuples(IPV4, IPV4) | st.tuples(IPV6, IPV6))
def test_version_1_reads_what_it_wrote(pair: tuple[InetAddress, InetAddress]) -> None:
    found = read_header(encode_v1(*pair))
    assert found is not None
    assert (plain(found[0].source), plain(found[0].destination)) == pair


@given(PAIRS, TLVS)
def test_version_2_reads_what_it_wrote(
    pair: tuple[ProxyAddress | None, ProxyAddress | None], tlvs: tuple[Tlv, ...]
) -> None:
    found = read_header(encode_v2(*pair, tlvs))
    assert found is not None
    assert (plain(found[0].source), plain(found[0].destination)) == pair
    assert (found[0].tlvs, found[0].version) == (tlvs, 2)


@given(SSL_FACTS)
def test_the_facts_of_tls_are_read_as_written(facts: SslFacts) -> None:
    assert ProxyHeader(None, None, (ssl_tlv(facts),), 2).ssl == facts


@given(st.sampled_from([0x01, 0x02, 0x05, 0x20, 0x30, 0x77, 0xE0]), st.binary(max_size=300))
def test_a_field_of_any_bytes_spoils_no_header_and_is_written_as_it_was_read(kind: int, value: bytes) -> None:
    found = read_header(v2_header(tlvs=tlv(kind, value)))
    assert found is not None
    assert found[0].tlvs == (Tlv(kind, value),)
    again = read_header(encode_v2(found[0].source, found[0].destination, found[0].tlvs))
    assert again is not None
    assert again[0] == found[0]


@given(st.sampled_from([*range(0x21, 0x29)]), st.binary(max_size=100))
def test_a_field_of_tls_of_any_bytes_hides_no_other(kind: int, value: bytes) -> None:
    other = 0x21 if kind != 0x21 else 0x23
    ssl = b"\x01\0\0\0\0" + tlv(kind, value) + tlv(other, b"text")
    facts = ProxyHeader(None, None, (Tlv(0x20, ssl),), 2).ssl
    assert facts is not None
    assert (facts.version if other == 0x21 else facts.cipher) == "text"


@given(V1)
def test_both_versions_say_the_same(pair: tuple[InetAddress, InetAddress]) -> None:
    one, two = read_header(encode_v1(*pair)), read_header(encode_v2(*pair))
    assert one is not None
    assert two is not None
    assert (one[0].source, one[0].destination) == (two[0].source, two[0].destination)


def hides_the_checksum(header: bytes, tlvs: tuple[Tlv, ...], at: int) -> bool:
    """Tell whether a byte says where the checksum is, or that the header is to be ignored.

    A flip there may leave a valid header that has no checksum, which no reader can tell from one that never
    had any.
    """
    places = {12, 14, 15, len(header) - 7, len(header) - 6, len(header) - 5}
    start = len(header) - 7 - sum(3 + len(each.value) for each in tlvs)
    for each in tlvs:
        places |= {start + 1, start + 2}
        start += 3 + len(each.value)
    return at in places


@given(st.data(), PAIRS, TLVS)
def test_no_flipped_bit_changes_a_fact_unnoticed(
    data: st.DataObject, pair: tuple[ProxyAddress | None, ProxyAddress | None], tlvs: tuple[Tlv, ...]
) -> None:
    header = encode_v2(*pair, tlvs)
    exposed = [at for at in range(len(header)) if not hides_the_checksum(header, tlvs, at)]
    at = data.draw(st.sampled_from(exposed))
    flipped = bytearray(header)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProxyHeaderError):
        # More bytes than any header takes, so that none can be waited for.
        read_header(bytes(flipped) + bytes(70_000))
