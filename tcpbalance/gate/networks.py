"""Sets of networks, and whether a client belongs to one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from attrs import frozen

Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses in the form of IPv6: RFC 4291, section 2.5.5.2."""


@frozen
class _Ranges:
    """Ranges of addresses as numbers, in order and apart from each other."""

    starts: Sequence[int]
    ends: Sequence[int]

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self.starts, number) - 1
        return index >= 0 and number <= self.ends[index]


class NetworkSet:
    """Tells whether an address lies in one of many networks, in logarithmic time.

    :param networks: of either family; IPv4 ones in the form of IPv6 are taken as IPv4.
    """

    __slots__ = ("_ranges",)

    def __init__(self, networks: Iterable[Network]) -> None:
        plain = [_unmapped(network) for network in networks]
        self._ranges = {
            4: _ranges(collapse_addresses(network for network in plain if isinstance(network, IPv4Network))),
            16: _ranges(collapse_addresses(network for network in plain if isinstance(network, IPv6Network))),
        }

    def __contains__(self, packed: bytes | None) -> bool:
        """Whether it has the address.

        :param packed: 4 or 16 bytes, as ``pool.client.packed`` gives them; None, for what is no IP address,
            is in no set.
        """
        return packed is not None and int.from_bytes(packed) in self._ranges[len(packed)]


def _ranges(networks: Iterable[Network]) -> _Ranges:
    apart = sorted((int(network.network_address), int(network.broadcast_address)) for network in networks)
    return _Ranges([start for start, _ in apart], [end for _, end in apart])


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    address = network.network_address.ipv4_mapped
    assert address is not None
    return IPv4Network((address, network.prefixlen - 96))
