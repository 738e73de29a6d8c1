"""One call of a probe, bounded in time, whatever the probe does."""

from __future__ import annotations

from types import CoroutineType
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tcpbalance.config.messages import one_line
from tcpbalance.errors import TcpbalanceError
from tcpbalance.event import OneTimeEvent, failure_of
from tcpbalance.health.probes.base import MAX_CAUSE, Deadline, NoVerdict, Probe, Target
from tcpbalance.health.probes.causes import verdict_on
from tcpbalance.net.connect_errors import timed_out
from tcpbalance.net.faults import REMEDY_OF_LOOKUP
from tcpbalance.net.resolver.answer import Verdict

LATE = 0.1
"""The part of its timeout by which the end of a check may be late. A loop that is later has not looked yet at
what came in time: the check gets its time once more."""


@frozen
class Outcome:
    """What a check has shown.

    :ivar passed: None when it says nothing about the backend.
    :ivar cause: why it did not pass, for people; empty when it was cancelled.
    :ivar remedy: what the operator can do about what this machine lacks, empty where nothing is known.
    :ivar trouble: the error of a probe that is broken, to be logged.
    """

    passed: bool | None
    cause: str = ""
    remedy: str = ""
    trouble: Failure | None = None


class BrokenProbe(TcpbalanceError):
    """A probe does not keep to what `Probe` says."""


class ProbeRun:
    """Calls a probe once and settles once: with its answer, by the timeout, or because it was cancelled.

    :param probe: what checks.
    :param name: what the probe is called.
    :param target: what is checked; its reactor gives the time.
    :ivar ended: the probe has come to its end, which may be later than the outcome, or never if it is broken.
    """

    def __init__(self, probe: Probe, name: str, target: Target) -> None:
        self._probe = probe
        self._name = name
        # Each check words its own end.
        self._target = evolve(target, deadline=Deadline())
        self._outcome: Deferred[Outcome] = Deferred()
        self._settled = False
        self._answer: Deferred[object] | None = None
        self._timer: IDelayedCall | None = None
        self._due = 0.0
        self._again = False
        self.ended: OneTimeEvent[None] = OneTimeEvent()

    def start(self) -> Deferred[Outcome]:
        """Call the probe.

        :returns: always fires with an outcome, after the timeout at the latest.
        """
        # Before the probe starts its own timers: the one that is due first names the cause.
        self._start_timer()
        self._answer = _called(self._probe, self._target)
        self._answer.addBoth(self._answered)
        return self._outcome

    def _start_timer(self) -> None:
        reactor, timeout = self._target.reactor, self._target.timeout
        self._due = reactor.seconds() + timeout
        self._timer = reactor.callLater(timeout, self._time_out)

    def cancel(self) -> None:
        """Give up; the outcome, if it was still open, says nothing."""
        self._give_up(Outcome(None))

    def still_running(self) -> Outcome:
        """The outcome of a check that cannot be made because this run does not end.

        It has failed: whatever keeps it, it has not passed in its time.
        """
        error = BrokenProbe("it goes on although it was cancelled, so no other check is made")
        return Outcome(
            False, f"{timed_out(self._target.timeout)}, and still goes on", trouble=failure_of(error)
        )

    def _answered(self, result: object) -> None:
        self.ended.settle(None)
        self._settle(self._judged(result))

    def _time_out(self) -> None:
        if not self._again and self._target.reactor.seconds() - self._due > LATE * self._target.timeout:
            self._again = True
            self._start_timer()
            return
        if self._target.is_being_looked_up:
            self._give_up(Outcome(None, Verdict.TIMED_OUT.value, REMEDY_OF_LOOKUP))
            return
        timeout = self._target.timeout
        try:
            outcome = Outcome(False, one_line(self._target.deadline.cause(timeout), MAX_CAUSE))
        except Exception as error:
            outcome = Outcome(False, timed_out(timeout), trouble=failure_of(error))
        self._give_up(outcome)

    def _give_up(self, outcome: Outcome) -> None:
        """Cancel the probe, then settle: by then the probe is gone, if it is a good one."""
        if self._settled:
            return
        self._settled = True
        try:
            if self._answer is not None:
                self._answer.cancel()
        except Exception as error:
            outcome = evolve(outcome, trouble=failure_of(error))
        self._fire(outcome)

    def _settle(self, outcome: Outcome) -> None:
        if not self._settled:
            self._settled = True
            self._fire(outcome)

    def _fire(self, outcome: Outcome) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._outcome.callback(outcome)

    def _judged(self, result: object) -> Outcome:
        if result is None:
            return Outcome(True)
        if not isinstance(result, Failure):
            return self._broken(failure_of(BrokenProbe(f"check() must end with None, got {result!r:.100}")))
        verdict = verdict_on(result.value) if result.value is not None else None
        if verdict is None:
            return self._broken(result)
        if isinstance(verdict, NoVerdict):
            return Outcome(None, verdict.cause, verdict.remedy)
        return Outcome(False, verdict.cause)

    def _broken(self, trouble: Failure) -> Outcome:
        """The outcome of a check that an error has ended which says nothing about the backend."""
        return Outcome(None, f"error in probe {self._name}", trouble=trouble)


def _called(probe: Probe, target: Target) -> Deferred[object]:
    def call() -> Any:
        answer: object = probe.check(target)
        if not isinstance(answer, Deferred | CoroutineType):
            raise BrokenProbe(f"check() must be async or return a Deferred, got {answer!r:.100}")
        return answer

    return maybeDeferred(call)
