"""Random: by chance, each backend with the share of its weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.policies.draw import WeightedDraw


class WeightedRandom:
    """Weighted chance without putting back."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._draw = WeightedDraw(backends, tools.rng)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield one by chance, then the others by chance."""
        first = self._draw.one()
        yield first
        yield from self._draw.rest((first,))
