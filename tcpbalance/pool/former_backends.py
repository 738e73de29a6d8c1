"""What is left of the backends that a pool had: those whose connections go on, and the counts of all."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import ref

from tcpbalance.pool.backend import Backend
from tcpbalance.stats import BackendStats, add_up


class FormerBackends:
    """The backends that were removed from one pool.

    Their counters are kept, but not the backends, once their connections have ended.
    """

    def __init__(self) -> None:
        self._stats: dict[ref[Backend], BackendStats] = {}
        self._ended: dict[str, int] = {}

    def add(self, removed: Iterable[Backend]) -> None:
        """Take note of backends that were removed, and of those that have come back."""
        known = {**self._stats, **{ref(backend): backend.stats for backend in removed}}
        self._stats = {}
        for backend_ref, stats in known.items():
            backend = backend_ref()
            if backend is None:
                self._ended = add_up([self._ended, stats.snapshot()])
            elif backend.removed:
                self._stats[backend_ref] = stats
            # Otherwise it has come back, and goes on counting as one of the list.

    def draining(self) -> list[Backend]:
        """Give those that still have connections."""
        known = [backend_ref() for backend_ref in self._stats]
        return [backend for backend in known if backend is not None and backend.removed and backend.active]

    def snapshot(self) -> dict[str, int]:
        """Give the sums of their counters by name."""
        return add_up([self._ended, *((it() or stats).snapshot() for it, stats in self._stats.items())])
