"""Maglev's lookup table: consistent hashing that spreads evenly and is read in one step."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from heapq import heapify, heapreplace
from itertools import cycle, islice
from typing import TypeAlias
from weakref import WeakValueDictionary

from tcpbalance.pool.backend import Backend

SIZE = 65537
"""Entries: the smaller size in the paper. It has to be a prime; and as long as each backend has a hundred
entries, here up to 655 backends, shares differ by at most 1 %."""

_SEED = b"tcpbalance maglev"  # never change it: it decides which client goes where
_PIECE = 128  # entries that are filled before others may go on
_STRIDE = 1 << 32  # many times the greatest weight, so that rounding does not show


Shares: TypeAlias = tuple[tuple[str, int], ...]

_known: WeakValueDictionary[Shares, array[int]] = WeakValueDictionary()


def table_of(backends: Sequence[Backend], rest: Callable[[], object] = lambda: None) -> array[int]:
    """Give the table of some backends, which is made once for as long as something uses it.

    So the one of a list that is about to be used can be made in a thread, and the one of a list that has not
    changed is not made again.

    :param backends: see `build`.
    :param rest: see `build`.
    """
    shares = tuple((backend.name, backend.weight) for backend in backends)
    table = _known.get(shares)
    if table is None:
        table = _known[shares] = build(backends, rest)
    return table


def build(backends: Sequence[Backend], rest: Callable[[], object] = lambda: None) -> array[int]:
    """Fill a table with indices of backends.

    Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016, section 3.4.
    Each backend wants the entries in an order of its own, which its name alone decides, and takes the first
    that is still free when its turn comes. Turns are in proportion to the weights.

    :param backends: at least one; sorted, because those that want one entry get it in this order.
    :param rest: called often meanwhile.
    """
    table = array("i", [-1]) * SIZE
    wanted, skips = _permutations(backends)
    turns = _turns([backend.weight for backend in backends])
    for taken in range(0, SIZE, _PIECE):
        rest()
        for index in islice(turns, min(_PIECE, SIZE - taken)):
            entry, skip = wanted[index], skips[index]
            while table[entry] >= 0:
                entry = (entry + skip) % SIZE
            table[entry] = index
            wanted[index] = entry
    return table


def _permutations(backends: Sequence[Backend]) -> tuple[list[int], list[int]]:
    digests = [blake2b(backend.name.encode(), digest_size=16, key=_SEED).digest() for backend in backends]
    offsets = [int.from_bytes(digest[:8]) % SIZE for digest in digests]
    skips = [int.from_bytes(digest[8:]) % (SIZE - 1) + 1 for digest in digests]
    return offsets, skips


def _turns(weights: Sequence[int]) -> Iterator[int]:
    """Yield indices without end, each as often as its weight says, and each once before any comes again."""
    if len(set(weights)) == 1:
        yield from cycle(range(len(weights)))
    strides = [_STRIDE // weight for weight in weights]
    due = [(0, index) for index in range(len(weights))]
    heapify(due)
    while True:
        time, index = due[0]
        yield index
        heapreplace(due, (time + strides[index], index))
