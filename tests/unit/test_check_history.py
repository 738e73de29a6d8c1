"""What is kept of the checks of each backend."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tcpbalance import NoVerdict, ProbeFailed, Target
from tcpbalance.config.pools import HealthConfig
from tcpbalance.control.view import shown_check
from tcpbalance.health.history import MAX_RESULTS, CheckHistory, CheckResult
from tcpbalance.health.monitor import HealthMonitor
from tcpbalance.health.probe_run import Outcome
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

PASSED = Outcome(True)


def backend(name: str = "a") -> Backend:
    return Backend("127.0.0.1:80", name)


class Slow:
    """A probe that takes half a second for each of the answers that it is given."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)

    def check(self, target: Target) -> Deferred[None]:
        answer = self._answers.pop(0)
        answered: Deferred[None] = Deferred()
        end = answered.callback if answer is None else answered.errback
        target.reactor.callLater(0.5, end, answer)
        return answered


def test_each_check_is_kept_with_its_time_and_cause() -> None:
    clock, one = Clock(), backend()
    history = CheckHistory(lambda: 1000.0 + clock.seconds())
    probe: Any = Slow(None, ProbeFailed("status 500"), NoVerdict("no descriptors"))
    config = HealthConfig(probe=probe, interval=10.0, timeout=1.0, initial="up")
    rng = Random(1)
    monitor = HealthMonitor(Pool("web", [one]), config, reactor=clock, rng=rng, on_result=history.note)
    monitor.startService()
    assert history.last(one) is None
    clock.advance(0.5)
    assert history.of(one)[0] == CheckResult(1000.5, True, "", 0.5)
    clock.pump([0.1] * 200)
    assert [(result.passed, result.cause) for result in history.of(one)] == [
        (True, ""),
        (False, "status 500"),
        (None, "no descriptors"),
    ]
    assert history.last(one) is history.of(one)[-1]
    assert all(0.499 < result.seconds < 0.601 for result in history.of(one))
    monitor.stopService()


def test_the_last_hundred_are_kept() -> None:
    one, other = backend(), backend("b")
    history = CheckHistory(lambda: 0.0)
    for number in range(MAX_RESULTS + 20):
        history.note(one, PASSED, float(number))
    history.note(other, PASSED, 0.0)
    assert [result.seconds for result in history.of(one)] == [20.0 + number for number in range(MAX_RESULTS)]
    assert len(history.of(other)) == 1


def test_those_of_a_backend_that_is_gone_are_forgotten() -> None:
    one, other = backend(), backend("b")
    history = CheckHistory(lambda: 0.0)
    for its in (one, other):
        history.note(its, PASSED, 0.0)
    history.forget([one, backend("never checked")])
    assert (len(history.of(one)), len(history.of(other))) == (0, 1)
    assert history.last(one) is None


def test_a_result_is_shown_with_its_time() -> None:
    assert shown_check(CheckResult(1.5, False, "connection refused", 0.0012345678)) == {
        "time": "1970-01-01T00:00:01.500Z",
        "passed": False,
        "cause": "connection refused",
        "seconds": 0.001235,
    }
