"""Random: each backend with the share of its weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.policies.draw import WeightedDraw


class WeightedRandom:
    """Weighted draws without putting back."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._draw = WeightedDraw(backends, tools.rng)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield one at random, then the others at random."""
        first = self._draw.one()
        yield first
        yield from self._draw.others((first,))
