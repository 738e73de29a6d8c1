"""One event per interval passes, and stands for those held back before it."""

from __future__ import annotations

from twisted.internet.task import Clock

from tcpbalance.throttle import Throttle


def test_counts_what_it_held_back() -> None:
    clock = Clock()
    throttle = Throttle(1.0, clock.seconds)
    assert throttle.admit() == 1
    assert [throttle.admit() for _ in range(5)] == [0] * 5
    clock.advance(1.0)
    assert throttle.admit() == 6
    assert throttle.admit() == 0


def test_a_quiet_time_owes_nothing() -> None:
    clock = Clock()
    throttle = Throttle(1.0, clock.seconds)
    throttle.admit()
    clock.advance(100.0)
    assert throttle.admit() == 1
