"""Smooth weighted turns: the arithmetic that round robin, and the ties of least connections, are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import add

from tcpbalance.pool.backend import Backend


class SmoothTurns:
    """Gives backends their turns in proportion to their weights, spread evenly instead of in runs.

    The rule is that of nginx's upstream module: every backend gains its weight, the one that has most is
    picked and pays the sum of all weights. Over a cycle of that sum each is picked exactly as often as its
    weight says. A pick only adds and subtracts, so it can be taken back although others were made since.

    :param backends: at least one; callers speak of them by index.
    :param first_turn: the part of a round, of a turn for each backend, that is passed over; from 0 up to 1.
    """

    __slots__ = ("_backends", "_current", "_total", "_weights")

    def __init__(self, backends: Sequence[Backend], first_turn: float = 0.0) -> None:
        self._backends = backends
        self._weights = [backend.weight for backend in backends]
        self._total = sum(self._weights)
        self._current = [0] * len(backends)
        for _ in range(int(first_turn * len(backends))):
            self.first()

    def among(self, members: Sequence[int]) -> Iterator[Backend]:
        """Yield the member whose turn it is; each time that one is passed over, the next.

        One passed over keeps its turn and counts for nothing: the picks of the others stay in proportion, and
        when it can serve again it has not saved up turns meanwhile.

        :param members: indices of those that take part, each once.
        """
        total = self._gain(members)
        pick = max(members, key=self._current.__getitem__)
        self._current[pick] -= total
        yield self._backends[pick]
        yield from self._following(members, pick, total)

    def copy(self) -> SmoothTurns:
        """Give turns that go on from here, apart from these."""
        made = SmoothTurns.__new__(SmoothTurns)
        made._backends, made._weights, made._total = self._backends, self._weights, self._total
        made._current = list(self._current)
        return made

    def first(self) -> Backend:
        """Give the backend whose turn it is among all."""
        current = self._current
        current[:] = map(add, current, self._weights)
        pick = current.index(max(current))
        current[pick] -= self._total
        return self._backends[pick]

    def others(self, first: Backend) -> Iterator[Backend]:
        """Yield the others in their turn, once what `first` has given was passed over."""
        members = range(len(self._backends))
        return self._following(members, self._backends.index(first), self._total)

    def _following(self, members: Sequence[int], pick: int, total: int) -> Iterator[Backend]:
        current, weights = self._current, self._weights
        # The others are left as they gained, so their order is that of the turns still to come.
        waiting = [index for index in members if index != pick]
        waiting.sort(key=current.__getitem__, reverse=True)
        for following in waiting:
            weight = weights[pick]
            current[pick] += total - weight
            total -= weight
            pick = following
            current[pick] -= total
            yield self._backends[pick]

    def _gain(self, members: Sequence[int]) -> int:
        """Give each member its weight; return the sum."""
        current, weights = self._current, self._weights
        if len(members) == len(weights):  # all of them, the usual case: without a loop of ours
            current[:] = map(add, current, weights)
            return self._total
        for index in members:
            current[index] += weights[index]
        return sum(weights[index] for index in members)
