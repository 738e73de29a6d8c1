"""The facts behind the addresses of a PROXY header."""

from __future__ import annotations

import pytest

from support.proxy_headers import tlv, v2_header
from tcpbalance.wire.proxy_protocol import ProxyHeader, ProxyHeaderError, SslFacts, Tlv, read_header, ssl_tlv


def header_with(*tlvs: bytes) -> ProxyHeader:
    found = read_header(v2_header(tlvs=b"".join(tlvs)))
    assert found is not None
    return found[0]


def facts_of(value: bytes) -> SslFacts | None:
    return header_with(tlv(0x20, value)).ssl


def test_nothing_is_none() -> None:
    header = header_with()
    assert (header.alpn, header.authority, header.unique_id, header.ssl, header.netns) == (None,) * 5


def test_each_fact_is_decoded() -> None:
    header = header_with(
        tlv(0x01, b"h2"),
        tlv(0x02, "bücher.example".encode()),
        tlv(0x05, b"\xff" * 128),
        tlv(0x30, b"blue"),
    )
    assert header.alpn == b"h2"
    assert header.authority == "bücher.example"
    assert header.unique_id == b"\xff" * 128
    assert header.netns == "blue"


def test_all_are_kept_as_received_but_padding() -> None:
    header = header_with(tlv(0x04, b"\xff\xff"), tlv(0xE0, b""), tlv(0x04, b""), tlv(0x77, b"\xff"))
    assert header.tlvs == (Tlv(0xE0, b""), Tlv(0x77, b"\xff"))


def test_of_two_the_first_counts() -> None:
    assert header_with(tlv(0x02, b"one.example"), tlv(0x02, b"two.example")).authority == "one.example"


def test_the_facts_of_tls() -> None:
    fields = {0x21: b"TLSv1.3", 0x22: "Jürgen".encode(), 0x23: b"TLS_AES_256_GCM_SHA384", 0x24: b"RSA-SHA256"}
    fields |= {0x25: b"RSA2048", 0x26: b"X25519", 0x27: b"rsa_pss_rsae_sha256", 0x28: b"0\x82", 0x2F: b"\xff"}
    assert facts_of(b"\x05\x00\x00\x00\x00" + b"".join(map(tlv, fields, fields.values()))) == SslFacts(
        client_ssl=True,
        cert_conn=False,
        cert_session=True,
        verify=0,
        version="TLSv1.3",
        common_name="Jürgen",
        cipher="TLS_AES_256_GCM_SHA384",
        signature_algorithm="RSA-SHA256",
        key_algorithm="RSA2048",
        group="X25519",
        signature_scheme="rsa_pss_rsae_sha256",
        client_certificate=b"0\x82",
    )


def test_tls_with_nothing_said_of_it() -> None:
    assert facts_of(b"\x02\x01\x02\x03\x04") == SslFacts(cert_conn=True, verify=0x01020304)


@pytest.mark.parametrize(
    ("tlvs", "why"),
    [
        (b"\xe0", "cut off before its length"),
        (b"\xe0\x00", "cut off before its length"),
        (tlv(0xE0, b"abc", length=4), "0xe0 of 4 bytes is cut off"),
        (tlv(0xE0, b"abc", length=2), "cut off before its length"),
        (tlv(0x02, b"\xff"), "0x02 is not UTF-8"),
        (tlv(0x02, b"one.example") + tlv(0x02, b"\xff"), "0x02 is not UTF-8"),
        (tlv(0x05, bytes(129)), "at most 128 bytes"),
        (tlv(0x30, "ü".encode()), "0x30 is not US-ASCII"),
        (tlv(0x20, b""), "at least 5 bytes, got 0"),
        (tlv(0x20, bytes(4)), "at least 5 bytes, got 4"),
        (tlv(0x20, bytes(5) + b"\x21\x00"), "cut off before its length"),
        (tlv(0x20, bytes(5) + tlv(0x21, b"TLSv1.3", length=8)), "0x21 of 8 bytes is cut off"),
        (tlv(0x20, bytes(5) + tlv(0x22, b"\xff")), "0x22 is not UTF-8"),
        *[
            (tlv(0x20, bytes(5) + tlv(kind, "ü".encode())), f"{kind:#04x} is not US-ASCII")
            for kind in (0x21, 0x23, 0x24, 0x25, 0x26, 0x27)
        ],
    ],
)
def test_a_malformed_fact_is_refused_when_the_header_is_read(tlvs: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read_header(v2_header(tlvs=tlvs))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (SslFacts(cipher="ü"), "0x23 is not US-ASCII"),
        (SslFacts(client_certificate=bytes(65536)), "at most 65535 bytes"),
    ],
)
def test_facts_that_cannot_be_written(facts: SslFacts, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ssl_tlv(facts)


@pytest.mark.parametrize("verify", [-1, 2**32])
def test_an_outcome_beyond_32_bits_is_none(verify: int) -> None:
    with pytest.raises(ValueError, match="verify"):
        SslFacts(verify=verify)
