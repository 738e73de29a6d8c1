"""Slow start: a backend that has just come gets its share of connections little by little."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tcpbalance import bounds
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.errors import PoolError

LEAST = 0.1
"""Of its weight, with which a backend begins: Envoy's ``min_weight_percent``. With less, a backend of a quiet
pool would hardly be tried at all."""


class SlowStart:
    """Lets the weight of backends rise in a straight line, from a tenth to all of it.

    Where those that serve have all come lately, nobody is spared for another's sake: the share of each is
    that of the one that has come furthest.

    :param duration: seconds until a backend has its whole weight, above 0.
    :param seconds: the clock.
    :ivar under_way: whether any backend has less than its whole weight.
    :raises PoolError: for a duration out of range.
    """

    __slots__ = ("_began", "_duration", "_seconds")

    def __init__(self, duration: float, seconds: Callable[[], float]) -> None:
        bounds.above_zero("slow_start", duration, PoolError)
        self._duration = duration
        self._seconds = seconds
        self._began: dict[Backend, float] = {}

    @property
    def under_way(self) -> bool:
        """Whether any backend has less than its whole weight."""
        return bool(self._began)

    def begin(self, backend: Backend) -> None:
        """Take note that a backend has come."""
        self._began[backend] = self._seconds()

    def update(self, serving: Iterable[Backend]) -> None:
        """Bring ``share`` of the backends up to date.

        :param serving: those that connections may go to.
        """
        now = self._seconds()
        self._began = {
            backend: began for backend, began in self._began.items() if now - began < self._duration
        }
        shares = {backend: self._share(backend, now) for backend in serving}
        furthest = max(shares.values(), default=1.0)
        for backend, share in shares.items():
            backend.share = share / furthest

    def _share(self, backend: Backend, now: float) -> float:
        began = self._began.get(backend)
        return 1.0 if began is None else max(LEAST, (now - began) / self._duration)
