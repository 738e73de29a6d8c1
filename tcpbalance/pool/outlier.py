"""Outlier detection: what real traffic shows of backends that fail, or are slow, where others are not."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.host_stats import ConnectTimes, lower_median
from tcpbalance.pool.members import Members

MAX_GROWTH = 10.0
"""Times ``eject_for`` that an ejection may last, however often the backend comes back to fail again."""

ENOUGH = 8
"""Connect times that there have to be before a backend's median counts."""


class OutlierDetection:
    """Says which backends should be ejected, and for how long; the caller ejects them.

    Its terms are those of Envoy's outlier detection (its documentation, "Outlier detection": consecutive
    local origin failures, ejections that grow, a bound on how many there are). The growth doubles with each
    ejection, and halves with each ``eject_for`` of good time.

    :param config: when, and for how long; may be replaced.
    :param members: the backends of the pool, and how many of them may be ejected at once.
    :param clock: the clock.
    """

    def __init__(self, config: OutlierConfig, members: Members, clock: Callable[[], float]) -> None:
        self.config = config
        self._clock = clock
        self.members = members

    def failed(self, backend: Backend) -> bool:
        """Take note of a connection that failed, or ended before the backend's first byte, or of a response
        whose status counts as a failure.

        :returns: whether it should be ejected for that.
        """
        stats = backend.host_stats
        stats.failures += 1
        return stats.failures >= self.config.consecutive_failures

    def connected(self, backend: Backend, seconds: float, noticeable: float) -> bool:
        """Take note of a connection that was established.

        :param seconds: what that took.
        :param noticeable: seconds up to which that says nothing about the backend.
        :returns: whether it should be ejected, for being slow.
        """
        factor = self.config.slow_factor
        if factor is None:
            return False
        stats = backend.host_stats
        stats.times.add(seconds)
        if seconds <= noticeable or not self._is_slow(backend, seconds, factor):
            stats.slow = 0
            return False
        stats.slow += 1
        return stats.slow >= self.config.consecutive_failures

    def _is_slow(self, backend: Backend, seconds: float, factor: float) -> bool:
        """Compare a connect time with those of the backends that may serve.

        It is slow when it is more than *factor* times the pool's median, and more than *factor* times the
        median of what the other backends took last. The latter spares backends that become slow together in a
        burst, long before their medians show it.
        """
        median = self.median_connect_time()
        if median is None:
            return False
        latest = [times.latest for other, times in self._comparable() if other is not backend]
        return seconds > factor * max(median, lower_median(sorted(latest)))

    def answered(self, backend: Backend) -> None:
        """Take note of a backend's first byte on a connection, or of a response: it does not fail."""
        backend.host_stats.failures = 0

    def median_connect_time(self) -> float | None:
        """The pool's median in seconds: that of the backends' medians, the lower one of two.

        :returns: None unless at least two backends that may serve are known well enough.
        """
        medians = [times.median for _, times in self._comparable()]
        return lower_median(sorted(medians)) if len(medians) > 1 else None

    def why_slow(self, seconds: float) -> str:
        """Give the cause of an ejection for being slow.

        :param seconds: what the last connection took.
        """
        median = self.median_connect_time() or 0.0
        return f"slow, {seconds * 1000:.1f} ms to connect, the median is {median * 1000:.1f} ms"

    def _comparable(self) -> list[tuple[Backend, ConnectTimes]]:
        """The backends that may serve and are known well enough, with their connect times."""
        return [
            (backend, backend.host_stats.times)
            for backend in self.members.backends
            if backend.available and backend.host_stats.times.count >= ENOUGH
        ]

    def ejected(self) -> list[Backend]:
        """Those that are ejected."""
        return [backend for backend in self.members.backends if backend.ejected]

    def is_full(self) -> bool:
        """Whether as many are ejected as may be."""
        return len(self.ejected()) >= self.members.max_ejected

    def eject(self, backend: Backend) -> float:
        """Take note that a backend is ejected from now on.

        :returns: the seconds for which it is.
        """
        stats = backend.host_stats
        now = self._clock()
        good = max(0.0, now - stats.since)
        halvings = int(min(good / self.config.eject_for, MAX_GROWTH))
        growth = max(1.0, stats.growth / 2.0**halvings)
        stats.growth = min(MAX_GROWTH, growth * 2.0)
        stats.until = now + growth * self.config.eject_for
        stats.failures = stats.slow = 0
        stats.times = ConnectTimes()
        return growth * self.config.eject_for

    def readmitted(self, backend: Backend) -> None:
        """Take note that a backend is ejected no longer; its good time begins."""
        backend.host_stats.since = self._clock()

    def ejection_expired(self, backend: Backend) -> bool:
        """Whether the time is over for which a backend was ejected."""
        return self._clock() >= backend.host_stats.until

    def next_expiry(self) -> float:
        """When the first of the ejections under way ends, by the clock; infinite when there is none."""
        return min((backend.host_stats.until for backend in self.ejected()), default=inf)
