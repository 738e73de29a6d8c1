"""A loop goes on after an exception, which is logged at once and then once a minute, with how often."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tcpbalance.rate_limited_log import FAILURES_EVERY
from tcpbalance.steady_loop import SteadyLoop


class Looped:
    """A loop on a clock; its call raises while it is broken."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[float] = []
        self.broken = False
        self.loop = SteadyLoop("a look", self._call, self.clock)

    def _call(self) -> None:
        self.calls.append(self.clock.seconds())
        if self.broken:
            raise LookupError("broken")


def test_it_calls_at_the_interval_until_it_is_stopped() -> None:
    looped = Looped()
    looped.loop.start(2.0)
    looped.clock.pump([1.0] * 5)
    assert looped.calls == [0.0, 2.0, 4.0]
    looped.loop.stop()
    looped.loop.stop()
    assert looped.clock.getDelayedCalls() == []


def test_the_first_call_may_come_later() -> None:
    looped = Looped()
    looped.loop.start(2.0, now=False)
    looped.clock.advance(2.0)
    assert looped.calls == [2.0]
    looped.loop.stop()


def test_an_exception_does_not_end_it_and_none_is_left_untold() -> None:
    looped = Looped()
    looped.broken = True
    with capturedLogs() as events:
        looped.loop.start(1.0)
        looped.clock.pump([1.0] * int(FAILURES_EVERY))
        assert [event["count"] for event in events] == [1, 59]
        looped.broken = False
        looped.clock.pump([1.0] * 10)
        assert len(looped.calls) == 71
        looped.broken = True
        looped.clock.advance(1.0)
        looped.loop.stop()
    assert [event["count"] for event in events] == [1, 59, 2]
    assert {event["log_failure"].type for event in events} == {LookupError}
    assert looped.clock.getDelayedCalls() == []


def test_it_can_be_started_again() -> None:
    looped = Looped()
    looped.loop.start(1.0)
    looped.loop.stop()
    looped.loop.start(1.0)
    assert len(looped.calls) == 2
    looped.loop.stop()
