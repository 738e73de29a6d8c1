"""Drawing backends at random, each with the share of its weight."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from random import Random

from tcpbalance.pool.backend import Backend


class WeightedDraw:
    """An urn in which each backend has as many lots as its weight.

    :param backends: at least one.
    :param rng: the source of randomness.
    """

    __slots__ = ("_backends", "_ends", "_total", "_uniform")

    def __init__(self, backends: Sequence[Backend], rng: Random) -> None:
        self._backends = backends
        self._uniform = rng.random
        self._ends = list(accumulate(backend.weight for backend in backends))
        self._total = self._ends[-1]

    def one(self) -> Backend:
        """Draw one."""
        return self._backends[self._index(int(self._uniform() * self._total))]

    def pair(self) -> list[Backend]:
        """Draw two different ones; the only one when there is no other."""
        first = self._index(int(self._uniform() * self._total))
        backend = self._backends[first]
        others = self._total - backend.weight
        if not others:
            return [backend]
        lot = int(self._uniform() * others)
        if lot >= self._ends[first] - backend.weight:  # the lots of the first one are out of the urn
            lot += backend.weight
        return [backend, self._backends[self._index(lot)]]

    def others(self, drawn: Iterable[Backend]) -> Iterator[Backend]:
        """Draw all the others, one after the other.

        By sorting on ``u ** (1 / weight)``: Efraimidis and Spirakis, "Weighted random sampling with a
        reservoir", Information Processing Letters 97 (2006), algorithm A.

        :param drawn: those that are out of the urn already.
        """
        out = set(drawn)
        lots = [
            (self._uniform() ** (1.0 / backend.weight), index)
            for index, backend in enumerate(self._backends)
            if backend not in out
        ]
        lots.sort(reverse=True)
        for _, index in lots:
            yield self._backends[index]

    def _index(self, lot: int) -> int:
        return bisect_right(self._ends, lot)


def likeliest_first(backends: Iterable[Backend], cost: Callable[[Backend], float]) -> Sequence[Backend]:
    """Give backends with the cheaper ones first, and of those that cost the same, the heavier ones."""
    return sorted(backends, key=lambda backend: (cost(backend), -backend.weight))


def cheaper_of_two(draw: WeightedDraw, cost: Callable[[Backend], float]) -> Iterator[Backend]:
    """Yield the cheaper of two drawn, then the other, then the others at random.

    :param cost: compared now, when the two are drawn.
    """
    pair = draw.pair()
    if len(pair) == 2 and cost(pair[1]) < cost(pair[0]):
        pair.reverse()
    yield from pair
    yield from draw.others(pair)
