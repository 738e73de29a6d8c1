"""What follows from readings: when doors are shut and opened again, when sessions are ended, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.overload.judge import (
    ABOVE_REST,
    CALM_AFTER,
    MAX_BUFFERED,
    RESUME_BELOW,
    SESSION_MEMORY,
    Judge,
    Reading,
    Resource,
    Step,
    how_many,
)

BOUND = 1000
RESUME = RESUME_BELOW * BOUND


class Process:
    """A judge that is told of a process at rest with little, and then of what comes."""

    def __init__(self, at_rest: int = 100) -> None:
        self.judge = Judge()
        self.read(at_rest, sessions=0)

    def read(self, *used: int, sessions: int = 50) -> list[Step]:
        """Take a reading of descriptors after another, each with the same sessions."""
        return [self.judge.step([reading(each)], sessions) for each in used]


def reading(used: int, resource: Resource = "descriptors", bound: int = BOUND) -> Reading:
    return Reading(resource, used, bound)


def test_nothing_is_done_below_the_bound() -> None:
    process = Process()
    assert set(process.read(0, 500, 999)) == {Step.NOTHING}
    assert not process.judge.shut


@pytest.mark.parametrize("used", [1000, 1001, 5000])
def test_at_the_bound_the_doors_are_shut_and_next_time_sessions_are_ended(used: int) -> None:
    process = Process()
    assert process.read(used, used, used) == [Step.PAUSE, Step.END, Step.END]
    assert process.judge.shut


def test_well_below_the_doors_are_opened_at_once() -> None:
    process = Process()
    assert process.read(1000, 949, 949) == [Step.PAUSE, Step.RESUME, Step.NOTHING]
    assert not process.judge.shut


def test_just_below_they_are_opened_after_some_time() -> None:
    process = Process()
    just_below = [Step.NOTHING] * (CALM_AFTER - 1) + [Step.RESUME]
    assert process.read(1000, *[999] * CALM_AFTER) == [Step.PAUSE, *just_below]


def test_just_below_counts_in_a_row() -> None:
    process = Process()
    process.read(1000, *[999] * (CALM_AFTER - 1))
    assert process.read(1000) == [Step.END]
    assert Step.RESUME not in process.read(*[999] * (CALM_AFTER - 1))


def test_all_must_be_well_below() -> None:
    judge = Judge()

    def step(memory: int, descriptors: int) -> Step:
        return judge.step([reading(memory, "memory"), reading(descriptors)], 50)

    assert step(500, 1000) is Step.PAUSE
    assert step(1000, 500) is Step.END
    assert step(960, 500) is Step.NOTHING
    assert step(500, 500) is Step.RESUME


def test_with_no_session_open_it_is_never_shut() -> None:
    process = Process()
    process.read(1000, 1000)
    assert process.read(1000, sessions=0) == [Step.RESUME]
    assert process.read(3000, sessions=0) == [Step.NOTHING]


def test_a_bound_below_what_there_is_at_rest_moves_a_little_above_that() -> None:
    process = Process(at_rest=2000)
    assert set(process.read(2000, 2199)) == {Step.NOTHING}
    assert process.read(2200, 2200) == [Step.PAUSE, Step.END]
    assert process.judge.excess(reading(2200)) == pytest.approx(2200 - RESUME_BELOW * ABOVE_REST * 2000)


def test_it_moves_back() -> None:
    process = Process(at_rest=2000)
    process.read(100, sessions=0)
    assert process.read(1000) == [Step.PAUSE]


def test_the_excess_is_down_to_where_doors_are_opened() -> None:
    process = Process()
    process.read(1000)
    assert process.judge.excess(reading(1000)) == pytest.approx(1000 - RESUME)
    assert process.judge.excess(reading(int(RESUME))) == 0
    assert (process.judge.reached(reading(999)), process.judge.reached(reading(1000))) == (False, True)


readings = st.lists(st.tuples(st.integers(0, 3 * BOUND), st.integers(0, 2)), max_size=60)


@given(st.integers(0, 2 * BOUND), readings)
def test_sessions_are_ended_only_behind_shut_doors_and_while_there_are_any(
    at_rest: int, steps: list[tuple[int, int]]
) -> None:
    process, shut = Process(at_rest), False
    for used, sessions in steps:
        (step,) = process.read(used, sessions=sessions)
        assert (step is Step.PAUSE) <= (not shut)
        assert (step in {Step.END, Step.RESUME}) <= shut
        assert (step in {Step.PAUSE, Step.END}) <= (used >= BOUND and sessions > 0)
        shut = process.judge.shut
        assert shut <= (sessions > 0)


@given(st.integers(0, 2 * BOUND), readings, st.integers(0, 999))
def test_no_door_stays_shut_below_the_bound(at_rest: int, steps: list[tuple[int, int]], used: int) -> None:
    process = Process(at_rest)
    for before, sessions in steps:
        process.read(before, sessions=sessions)
    process.read(*[used] * CALM_AFTER)
    assert not process.judge.shut


# How many


def test_two_descriptors_each() -> None:
    assert [how_many([0] * 9, {"descriptors": excess}) for excess in (0.1, 2, 2.1, 17, 1e9)] == [
        1,
        1,
        2,
        9,
        9,
    ]


def test_memory_by_what_they_buffer_themselves() -> None:
    large, small = MAX_BUFFERED, 1000
    assert how_many([large, small, small], {"memory": large + SESSION_MEMORY}) == 1
    assert how_many([large, small, small], {"memory": large + SESSION_MEMORY + 1}) == 2


def test_what_the_kernel_holds_sets_nothing_free_here() -> None:
    assert how_many([10 * MAX_BUFFERED] * 9, {"memory": 3 * (MAX_BUFFERED + SESSION_MEMORY)}) == 3


def test_both() -> None:
    assert how_many([0] * 9, {"memory": 3 * SESSION_MEMORY, "descriptors": 2}) == 3
    assert how_many([0] * 9, {"memory": 1, "descriptors": 10}) == 5


def test_at_least_one_and_no_more_than_there_are() -> None:
    assert how_many([5], {}) == 1
    assert how_many([], {"descriptors": 5}) == 0
