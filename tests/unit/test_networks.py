"""Sets of networks: the same answer as asking each network in turn."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.admission.networks import NetworkSet

FOUR = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
SIX = st.builds(
    lambda number, prefix: IPv6Network((number, prefix), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)


@given(st.lists(FOUR, max_size=8), st.lists(SIX, max_size=8), st.data())
def test_an_address_is_in_the_set_when_a_network_has_it(
    four: list[IPv4Network], six: list[IPv6Network], data: st.DataObject
) -> None:
    networks = NetworkSet([*four, *six])
    edges = [edge for network in four for edge in (network[0], network[-1])]
    near = data.draw(st.sampled_from(edges)) if edges else IPv4Address(0)
    for number in {0, int(near), max(0, int(near) - 1), min(2**32 - 1, int(near) + 1)}:
        address = IPv4Address(number)
        assert (address.packed in networks) == any(address in network for network in four)
    sixes = [IPv6Address(0), *(network[-1] for network in six)]
    for other in sixes:
        assert (other.packed in networks) == any(other in network for network in six)


@pytest.mark.parametrize(
    ("network", "address", "there"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("192.0.2.7/32", "192.0.2.7", True),
        ("192.0.2.7/32", "192.0.2.6", False),
        ("::ffff:10.0.0.0/104", "10.9.9.9", True),
        ("::ffff:10.0.0.0/104", "11.9.9.9", False),
        ("0.0.0.0/0", "203.0.113.1", True),
    ],
)
def test_ipv4(network: str, address: str, there: bool) -> None:
    assert (IPv4Address(address).packed in NetworkSet([ip_network(network)])) is there


def test_an_empty_set_has_nobody() -> None:
    networks = NetworkSet([])
    assert IPv4Address("10.0.0.1").packed not in networks
    assert IPv6Address("::1").packed not in networks


def test_the_families_do_not_meet() -> None:
    assert IPv6Address("::a00:1").packed not in NetworkSet([ip_network("0.0.0.0/0")])


def test_an_empty_set_is_false() -> None:
    assert not NetworkSet()
    assert NetworkSet([ip_network("10.0.0.0/8")])
    assert NetworkSet([ip_network("2001:db8::/32")])


def test_networks_that_touch_lie_in_each_other_or_come_twice() -> None:
    networks = NetworkSet(
        ip_network(network)
        for network in ("10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/24", "10.0.3.0/24")
    )
    there = ("10.0.0.0", "10.0.0.255", "10.0.1.0", "10.0.1.255", "10.0.3.0", "10.0.3.255")
    assert all(IPv4Address(address).packed in networks for address in there)
    not_there = ("9.255.255.255", "10.0.2.0", "10.0.2.255", "10.0.4.0")
    assert not any(IPv4Address(address).packed in networks for address in not_there)


def test_many_networks_are_ready_soon() -> None:
    started = time.process_time()
    networks = NetworkSet(IPv4Network((number << 12, 24)) for number in range(100_000))
    assert time.process_time() - started < 5  # a fifth of a second, and more on a busy machine
    assert IPv4Address(99_999 << 12).packed in networks
    assert IPv4Address((99_999 << 12) + 256).packed not in networks
