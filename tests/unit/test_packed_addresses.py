"""Addresses of clients as bytes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.net.addresses import packed


@given(st.ip_addresses(v=4))
def test_ipv4_is_four_bytes(address: ipaddress.IPv4Address) -> None:
    assert packed(str(address)) == address.packed


@given(st.ip_addresses(v=6))
def test_ipv6_is_sixteen_bytes_unless_mapped(address: ipaddress.IPv6Address) -> None:
    mapped = address.ipv4_mapped
    assert packed(str(address)) == (address.packed if mapped is None else mapped.packed)


@given(st.ip_addresses(v=4))
def test_one_client_is_the_same_on_an_ipv4_and_an_ipv6_listener(address: ipaddress.IPv4Address) -> None:
    assert packed(f"::ffff:{address}") == packed(str(address))


def test_the_zone_of_a_link_local_client_is_dropped() -> None:
    assert packed("fe80::1%eth0") == packed("fe80::1")


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "/run/app.sock", "1.2.3", "1.2.3.256", ":::", "a\0b", "ä.example", "\uff11.2.3.4"],
)
def test_what_is_no_ip_address_has_no_bytes(host: str) -> None:
    assert packed(host) is None


@given(st.text())
def test_nothing_makes_it_raise(host: str) -> None:
    if packed(host) is not None:
        ipaddress.ip_address(host.partition("%")[0])
