"""Which part of an address makes a client."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.pool.client import masked


@given(st.ip_addresses(), st.integers(0, 32), st.integers(0, 128))
def test_masking_keeps_the_network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, ipv4_prefix: int, ipv6_prefix: int
) -> None:
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    network = ipaddress.ip_network((address, prefix), strict=False)
    assert masked(address.packed, ipv4_prefix, ipv6_prefix) == network.network_address.packed
