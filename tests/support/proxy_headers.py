"""PROXY headers: a valid one of each version for tests to spoil in a place, and strategies for others."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from tcpbalance.wire.proxy_protocol import InetAddress, SslFacts, Tlv, UnixAddress, ssl_tlv

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
INET_ADDRESSES = (
    bytes((192, 0, 2, 1, 198, 51, 100, 2)) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
)
SOURCE = InetAddress("192.0.2.1", 56324)
DESTINATION = InetAddress("198.51.100.2", 443)


def v1_line(
    start: bytes = b"PROXY",
    family: bytes = b"TCP4",
    source: bytes = b"192.0.2.1",
    destination: bytes = b"198.51.100.2",
    source_port: bytes = b"56324",
    destination_port: bytes = b"443",
    end: bytes = b"\r\n",
) -> bytes:
    """Write a line from `SOURCE` to `DESTINATION`, or one that differs in a place."""
    return b" ".join((start, family, source, destination, source_port, destination_port)) + end


def v2_header(
    signature: bytes = SIGNATURE,
    command: int = 0x21,
    family: int = 0x11,
    length: int | None = None,
    addresses: bytes = INET_ADDRESSES,
    tlvs: bytes = b"",
) -> bytes:
    """Write a header from `SOURCE` to `DESTINATION`, or one that differs in a place.

    :param length: bytes; None for what is true.
    """
    body = addresses + tlvs
    told = len(body) if length is None else length
    return signature + bytes((command, family)) + told.to_bytes(2, "big") + body


def tlv(kind: int, value: bytes, length: int | None = None) -> bytes:
    """Write a TLV, with another length where one is given."""
    told = len(value) if length is None else length
    return bytes((kind,)) + told.to_bytes(2, "big") + value


PORTS = st.integers(0, 65535)
IPV4 = st.builds(InetAddress, st.ip_addresses(v=4).map(str), PORTS)
IPV6 = st.builds(InetAddress, st.ip_addresses(v=6).map(str), PORTS)
# Files, then names in the abstract namespace.
PATHS = st.binary(max_size=108).filter(lambda path: b"\0" not in path) | st.binary(max_size=106).map(
    lambda name: b"\0" + name + b"!"
)
UNIX = st.builds(UnixAddress, PATHS)
PAIRS = st.tuples(IPV4, IPV4) | st.tuples(IPV6, IPV6) | st.tuples(UNIX, UNIX) | st.just((None, None))

ASCII = st.none() | st.text(st.characters(codec="ascii"), max_size=20)
SSL_FACTS = st.builds(
    SslFacts,
    client_ssl=st.booleans(),
    cert_conn=st.booleans(),
    cert_session=st.booleans(),
    verify=st.integers(0, 2**32 - 1),
    version=ASCII,
    common_name=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    cipher=ASCII,
    signature_algorithm=ASCII,
    key_algorithm=ASCII,
    group=ASCII,
    signature_scheme=ASCII,
    client_certificate=st.none() | st.binary(max_size=50),
)
CUSTOM = st.builds(Tlv, st.integers(0xE0, 0xFF), st.binary(max_size=50))
TLVS = st.lists(
    CUSTOM
    | SSL_FACTS.map(ssl_tlv)
    | st.builds(Tlv, st.just(0x01), st.binary(max_size=20))
    | st.builds(Tlv, st.just(0x02), st.text(st.characters(codec="utf-8"), max_size=20).map(str.encode))
    | st.builds(Tlv, st.just(0x05), st.binary(max_size=128))
    | st.builds(Tlv, st.just(0x30), st.text(st.characters(codec="ascii"), max_size=20).map(str.encode)),
    max_size=4,
).map(tuple)


def same_form(address: InetAddress) -> InetAddress:
    """Give the address with its host as ``ipaddress`` writes it, which differs between Pythons."""
    return InetAddress(str(ipaddress.ip_address(address.host)), address.port)
