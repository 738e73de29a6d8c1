"""Slow start: a backend that has become available gets its share of connections little by little."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange

MIN_PART = 0.1
"""Of its weight, with which a backend begins: Envoy's ``min_weight_percent``. With less, a backend of a quiet
pool would hardly be tried at all."""

MAX_SAVED = 2.0
"""Connections that a backend may have saved up: a policy does not offer it at once when it may have one."""


class SlowStart:
    """Lets the weight of backends rise in a straight line, from a tenth to all of it.

    It does so under any policy, by allowance: with each connection, a backend that starts is
    allowed the part of one that its weight at that time makes of all weights, and whenever it has saved up a
    whole one, the policy's offer is taken. (That is the fluid share of generalized processor sharing: Parekh
    and Gallager, IEEE/ACM Transactions on Networking 1(3), 1993.)

    Where all that serve have become available lately, none is held back: the weight of each is relative to
    that of the one that has come furthest.

    :param duration: seconds until a backend has its whole weight, above 0; may be changed.
    :param clock: the clock.
    """

    __slots__ = ("_allowed", "_clock", "_starting", "duration")

    def __init__(self, duration: float, clock: Callable[[], float]) -> None:
        self.duration = duration
        self._clock = clock
        self._starting: set[Backend] = set()
        self._allowed: dict[Backend, float] = {}

    def copy(self, available: Sequence[Backend] = ()) -> SlowStart:
        """Give one that goes on from here, apart from this one.

        :param available: those that it is to begin with, too.
        """
        made = SlowStart(self.duration, self._clock)
        made._starting, made._allowed = {*self._starting, *available}, dict(self._allowed)
        return made

    def on_change(self, change: PoolChange) -> None:
        """Begin with backends that have become available, and forget those that are removed."""
        self._starting.update(change.available)
        for backend in change.removed:
            self._starting.discard(backend)
            self._allowed.pop(backend, None)

    def count_connection(self, tier: Sequence[Backend]) -> None:
        """Take note of another connection.

        :param tier: the backends of one rank; it may go to those that are available and not full.
        """
        if not self._starting:
            return
        now = self._clock()
        self._starting = {b for b in self._starting if now - b.available_since < self.duration}
        serving = [backend for backend in tier if backend.available and not backend.full]
        parts = {backend: self._part(backend, now) for backend in serving}
        furthest = max(parts.values(), default=1.0)
        whole = sum(backend.weight * part for backend, part in parts.items())
        for backend, part in parts.items():
            if part < furthest:
                saved = self._allowed.get(backend, 0.0)
                self._allowed[backend] = min(MAX_SAVED, saved + backend.weight * part / whole)
            else:
                self._allowed.pop(backend, None)
        if not self._starting:
            self._allowed.clear()

    def holds_back(self, backend: Backend) -> bool:
        """Whether a backend has had all that it is allowed for now."""
        return backend in self._allowed and self._allowed[backend] < 1.0

    def took(self, backend: Backend) -> None:
        """Take note that a backend is given the connection."""
        if backend in self._allowed:
            self._allowed[backend] = max(0.0, self._allowed[backend] - 1.0)

    def part(self, backend: Backend) -> float:
        """Give the part of its weight that a backend has by now, up to 1."""
        return min(1.0, self._part(backend, self._clock()))

    def _part(self, backend: Backend, now: float) -> float:
        if backend not in self._starting:
            return 1.0
        return max(MIN_PART, (now - backend.available_since) / self.duration)
