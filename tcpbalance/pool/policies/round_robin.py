"""Round robin: each backend in turn, as often as its weight says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.turns import SmoothTurns


class RoundRobin:
    """Smooth weighted round robin; see `SmoothTurns`."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._turns = SmoothTurns(backends, tools.first_turn)
        self._everyone = range(len(backends))

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the backend whose turn it is, then those that come next."""
        return self._turns.among(self._everyone)

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        return OrderPreview(list(self._turns.copy().among(self._everyone)), True, "turns by weight")

    def first(self, client: bytes | None) -> Backend:
        """See ``QuickPolicy``."""
        return self._turns.first()

    def others(self, client: bytes | None, first: Backend) -> Iterator[Backend]:
        """See ``QuickPolicy``."""
        return self._turns.others(first)
