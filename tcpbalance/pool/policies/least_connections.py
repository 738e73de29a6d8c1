"""Least connections: the backend that has the fewest for its weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.turns import SmoothTurns


class LeastConnections:
    """The fewest connections per unit of weight; equals take smooth weighted turns.

    This is nginx's ``least_conn``. So an idle pool is round robin, and none is left idle because a heavier
    one is preferred.
    """

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = backends
        self._turns = SmoothTurns(backends)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the least loaded, then the next less loaded."""
        return self._by_load(self._turns)

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        by = "fewest connections for the weight, equals by turns"
        return OrderPreview(list(self._by_load(self._turns.copy())), True, by)

    def _by_load(self, turns: SmoothTurns) -> Iterator[Backend]:
        loads = self._loads()
        least = min(loads)
        yield from turns.among([index for index, load in enumerate(loads) if load == least])
        waiting = [index for index, load in enumerate(loads) if load > least]
        loads = self._loads()
        waiting.sort(key=loads.__getitem__)
        for _, equals in groupby(waiting, key=loads.__getitem__):
            yield from turns.among(list(equals))

    def _loads(self) -> list[float]:
        # Not by `Backend.load`: with one process, the call for each backend would serve nothing.
        return [
            (backend.active if backend.shared is None else backend.shared.total) / backend.weight
            for backend in self._backends
        ]
