"""Another implementation, the package ``proxy-protocol``, reads what we write, and we read what it writes."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol import ProxyProtocolChecksumError
from proxyprotocol.result import (
    ProxyResult,
    ProxyResultIPv4,
    ProxyResultIPv6,
    ProxyResultLocal,
    ProxyResultUnix,
    is_ipv4,
    is_ipv6,
    is_unix,
)
from proxyprotocol.tlv import ProxyProtocolSSLTLV, ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from support.proxy_headers import DESTINATION, IPV4, IPV6, PORTS, SOURCE
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    ProxyAddress,
    ProxyHeader,
    SslFacts,
    Tlv,
    UnixAddress,
    encode_v1,
    encode_v2,
    encode_v2_local,
    read_header,
    ssl_tlv,
)

INET_PAIRS = st.tuples(IPV4, IPV4) | st.tuples(IPV6, IPV6)
# The oracle takes paths for ASCII.
UNIX = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=108)
UNIX_PAIRS = st.tuples(UNIX, UNIX)
V4_RESULTS = st.builds(
    lambda *ends: (ends[0:2], ends[2:4]), st.ip_addresses(v=4), PORTS, st.ip_addresses(v=4), PORTS
)
V6_RESULTS = st.builds(
    lambda *ends: (ends[0:2], ends[2:4]), st.ip_addresses(v=6), PORTS, st.ip_addresses(v=6), PORTS
)


def as_theirs(address: ProxyAddress | None) -> tuple[IPv4Address | IPv6Address, int]:
    assert isinstance(address, InetAddress)
    return ip_address(address.host), address.port


def read(data: bytes) -> ProxyHeader:
    found = read_header(data)
    assert found is not None
    assert found[1] == len(data)
    return found[0]


def unsigned(header: bytes) -> bytes:
    """Take the checksum away, which the oracle works out as if TLVs were always in the order of types."""
    return header[:14] + (len(header) - 16 - 7).to_bytes(2, "big") + header[16:-7]


@given(INET_PAIRS)
def test_it_reads_our_version_1(pair: tuple[InetAddress, InetAddress]) -> None:
    result = ProxyProtocolV1().unpack(encode_v1(*pair))
    assert is_ipv4(result) or is_ipv6(result)
    assert (result.source, result.dest) == tuple(map(as_theirs, pair))


@given(INET_PAIRS)
def test_it_reads_our_version_2(pair: tuple[InetAddress, InetAddress]) -> None:
    result = ProxyProtocolV2().unpack(encode_v2(*pair))
    assert is_ipv4(result) or is_ipv6(result)
    assert (result.source, result.dest) == tuple(map(as_theirs, pair))


@given(UNIX_PAIRS)
def test_it_reads_our_paths(pair: tuple[str, str]) -> None:
    source, destination = (UnixAddress(path.encode()) for path in pair)
    result = ProxyProtocolV2().unpack(encode_v2(source, destination))
    assert is_unix(result)
    assert (result.source, result.dest) == pair


def test_it_checks_our_checksum() -> None:
    header = encode_v2(SOURCE, DESTINATION, (Tlv(0x01, b"h2"), Tlv(0x02, b"a.example")))
    assert ProxyProtocolV2().unpack(header).tlv.authority == "a.example"
    with pytest.raises(ProxyProtocolChecksumError):
        ProxyProtocolV2().unpack(header[:-1] + bytes((header[-1] ^ 1,)))


def test_it_reads_our_facts() -> None:
    facts = SslFacts(
        client_ssl=True,
        cert_conn=True,
        verify=0,
        version="TLSv1.3",
        common_name="Jürgen",
        cipher="TLS_AES_128_GCM_SHA256",
        signature_algorithm="RSA-SHA256",
        key_algorithm="RSA2048",
    )
    tlvs = (Tlv(0x01, b"h2"), Tlv(0x02, "bücher.example".encode()), Tlv(0x05, b"id"), Tlv(0x30, b"blue"))
    result = ProxyProtocolV2().unpack(unsigned(encode_v2(SOURCE, DESTINATION, (*tlvs, ssl_tlv(facts)))))
    theirs, ssl = result.tlv, result.tlv.ssl
    assert (theirs.alpn, theirs.authority, theirs.unique_id, theirs.netns) == (
        b"h2",
        "bücher.example",
        b"id",
        "blue",
    )
    assert (ssl.has_ssl, ssl.has_cert_conn, ssl.has_cert_sess, ssl.verified) == (True, True, False, True)
    assert (ssl.version, ssl.cn, ssl.cipher) == ("TLSv1.3", "Jürgen", "TLS_AES_128_GCM_SHA256")
    assert (ssl.sig_alg, ssl.key_alg) == ("RSA-SHA256", "RSA2048")


def test_it_reads_our_local() -> None:
    assert not ProxyProtocolV2().unpack(encode_v2_local()).proxied


@pytest.mark.parametrize("form", [ProxyProtocolV1(), ProxyProtocolV2()], ids=["v1", "v2"])
@given(st.data())
def test_we_read_what_it_writes(form: ProxyProtocolV1 | ProxyProtocolV2, data: st.DataObject) -> None:
    result: ProxyResultIPv4 | ProxyResultIPv6
    if data.draw(st.booleans()):
        result = ProxyResultIPv4(*data.draw(V4_RESULTS), protocol=socket.SOCK_STREAM)
    else:
        result = ProxyResultIPv6(*data.draw(V6_RESULTS), protocol=socket.SOCK_STREAM)
    header = read(form.pack(result))
    assert (as_theirs(header.source), as_theirs(header.destination)) == (result.source, result.dest)


@given(UNIX_PAIRS)
def test_we_read_its_paths(pair: tuple[str, str]) -> None:
    header = read(ProxyProtocolV2().pack(ProxyResultUnix(*pair, protocol=socket.SOCK_STREAM)))
    assert (header.source, header.destination) == tuple(UnixAddress(path.encode()) for path in pair)


def test_we_read_its_facts() -> None:
    ssl = ProxyProtocolSSLTLV(
        has_ssl=True, has_cert_sess=True, verified=False, version="TLSv1.2", cn="Jürgen"
    )
    tlv = ProxyProtocolTLV(alpn=b"h2", authority="bücher.example", unique_id=b"id", netns="blue", ssl=ssl)
    end = IPv4Address("192.0.2.1"), 1
    result: ProxyResult = ProxyResultIPv4(end, end, protocol=socket.SOCK_STREAM, tlv=tlv)
    header = read(ProxyProtocolV2().pack(result))
    assert (header.alpn, header.authority, header.unique_id, header.netns) == (
        b"h2",
        "bücher.example",
        b"id",
        "blue",
    )
    assert header.ssl == SslFacts(
        client_ssl=True, cert_session=True, verify=1, version="TLSv1.2", common_name="Jürgen"
    )


def test_we_read_its_local() -> None:
    assert read(ProxyProtocolV2().pack(ProxyResultLocal())).source is None
