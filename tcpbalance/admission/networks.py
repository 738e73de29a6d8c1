"""Sets of networks, and whether a client belongs to one."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from heapq import merge
from typing import TypeAlias, TypeVar

from tcpbalance.config.addresses import IpNetwork
from tcpbalance.wire.proxy_header import MAPPED

Span: TypeAlias = tuple[int, int, int]
"""A network as numbers: the bytes of its addresses, 4 or 16, its first address, and its last."""

# Bound once: it is on the way of each connection.
_number = int.from_bytes

_FIRST_MAPPED = int.from_bytes(MAPPED) << 32
"""The first of the IPv4 addresses in the form of IPv6."""

PIECE = 256
"""Networks that are dealt with between two pauses: less than a millisecond's work."""


def no_rest() -> None:
    """Go on at once."""


class NetworkSet:
    """Finds whether an address lies in one of many networks, in logarithmic time.

    :param networks: of either family; IPv4 ones in the form of IPv6 are taken as IPv4.
    """

    __slots__ = ("_four", "_six")

    def __init__(self, networks: Iterable[IpNetwork] = ()) -> None:
        self._fill(map(span, networks))

    @classmethod
    def of_spans(cls, spans: Iterable[Span], rest: Callable[[], object] = no_rest) -> NetworkSet:
        """Make a set without an object for each network: of many, those cost more than the set itself.

        :param rest: called after each ``PIECE`` of the work, in which the interpreter's lock is held.
        """
        made = cls()
        made._fill(spans, rest)
        return made

    def __bool__(self) -> bool:
        """Whether there is any network in it."""
        return bool(self._four or self._six)

    def __contains__(self, packed: bytes | None) -> bool:
        """Whether it has the address.

        :param packed: 4 or 16 bytes, as ``net.addresses.packed`` gives them; None, for what is no IP address,
            is in no set.
        """
        if packed is None:
            return False
        edges: Sequence[int] = self._four if len(packed) == 4 else self._six
        # Every other edge is where networks begin, so behind an odd number of edges is inside.
        return bisect_right(edges, _number(packed)) % 2 == 1

    def _fill(self, spans: Iterable[Span], rest: Callable[[], object] = no_rest) -> None:
        four, six = _Ranges(), _Ranges()
        for size, first, last in spans:
            if size == 4:
                four.add(first, last)
            elif first >> 32 == last >> 32 == _FIRST_MAPPED >> 32:
                four.add(first - _FIRST_MAPPED, last - _FIRST_MAPPED)
            else:
                six.add(first, last)
        # Close together in memory, where fewer of the steps of a search have to wait for it.
        self._four = _add_edges(four.in_order(), array("Q"), rest)
        self._six: list[int] = _add_edges(six.in_order(), [], rest)


class _Ranges:
    """Ranges of addresses, sorted in pieces: to sort many in one call takes a third of a second."""

    def __init__(self) -> None:
        self._pieces: list[list[tuple[int, int]]] = []
        self._last: list[tuple[int, int]] = []

    def add(self, first: int, last: int) -> None:
        self._last.append((first, last))
        if len(self._last) == PIECE:
            self._end_piece()

    def in_order(self) -> Iterator[tuple[int, int]]:
        self._end_piece()
        return merge(*self._pieces)

    def _end_piece(self) -> None:
        self._last.sort()
        self._pieces.append(self._last)
        self._last = []


def span(network: IpNetwork) -> Span:
    """Give a network as numbers."""
    bits = network.max_prefixlen
    first = int(network.network_address)
    return bits // 8, first, first | (1 << bits - network.prefixlen) - 1


Edges = TypeVar("Edges", bound=MutableSequence[int])


def _add_edges(ranges: Iterable[tuple[int, int]], edges: Edges, rest: Callable[[], object]) -> Edges:
    """Give the edges of ranges, in order: where one begins, and behind where it ends, and so on.

    Ranges that touch or overlap become one.

    :param ranges: in order.
    :param edges: empty, filled with them.
    """
    end = -1
    for count, (first, last) in enumerate(ranges, start=1):
        if first > end:
            edges.append(first)
            edges.append(last + 1)
            end = last + 1
        elif last >= end:
            edges[-1] = end = last + 1
        if count % PIECE == 0:
            rest()
    return edges
