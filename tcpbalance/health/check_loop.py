"""The checks of one backend, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.event import OneTimeEvent
from tcpbalance.health.probe_run import Outcome, ProbeRun
from tcpbalance.rate_limited_log import FAILURES_EVERY, RateLimitedLog


class CheckLoop:
    """Checks a backend again and again, never twice at once.

    :param clock: the reactor.
    :param new_run: makes the next check.
    :param interval: seconds between the starts of two checks, asked after each.
    :param phase: 0 to 1, the part of the interval after which the second check comes; it sets the loops of
        a pool apart, and they stay apart because all later checks come at the interval.
    :param report: takes the outcome of each check, and the seconds that it took.
    :ivar first: the first check has its outcome, or could not be made.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        new_run: Callable[[], ProbeRun],
        interval: Callable[[], float],
        phase: float,
        report: Callable[[Outcome, float], None],
    ) -> None:
        self._clock = clock
        self._new_run = new_run
        self._interval = interval
        self._phase = phase
        self._report = report
        self._run: ProbeRun | None = None
        self._began = 0.0
        self._is_stopped = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock
        self._failures = RateLimitedLog(self._write_failures, clock.seconds, clock, FAILURES_EVERY)
        self.first: OneTimeEvent[None] = OneTimeEvent()

    @property
    def idle(self) -> bool:
        """Whether no probe is running."""
        return self._run is None or self._run.ended.settled

    def start(self) -> None:
        """Make the first check at once; nothing where it was stopped before."""
        if not self._is_stopped:
            self._loop.start(self._interval())

    def stop(self) -> Deferred[None]:
        """Make no more checks, and cancel the one that runs.

        :returns: fires when it has ended.
        """
        self._is_stopped = True
        if self._loop.running:
            self._loop.stop()
        self._failures.flush()
        if self._run is None:
            return succeed(None)
        self._run.cancel()
        return self._run.ended.wait()

    def _check(self) -> Deferred[None] | None:
        self._began = self._clock.seconds()
        if self._run is not None and not self.idle:
            self._on_outcome(self._run.still_running())
            return None
        try:
            self._run = self._new_run()
            outcome = self._run.start()
        except Exception as error:
            # It would end the loop for good.
            self._run = None
            self._failures.note(None, error)
            self.first.settle(None)
            return None
        return outcome.addCallback(self._on_outcome)

    def _on_outcome(self, outcome: Outcome) -> None:
        if not self._loop.running:
            return
        try:
            self._report(outcome, max(0.0, self._clock.seconds() - self._began))
        except Exception as error:
            self._failures.note(None, error)
        self._set_pace()
        self.first.settle(None)

    def _write_failures(self, failures: Counter[None], last: Exception) -> None:
        self._log.failure(
            "a health check could not be dealt with ({count} times since last reported)",
            Failure(last),  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            count=failures.total(),
        )

    def _set_pace(self) -> None:
        """Let the loop count its intervals from the start of this check, the first time less the phase."""
        self._loop.interval = self._interval()
        self._loop.starttime = self._began - (1 - self._phase) * self._loop.interval
        self._phase = 1.0
