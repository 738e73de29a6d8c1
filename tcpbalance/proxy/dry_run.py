"""The dry run of limits on sessions: counts and logs what they would have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.stats import FrontendStats


class DryRunLimit(Enum):
    """A limit, by its key in the configuration."""

    CONNECTIONS = "connections"
    """The client would have waited in the backlog until another session ended."""

    BANDWIDTH = "bandwidth_per_connection"
    """One of the two sides would have been held back."""

    MIN_RATE = "min_rate"
    """The session would have been ended."""

    MAX_REQUESTS = "max_requests"
    """A request of the client would have been answered with 503."""

    REQUESTS_PER_CLIENT = "requests_per_client"
    """A request of the client would have been answered with 429."""

    @property
    def word(self) -> str:
        """The name in logs and counters."""
        return self.value


class DryRunSession(Protocol):
    """A session in a dry run."""

    dry_run_limits: tuple[DryRunLimit, ...]
    """The limits that would have acted on it."""


class DryRun:
    """Takes note of clients that limits would have done something to; of each limit once a client.

    :param name: the frontend's.
    :param clock: seconds on a monotonic clock.
    :param timer: for what is logged a little later.
    :param stats: the frontend's counters.
    """

    _log = Logger()

    def __init__(
        self, name: str, clock: Callable[[], float], timer: IReactorTime, stats: FrontendStats
    ) -> None:
        self._name = name
        self._stats = stats
        self._limited_log = RateLimitedLog(self._write, clock, timer)

    def would_limit(self, session: DryRunSession, limit: DryRunLimit) -> None:
        """Let a session go on as if there were no such limit."""
        if limit not in session.dry_run_limits:
            session.dry_run_limits = (*session.dry_run_limits, limit)
            self._stats.would_limit[limit] += 1
            self._limited_log.note(limit, None)

    def flush_logs(self) -> None:
        """Write what is held back now."""
        self._limited_log.flush()

    def _write(self, counts: Counter[DryRunLimit], _: None) -> None:
        self._log.warn(
            "frontend {name}: limits not enforced, because of dry_run ({limits})",
            name=self._name,
            limits=", ".join(f"{limit.word}: {counts[limit]}" for limit in DryRunLimit if counts[limit]),
        )
