"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.admission.public_addresses import is_public
from tcpbalance.net.addresses import packed


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.0.0.1", "192.31.196.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"]
)
def test_these_are_public(address: str) -> None:
    assert is_public(packed(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.255.255.255",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_these_are_not(address: str) -> None:
    assert not is_public(packed(address))


def test_what_has_no_address_is_not() -> None:
    assert not is_public(None)


ADDRESSES = st.one_of(
    st.ip_addresses(), st.builds(lambda low: IPv6Address((0xFFFF << 32) | low), st.integers(0, 2**32 - 1))
)


@given(ADDRESSES)
def test_none_is_that_the_standard_library_knows_not_to_be(address: IPv4Address | IPv6Address) -> None:
    meant = getattr(address, "ipv4_mapped", None) or address
    if is_public(packed(str(address))):
        assert ip_address(meant).is_global
        assert not meant.is_multicast
