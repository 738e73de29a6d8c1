"""The wheel looks at each watched thing when its time has come: never early, at most a turn late, a bounded
number in one turn of the reactor, and costs nothing when idle."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from support.network import no_logged_failure
from support.turning_clock import TurningClock
from tcpbalance.net.wheel import CHECKS_TIME_A_TURN, RESOLUTION, STEPS_A_TURN, Wheel

FINE = 0.02
"""The resolution of the wheel of the dials."""


class Thing:
    """Notes when it is checked, and answers with what it was told to."""

    def __init__(self, answers: list[float | None] | None = None) -> None:
        self.slot: int | None = None
        self.checked: list[float] = []
        self.answers = answers or []
        self.failures: list[Failure] = []

    def check(self, now: float) -> float | None:
        self.checked.append(now)
        return self.answers.pop(0) if self.answers else None

    def on_failure(self, failure: Failure) -> None:
        self.failures.append(failure)


class Broken(Thing):
    """Raises when it is checked."""

    def check(self, now: float) -> float | None:
        super().check(now)
        raise LookupError("broken")


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
    assert (one.slot, other.slot) == (None, None)


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


def test_a_wheel_that_was_idle_for_long_is_in_time_at_once() -> None:
    clock = TurningClock()
    wheel, thing = Wheel(clock, clock.seconds), Thing()
    clock.turn(1000.0 * STEPS_A_TURN)
    wheel.watch(thing, 0.0)
    clock.turn(1.0)
    assert len(thing.checked) == 1


def checked(things: list[Thing]) -> int:
    """How many checks there were."""
    return sum(len(thing.checked) for thing in things)


@pytest.mark.parametrize("resolution", [RESOLUTION, FINE])
def test_of_many_due_together_a_bounded_number_is_checked_in_a_turn_of_the_reactor(resolution: float) -> None:
    clock = TurningClock()
    wheel, things = Wheel(clock, clock.seconds, resolution), [Thing() for _ in range(10 * STEPS_A_TURN)]
    for thing in things:
        wheel.watch(thing, 0.0)
    turns = [0]
    clock.turn(resolution)
    while wheel._rest is not None:
        turns.append(checked(things))
        clock.turn()
    turns.append(checked(things))
    assert turns[-1] == len(things)
    assert max(after - before for before, after in pairwise(turns)) <= STEPS_A_TURN
    assert clock.seconds() == resolution, "all within one second"
    assert clock.getDelayedCalls() == []


def test_what_has_been_due_for_longer_comes_first() -> None:
    clock = TurningClock()
    wheel, late, later = Wheel(clock, clock.seconds), [], []
    for _ in range(2 * STEPS_A_TURN):
        late.append(Thing())
        wheel.watch(late[-1], 1.0)
        later.append(Thing())
        wheel.watch(later[-1], 2.0)
    clock.turn(10.0)
    while checked(late) < len(late):
        assert checked(later) == 0
        clock.turn()
    clock.run_out()
    assert checked(later) == len(later)
    assert clock.getDelayedCalls() == []


def test_the_next_second_waits_for_what_is_left_of_the_last() -> None:
    """As where the checks that are due are more than the process can make in a second."""
    clock = TurningClock()
    wheel, things = Wheel(clock, clock.seconds), [Thing() for _ in range(4 * STEPS_A_TURN)]
    for thing in things:
        wheel.watch(thing, 0.0)
    clock.turn(1.0)
    before = checked(things)
    clock.turn(1.0)  # both calls are due now
    assert checked(things) - before <= STEPS_A_TURN
    assert wheel.now == 2.0
    while checked(things) < len(things):
        clock.turn()
    assert things[-1].checked in ([1.0], [2.0])


def test_each_turn_knows_the_time() -> None:
    clock = TurningClock()
    wheel, things = Wheel(clock, clock.seconds), [Thing() for _ in range(2 * STEPS_A_TURN)]
    for thing in things:
        wheel.watch(thing, 0.0)
    clock.turn(1.0)
    clock.turn(0.25)
    assert sorted(time for thing in things for time in thing.checked)[-1] == wheel.now == 1.25


def test_what_is_left_for_the_next_turn_can_be_forgotten_and_watched_anew() -> None:
    clock = TurningClock()
    wheel, things = Wheel(clock, clock.seconds), [Thing() for _ in range(3 * STEPS_A_TURN)]
    for thing in things:
        wheel.watch(thing, 0.0)
    clock.turn(1.0)
    forgotten, *others = [thing for thing in things if not thing.checked]
    anew, *others = others
    wheel.forget(forgotten)
    wheel.watch(anew, 5.0)
    clock.run_out()
    assert (forgotten.checked, anew.checked) == ([], [])
    assert all(thing.checked for thing in others)
    clock.turn(10.0)
    assert (forgotten.checked, len(anew.checked)) == ([], 1)


def test_when_all_that_is_left_is_forgotten_no_call_is() -> None:
    clock = TurningClock()
    wheel, things = Wheel(clock, clock.seconds), [Thing() for _ in range(3 * STEPS_A_TURN)]
    for thing in things:
        wheel.watch(thing, 0.0)
    clock.turn(1.0)
    for thing in things:
        wheel.forget(thing)
    assert clock.getDelayedCalls() == []


def test_a_day_in_which_the_process_was_stopped_is_no_turn_without_bound() -> None:
    """A day has four million turns of a fine wheel, at none of which there is anything."""
    clock = TurningClock()
    wheel, thing = Wheel(clock, clock.seconds, FINE), Thing()
    looked = 0

    class Counted(dict[int, set[Thing]]):
        def get(self, turn: int, default: object = None) -> set[Thing] | None:  # type: ignore[override]
            nonlocal looked
            looked += 1
            return super().get(turn)

    wheel.watch(thing, 86_400.0)
    slots = wheel._slots = Counted(wheel._slots)  # type: ignore[assignment, arg-type]
    clock.turn(86_400.0 + 2 * FINE)
    assert looked <= STEPS_A_TURN
    assert slots
    wheel.forget(thing)
    assert clock.getDelayedCalls() == []


def test_one_that_raises_is_logged_once_told_and_watched_no_longer_and_others_are_checked() -> None:
    clock = Clock()
    wheel, things = Wheel(clock, clock.seconds), [Broken(), Thing(), Thing()]
    for thing in things:
        wheel.watch(thing, 1.0)
    with pytest.raises(AssertionError, match="LookupError: broken") as logged, no_logged_failure():
        turn(clock, 60)
    assert str(logged.value).count("LookupError: broken") == 1
    assert [len(thing.failures) for thing in things] == [1, 0, 0]
    assert [len(thing.checked) for thing in things] == [1, 1, 1]
    assert clock.getDelayedCalls() == []


def test_one_that_raises_after_it_asked_to_be_watched_is_watched_no_longer() -> None:
    class Eager(Broken):
        def check(self, now: float) -> float | None:
            wheel.watch(self, 1.0)
            return super().check(now)

    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds), Eager()
    wheel.watch(thing, 1.0)
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        turn(clock, 60)
    assert (len(thing.checked), len(thing.failures)) == (1, 1)


def test_one_that_cannot_even_be_ended_is_logged_and_others_are_checked() -> None:
    class Hopeless(Broken):
        def on_failure(self, failure: Failure) -> None:
            raise LookupError("hopeless")

    clock = Clock()
    wheel, things = Wheel(clock, clock.seconds), [Hopeless(), Thing()]
    for thing in things:
        wheel.watch(thing, 1.0)
    with pytest.raises(AssertionError, match="could not be ended"), no_logged_failure():
        turn(clock, 5)
    assert [len(thing.checked) for thing in things] == [1, 1]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=20),
    st.floats(0, 5),
    st.sampled_from([1, 100]),
)
def test_each_is_checked_once_in_time(plan: list[tuple[float, bool]], start: float, alike: int) -> None:
    clock = Clock()
    clock.advance(start)
    wheel = Wheel(clock, clock.seconds)
    things = [(Thing(), delay, forget) for delay, forget in plan for _ in range(alike)]
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


def test_where_checks_take_long_there_are_fewer_in_a_turn() -> None:
    clock = TurningClock()

    class Slow(Thing):
        def check(self, now: float) -> float | None:
            clock.rightNow += 0.4 * CHECKS_TIME_A_TURN
            return super().check(now)

    wheel, things = Wheel(clock, clock.seconds), [Slow() for _ in range(10)]
    for thing in things:
        wheel.watch(thing, 0.0)
    clock.turn(1.0)
    assert checked([*things]) == 3
    clock.run_out()
    assert checked([*things]) == 10
    assert {thing.slot for thing in things} == {None}
    assert clock.getDelayedCalls() == []


def test_a_last_check_that_takes_long_leaves_no_delayed_call() -> None:
    clock = TurningClock()

    class Slow(Thing):
        def check(self, now: float) -> float | None:
            clock.rightNow += CHECKS_TIME_A_TURN
            return super().check(now)

    wheel, thing = Wheel(clock, clock.seconds), Slow()
    wheel.watch(thing, 0.0)
    clock.turn(1.0)
    assert (len(thing.checked), clock.getDelayedCalls()) == (1, [])


@pytest.mark.parametrize("resolution", [RESOLUTION, FINE])
def test_a_wheel_that_starts_after_a_time_was_due_checks_it_all_the_same(resolution: float) -> None:
    clock = Clock()
    wheel, thing = Wheel(clock, clock.seconds, resolution), Thing()
    due = clock.seconds() + 3.0
    clock.rightNow += 10.0  # The process has stood still.
    wheel.watch_until(thing, due)
    clock.pump([resolution] * 3)
    assert len(thing.checked) == 1
    assert clock.getDelayedCalls() == []
