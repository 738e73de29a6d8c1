"""Random: each backend with the share of its weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.draw import WeightedDraw, likeliest_first


class WeightedRandom:
    """Weighted draws without putting back."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = backends
        self._draw = WeightedDraw(backends, tools.rng)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield one at random, then the others at random."""
        first = self._draw.one()
        yield first
        yield from self._draw.others((first,))

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        backends = likeliest_first(self._backends, lambda _: 0.0)
        return OrderPreview(backends, len(backends) == 1, "drawn at random by weight")
