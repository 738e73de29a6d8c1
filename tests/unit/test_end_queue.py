"""Of many ends that come together a bounded number is told in one turn of the reactor, in their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.network import no_logged_failure
from support.turning_clock import TurningClock
from tcpbalance.net.end_queue import ENDS_A_TURN, SHARE_A_TURN, EndQueue
from tcpbalance.net.ends import DONE


class Stage:
    """A queue, and ends that note their numbers when they are told."""

    def __init__(self) -> None:
        self.clock = TurningClock()
        self.queue = EndQueue(self.clock)
        self.told: list[int] = []

    def come(self, *numbers: int) -> None:
        for number in numbers:
            self.report(self.end(number))

    def end(self, number: int) -> Callable[[], None]:
        return lambda: self.told.append(number)

    def report(self, end: Callable[[], None]) -> None:
        if self.queue.charge():
            end()
        else:
            self.queue.wait(lambda reason: end(), DONE)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_few_are_told_at_once(stage: Stage) -> None:
    stage.come(*range(ENDS_A_TURN))
    assert stage.told == list(range(ENDS_A_TURN))
    assert stage.clock.run_out() == 1
    assert stage.clock.getDelayedCalls() == []


def test_one_now_and_then_needs_no_call_for_each(stage: Stage) -> None:
    turns = 0
    for number in range(ENDS_A_TURN):
        stage.come(number)
        turns += stage.clock.run_out()
    assert stage.told == list(range(ENDS_A_TURN))
    assert turns <= 2


@pytest.mark.parametrize("before", range(ENDS_A_TURN + 1))
def test_half_of_what_a_turn_reports_is_reported_at_once_whatever_came_before(
    stage: Stage, before: int
) -> None:
    for number in range(before):
        stage.come(number)
        stage.clock.run_out()
    stage.come(*range(1000, 1000 + ENDS_A_TURN // 2))
    assert len(stage.told) == before + ENDS_A_TURN // 2


def test_in_order_and_so_many_a_turn(stage: Stage) -> None:
    stage.come(*range(3 * ENDS_A_TURN))
    for turn in (1, 2, 3):
        assert stage.told == list(range(turn * ENDS_A_TURN))
        stage.clock.turn()
    stage.clock.run_out()
    assert stage.told == list(range(3 * ENDS_A_TURN))
    assert stage.clock.getDelayedCalls() == []


def test_those_that_come_in_a_turn_wait_behind_those_before_them(stage: Stage) -> None:
    stage.come(*range(2 * ENDS_A_TURN + 1))
    stage.clock.turn()
    stage.come(1000)
    stage.clock.turn()
    assert stage.told == [*range(2 * ENDS_A_TURN + 1), 1000]


def test_what_a_turn_has_left_is_for_those_that_come_in_it(stage: Stage) -> None:
    stage.come(*range(ENDS_A_TURN + 1))
    stage.clock.turn()
    stage.come(*range(1000, 1000 + ENDS_A_TURN))
    assert stage.told == [*range(ENDS_A_TURN + 1), *range(1000, 1000 + ENDS_A_TURN - 1)]


def test_an_end_that_brings_another_one_does_not_lengthen_the_turn(stage: Stage) -> None:
    stage.come(*range(ENDS_A_TURN))
    for number in range(ENDS_A_TURN):
        stage.report(lambda number=number: stage.come(number))  # type: ignore[misc]
    stage.clock.turn()
    assert len(stage.told) == ENDS_A_TURN
    stage.clock.run_out()
    assert stage.told == [*range(ENDS_A_TURN), *range(ENDS_A_TURN)]


def test_those_that_do_not_wait_shorten_the_turn(stage: Stage) -> None:
    stage.queue.charge()
    stage.come(*range(ENDS_A_TURN))
    assert stage.told == list(range(ENDS_A_TURN - 1))
    stage.clock.run_out()
    assert stage.told == list(range(ENDS_A_TURN))


def test_where_more_come_in_each_turn_the_queue_does_not_grow_for_ever(stage: Stage) -> None:
    more = 4 * ENDS_A_TURN
    for turn in range(20 * SHARE_A_TURN):
        stage.come(*range(turn * more, (turn + 1) * more))
        stage.clock.turn()
    assert len(stage.queue._waiting) <= (more + 1) * SHARE_A_TURN


def test_one_that_raises_is_logged_and_the_others_are_told(stage: Stage) -> None:
    def raises() -> None:
        raise ZeroDivisionError

    stage.come(*range(ENDS_A_TURN))
    stage.report(raises)
    stage.come(1000)
    with pytest.raises(AssertionError, match="could not be reported"), no_logged_failure():
        stage.clock.run_out()
    assert stage.told[-1] == 1000
    assert stage.clock.getDelayedCalls() == []
