"""The wheel looks at each watched thing when its time has come: never early, at most a turn late, and costs
nothing when idle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.net.wheel import RESOLUTION, Wheel


class Thing:
    """Notes when it is checked, and answers with what it was told to."""

    def __init__(self, answers: list[float | None] | None = None) -> None:
        self.slot: int | None = None
        self.checked: list[float] = []
        self.answers = answers or []

    def check(self, now: float) -> float | None:
        self.checked.append(now)
        return self.answers.pop(0) if self.answers else None


def turn(clock: Clock, seconds: float) -> None:
    """Let time pass in small steps, as it does."""
    steps = int(seconds * 4)
    clock.pump([0.25] * steps)


def test_checks_after_the_delay_and_within_a_turn() -> None:
    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds), Thing()
    wheel.watch(thing, 3.5)
    turn(clock, 3.25)
    assert thing.checked == []
    turn(clock, 1.75)
    assert len(thing.checked) == 1
    assert 3.5 <= thing.checked[0] <= 3.5 + 2 * RESOLUTION


def test_checks_again_when_asked_to() -> None:
    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds), Thing([2.0, 5.0, None])
    wheel.watch(thing, 1.0)
    turn(clock, 30)
    first, second, third = thing.checked
    assert second - first >= 2.0
    assert third - second >= 5.0


def test_leaves_no_delayed_call_when_nothing_is_watched() -> None:
    clock = Clock()
    wheel, one, other = Wheel(clock, clock.seconds), Thing(), Thing()
    assert clock.getDelayedCalls() == []
    wheel.watch(one, 10.0)
    wheel.watch(other, 20.0)
    assert len(clock.getDelayedCalls()) == 1
    wheel.forget(one)
    wheel.forget(other)
    assert clock.getDelayedCalls() == []


def test_watching_again_replaces_the_time() -> None:
    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds), Thing()
    wheel.watch(thing, 2.0)
    wheel.watch(thing, 20.0)
    turn(clock, 10)
    assert thing.checked == []
    turn(clock, 15)
    assert len(thing.checked) == 1


def test_forgotten_in_the_turn_in_which_it_was_due() -> None:
    clock = Clock()
    wheel = Wheel(clock, clock.seconds)

    class Killer(Thing):
        def check(self, now: float) -> float | None:
            for thing in things:
                wheel.forget(thing)
            return super().check(now)

    things = [Killer() for _ in range(3)]
    for thing in things:
        wheel.watch(thing, 1.0)
    turn(clock, 5)
    assert sum(len(thing.checked) for thing in things) == 1
    assert clock.getDelayedCalls() == []


def test_catches_up_after_the_process_was_stopped() -> None:
    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds), Thing()
    wheel.watch(thing, 2.0)
    clock.advance(500.0)
    assert len(thing.checked) == 1


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=20), st.floats(0, 5))
def test_each_is_checked_once_in_time(plan: list[tuple[float, bool]], start: float) -> None:
    clock = Clock()
    clock.advance(start)
    wheel = Wheel(clock, clock.seconds)
    things = [(Thing(), delay, forget) for delay, forget in plan]
    for thing, delay, _ in things:
        wheel.watch(thing, delay)
    for thing, _, forget in things:
        if forget:
            wheel.forget(thing)
    turn(clock, 40)
    for thing, delay, forget in things:
        assert len(thing.checked) == (0 if forget else 1)
        if not forget:
            assert start + delay <= thing.checked[0] <= start + delay + 2.3 * RESOLUTION
    assert clock.getDelayedCalls() == []
