"""Logs which backend cools down after a failed dial, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.rate_limited_log import RateLimitedLog

COOLDOWN = 10.0
"""Seconds for which a backend without health checks and outlier detection is passed over after a failed dial;
nginx's default ``fail_timeout``. A restarted server is found again soon, and few clients wait for one that is
dead."""

SHORT_COOLDOWN = 1.0
"""Seconds for which one with health checks is: they find out soon. Until then it should neither get all
connections for which the others have no capacity, nor be kept from those that have no other backend."""

COOLDOWNS_EVERY = 10.0
"""Seconds between two lines of one backend, which may fail every other dial."""

_Line = RateLimitedLog[None, tuple[str, float]]


class CooldownLog:
    """Writes one line a cooldown, or for the several that a backend has had in `COOLDOWNS_EVERY`.

    :param pool: the pool's name.
    :param clock: the clock.
    :param timer: for lines that are written later; see `RateLimitedLog`.
    """

    _log = Logger()

    def __init__(self, pool: str, clock: Callable[[], float], timer: IReactorTime | None) -> None:
        self._pool = pool
        self._clock = clock
        self._timer = timer
        self._lines: dict[Backend, _Line] = {}

    def begins(self, backend: Backend, cause: str, duration: float) -> None:
        """Take note that a cooldown begins.

        :param cause: of the failure, in a word or two.
        :param duration: of the cooldown, in seconds.
        """
        line = self._lines.get(backend)
        if line is None:
            line = RateLimitedLog(partial(self._write, backend), self._clock, self._timer, COOLDOWNS_EVERY)
            self._lines[backend] = line
        line.note(None, (cause, duration))

    def on_change(self, change: PoolChange) -> None:
        """Write what is held back of backends that are removed, and forget them."""
        for backend in change.removed:
            line = self._lines.pop(backend, None)
            if line is not None:
                line.flush()

    def flush(self) -> None:
        """Write what is held back now."""
        for line in self._lines.values():
            line.flush()

    def _write(self, backend: Backend, cooldowns: Counter[None], last: tuple[str, float]) -> None:
        cause, duration = last
        times = cooldowns.total()
        self._log.warn(
            "pool {pool}: backend {backend}: {cause}; not used for {duration:g} s{times}",
            pool=self._pool,
            backend=backend.described,
            cause=cause,
            duration=duration,
            times=f" ({times} times)" if times > 1 else "",
        )
