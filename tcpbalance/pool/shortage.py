"""Logs that a pool's dials and checks fail for want of something on this machine, a line a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.rate_limited_log import FAILURES_EVERY, RateLimitedLog


class Shortage:
    """Local ports, descriptors or memory that one pool lacks.

    :param pool: the pool's name.
    :param clock: the clock.
    :param timer: for lines that are written later; see `RateLimitedLog`.
    """

    _log = Logger()

    def __init__(self, pool: str, clock: Callable[[], float], timer: IReactorTime | None) -> None:
        self._pool = pool
        self._lines: RateLimitedLog[None, str] = RateLimitedLog(self._write, clock, timer, FAILURES_EVERY)

    def note(self, cause: str, remedy: str = "") -> None:
        """Take note of a dial or check that has failed for it.

        :param cause: what is missing.
        :param remedy: what the operator can do about it, empty where that is not known.
        """
        self._lines.note(None, f"{cause}; {remedy}" if remedy else cause)

    def flush_log(self) -> None:
        """Write what is held back now."""
        self._lines.flush()

    def _write(self, failures: Counter[None], last: str) -> None:
        self._log.warn(
            "pool {pool}: connections or checks fail because of the balancer itself, backends keep their "
            "state ({count}): {cause}",
            pool=self._pool,
            count=failures.total(),
            cause=last,
        )
