"""Power of two choices: two at random, and the less loaded of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.draw import WeightedDraw, cheaper_of_two, likeliest_first


class PowerOfTwoChoices:
    """The less loaded of two drawn by weight.

    Mitzenmacher, "The power of two choices in randomized load balancing", IEEE Transactions on Parallel and
    Distributed Systems 12(10), 2001: the second draw takes the greatest load from the order of
    log n / log log n to that of log log n.
    """

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = backends
        self._draw = WeightedDraw(backends, tools.rng)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the less loaded of two, then the other, then the others at random."""
        return cheaper_of_two(self._draw, _load)

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        by = "of two drawn at random by weight, the one with fewer connections for its weight"
        return OrderPreview(likeliest_first(self._backends, _load), len(self._backends) == 1, by)


def _load(backend: Backend) -> float:
    shared = backend.shared
    return (backend.active if shared is None else shared.total) / backend.weight
