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
    ],
)
def test_what_is_cut_off_is_refused(tlvs: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read_header(v2_header(tlvs=tlvs))


NOT_UTF8, NOT_ASCII = b"J\xfcrgen", "ü".encode()


@pytest.mark.parametrize(
    ("fact", "tlvs"),
    [
        ("authority", tlv(0x02, NOT_UTF8)),
        ("authority", tlv(0x02, NOT_UTF8) + tlv(0x02, b"one.example")),
        ("unique_id", tlv(0x05, bytes(129))),
        ("netns", tlv(0x30, NOT_ASCII)),
        ("ssl", tlv(0x20, b"")),
        ("ssl", tlv(0x20, bytes(4))),
        ("ssl", tlv(0x20, bytes(5) + b"\x21\x00")),
        ("ssl", tlv(0x20, bytes(5) + tlv(0x22, b"alice") + tlv(0x21, b"TLSv1.3", length=8))),
    ],
)
def test_a_fact_that_cannot_be_decoded_is_none_and_its_bytes_are_kept(fact: str, tlvs: bytes) -> None:
    header = header_with(tlv(0xE0, b"before"), tlvs, tlv(0x01, b"h2"))
    assert getattr(header, fact) is None
    assert header.alpn == b"h2"
    assert b"".join(tlv(field.type, field.value) for field in header.tlvs[1:-1]) == tlvs


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (0x22, "common_name", NOT_UTF8),
        (0x21, "version", NOT_ASCII),
        (0x23, "cipher", NOT_ASCII),
        (0x24, "signature_algorithm", NOT_ASCII),
        (0x25, "key_algorithm", NOT_ASCII),
        (0x26, "group", NOT_ASCII),
        (0x27, "signature_scheme", NOT_ASCII),
    ],
)
def test_a_text_of_tls_in_another_encoding_is_none_and_the_others_stay(
    kind: int, name: str, value: bytes
) -> None:
    facts = facts_of(b"\x07\0\0\0\0" + tlv(kind, value) + tlv(0x28, b"0\x82"))
    assert facts == SslFacts(
        client_ssl=True, cert_conn=True, cert_session=True, verify=0, client_certificate=b"0\x82"
    )
    assert getattr(facts, name) is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (SslFacts(cipher="ü"), "cipher must be US-ASCII"),
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
