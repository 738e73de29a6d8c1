"""How late the event loop comes to what is due."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from tcpbalance.overload.loop_lag import SAMPLED_EVERY, WORST_OF, LoopLag


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lag(clock: Clock) -> LoopLag:
    lag = LoopLag(clock, clock.seconds)
    lag.start()
    return lag


def test_a_loop_in_time_is_not_late(clock: Clock, lag: LoopLag) -> None:
    clock.pump([SAMPLED_EVERY] * 10)
    assert lag.times.counts[0] == 10
    assert lag.times.seconds == pytest.approx(0.0, abs=1e-9)
    assert lag.worst == pytest.approx(0.0, abs=1e-9)


def test_what_comes_late_is_counted_once(clock: Clock, lag: LoopLag) -> None:
    clock.advance(SAMPLED_EVERY + 3.0)
    assert lag.times.counts[-1] == 1
    assert lag.worst == pytest.approx(3.0)
    clock.advance(SAMPLED_EVERY)
    assert lag.times.counts[0] == 1


def test_the_worst_is_forgotten_after_a_while(clock: Clock, lag: LoopLag) -> None:
    clock.advance(SAMPLED_EVERY + 1.0)
    clock.pump([SAMPLED_EVERY] * WORST_OF)
    assert lag.worst == pytest.approx(1.0)
    clock.pump([SAMPLED_EVERY] * WORST_OF)
    assert lag.worst == pytest.approx(0.0, abs=1e-9)


def test_there_is_one_timer(clock: Clock, lag: LoopLag) -> None:
    clock.pump([SAMPLED_EVERY] * 3)
    assert len(clock.getDelayedCalls()) == 1
