"""Outlier detection: what real traffic shows of backends that fail, or are slow, where others are not."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from statistics import median_low

from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend

LONGEST = 10.0
"""Times ``eject_for`` that an ejection may last, however often the backend comes back to fail again."""

SAMPLES = 16
"""Connect times by which a backend is known: its median is not moved by a few that are odd."""

ENOUGH = 8
"""Connect times that there have to be before a backend's median counts."""


class ConnectTimes:
    """The median of the last connect times of one backend, kept sorted as they come."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take in one; the oldest leaves."""
        if len(self._in_order) == SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]
        self._in_order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def latest(self) -> float:
        """The last one taken in."""
        return self._in_order[-1]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._in_order)

    @property
    def median(self) -> float:
        """The lower median; there has to be one time at least."""
        return self._sorted[(len(self._sorted) - 1) // 2]


class HostStats:
    """What is known of one backend.

    :ivar failures: in a row.
    :ivar slow: connections in a row that took too long to come about.
    :ivar growth: times ``eject_for`` that its next ejection lasts, as of *since*.
    :ivar since: when its last ejection ended.
    :ivar until: when the one under way ends; in the past when there is none.
    """

    __slots__ = ("failures", "growth", "since", "slow", "times", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.slow = 0
        self.growth = 1.0
        self.since = -inf
        self.until = -inf
        self.times = ConnectTimes()


class OutlierDetection:
    """Tells which backends should be ejected, and for how long; whoever asks does it.

    Its terms are those of Envoy's outlier detection (its documentation, "Outlier detection": consecutive
    local origin failures, ejections that grow, a bound on how many there are). The growth doubles with each
    ejection, and halves with each ``eject_for`` of good time.

    :param config: when, and for how long.
    :param backends: of the pool.
    :param clock: the clock.
    """

    def __init__(
        self, config: OutlierConfig, backends: Sequence[Backend], clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._clock = clock
        self._most = max(1, int(config.max_ejected * len(backends)))
        self._conduct = {backend: HostStats() for backend in backends}

    def failed(self, backend: Backend) -> bool:
        """Take note of a connection that did not come about, or broke off before the backend's first byte.

        :returns: whether it should be ejected for that.
        """
        conduct = self._conduct[backend]
        conduct.failures += 1
        return conduct.failures >= self._config.consecutive_failures

    def connected(self, backend: Backend, seconds: float, noticeable: float) -> bool:
        """Take note of a connection that came about.

        :param seconds: what that took.
        :param noticeable: seconds up to which that says nothing about the backend.
        :returns: whether it should be ejected, for being slow.
        """
        factor = self._config.slow_factor
        if factor is None:
            return False
        conduct = self._conduct[backend]
        conduct.times.add(seconds)
        if seconds <= noticeable or not self._is_slow(backend, seconds, factor):
            conduct.slow = 0
            return False
        conduct.slow += 1
        return conduct.slow >= self._config.consecutive_failures

    def _is_slow(self, backend: Backend, seconds: float, factor: float) -> bool:
        """Compare a connect time with those of the backends that may serve.

        It is slow when it is more than *factor* times the pool's median, and more than *factor* times the
        median of what the other backends took last. The latter spares backends that become slow together in a
        burst, long before their medians tell.
        """
        median = self.usual_connect_time()
        if median is None:
            return False
        latest = [times.latest for other, times in self._comparable() if other is not backend]
        return seconds > factor * max(median, median_low(latest))

    def answered(self, backend: Backend) -> None:
        """Take note of a backend's first byte on a connection: whatever it is, it does not fail."""
        self._conduct[backend].failures = 0

    def usual_connect_time(self) -> float | None:
        """The pool's median in seconds: that of the backends' medians, the lower one of two.

        :returns: None unless at least two backends that may serve are known well enough.
        """
        medians = [times.median for _, times in self._comparable()]
        return median_low(medians) if len(medians) > 1 else None

    def _comparable(self) -> list[tuple[Backend, ConnectTimes]]:
        """The backends that may serve and are known well enough, with their connect times."""
        return [
            (backend, conduct.times)
            for backend, conduct in self._conduct.items()
            if backend.available and conduct.times.count >= ENOUGH
        ]

    def ejected(self) -> list[Backend]:
        """Those that are ejected."""
        return [backend for backend in self._conduct if backend.ejected]

    def is_full(self) -> bool:
        """Whether as many are ejected as may be."""
        return len(self.ejected()) >= self._most

    def eject(self, backend: Backend) -> float:
        """Take note that a backend is ejected from now on.

        :returns: the seconds for which it is.
        """
        conduct = self._conduct[backend]
        now = self._clock()
        good = max(0.0, now - conduct.since)
        halvings = int(min(good / self._config.eject_for, LONGEST))
        growth = max(1.0, conduct.growth / 2.0**halvings)
        conduct.growth = min(LONGEST, growth * 2.0)
        conduct.until = now + growth * self._config.eject_for
        conduct.failures = conduct.slow = 0
        conduct.times = ConnectTimes()
        return growth * self._config.eject_for

    def came_back(self, backend: Backend) -> None:
        """Take note that a backend is ejected no longer; its good time begins."""
        self._conduct[backend].since = self._clock()

    def ejection_expired(self, backend: Backend) -> bool:
        """Whether the time is over for which a backend was ejected."""
        return self._clock() >= self._conduct[backend].until

    def next_return(self) -> float:
        """When the first of those ejected has served its time, by the clock; infinite when none is."""
        return min((self._conduct[backend].until for backend in self.ejected()), default=inf)
