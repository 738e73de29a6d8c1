"""A call that is made again and again, and goes on after an exception."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.rate_limited_log import FAILURES_EVERY, RateLimitedLog


class SteadyLoop:
    """Twisted's ``LoopingCall``, which an exception would end for good and without a word.

    :param what: is done, as the log says it: "{what} has failed".
    :param call: takes nothing.
    :param clock: IReactorTime.
    """

    _log = Logger()

    def __init__(self, what: str, call: Callable[[], object], clock: Any) -> None:
        self._what = what
        self._call = call
        self._loop = LoopingCall(self._call_safely)
        self._loop.clock = clock
        self._failures = RateLimitedLog(self._write_failures, clock.seconds, clock, FAILURES_EVERY)

    def start(self, interval: float, now: bool = True) -> None:
        """Begin.

        :param interval: seconds from one call to the next.
        :param now: whether the first call is made at once.
        """
        self._loop.start(interval, now)

    def stop(self) -> None:
        """Make no more calls; calling it again does nothing."""
        if self._loop.running:
            self._loop.stop()
        self._failures.flush()

    def _call_safely(self) -> None:
        try:
            self._call()
        except Exception as error:
            self._failures.note(None, error)

    def _write_failures(self, failures: Counter[None], last: Exception) -> None:
        self._log.failure(
            "{what} has failed ({count} times since last reported)",
            Failure(last),  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            what=self._what,
            count=failures.total(),
        )
