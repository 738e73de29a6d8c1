"""Sets of networks, and whether a client belongs to one."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

Network = IPv4Network | IPv6Network

Span: TypeAlias = tuple[int, int, int]
"""A network as numbers: the bytes of its addresses, 4 or 16, its first address, and its last."""

# Bound once: it is on the way of each connection.
_number = int.from_bytes

_MAPPED = 0xFFFF << 32
"""The first of the IPv4 addresses in the form of IPv6: RFC 4291, section 2.5.5.2."""


class NetworkSet:
    """Tells whether an address lies in one of many networks, in logarithmic time.

    :param networks: of either family; IPv4 ones in the form of IPv6 are taken as IPv4.
    """

    __slots__ = ("_four", "_six")

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._fill(map(span, networks))

    @classmethod
    def of_spans(cls, spans: Iterable[Span]) -> NetworkSet:
        """Make a set without an object for each network: of many, those cost more than the set itself."""
        made = cls()
        made._fill(spans)
        return made

    def __bool__(self) -> bool:
        """Whether there is any network in it."""
        return bool(self._four or self._six)

    def __contains__(self, packed: bytes | None) -> bool:
        """Whether it has the address.

        :param packed: 4 or 16 bytes, as ``pool.client.packed`` gives them; None, for what is no IP address,
            is in no set.
        """
        if packed is None:
            return False
        edges: Sequence[int] = self._four if len(packed) == 4 else self._six
        # Every other edge is where networks begin, so behind an odd number of edges is inside.
        return bisect_right(edges, _number(packed)) % 2 == 1

    def _fill(self, spans: Iterable[Span]) -> None:
        four: list[tuple[int, int]] = []
        six: list[tuple[int, int]] = []
        for size, first, last in spans:
            if size == 4:
                four.append((first, last))
            elif first >> 32 == last >> 32 == _MAPPED >> 32:
                four.append((first - _MAPPED, last - _MAPPED))
            else:
                six.append((first, last))
        # Close together in memory, where fewer of the steps of a search have to wait for it.
        self._four = array("Q", _edges(four))
        self._six = _edges(six)


def span(network: Network) -> Span:
    """Give a network as numbers."""
    bits = network.max_prefixlen
    first = int(network.network_address)
    return bits // 8, first, first | (1 << bits - network.prefixlen) - 1


def _edges(ranges: list[tuple[int, int]]) -> list[int]:
    """Give the edges of ranges, in order: where one begins, and behind where it ends, and so on.

    Ranges that touch or overlap become one.
    """
    ranges.sort()
    edges: list[int] = []
    end = -1
    for first, last in ranges:
        if first > end:
            edges += (first, last + 1)
            end = last + 1
        elif last >= end:
            edges[-1] = end = last + 1
    return edges
