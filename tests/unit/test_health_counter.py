"""The counter that turns passes and failures into flips."""

from __future__ import annotations

from itertools import takewhile
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.config.pools import Initial
from tcpbalance.health.counter import Flip, HealthCounter

PASS, FAIL = True, False
STARTS: tuple[Initial, ...] = get_args(Initial)


def flips(counter: HealthCounter, *results: bool) -> list[Flip | None]:
    return [counter.record(result) for result in results]


def test_an_up_backend_goes_down_with_the_last_of_fall_failures() -> None:
    counter = HealthCounter(rise=2, fall=3, initial="up")
    assert flips(counter, FAIL, FAIL, FAIL) == [None, None, Flip.DOWN]
    assert not counter.up


def test_a_pass_in_between_begins_the_count_anew() -> None:
    counter = HealthCounter(rise=2, fall=3, initial="up")
    assert flips(counter, FAIL, FAIL, PASS, FAIL, FAIL) == [None] * 5
    assert counter.up


def test_a_down_backend_comes_up_with_the_last_of_rise_passes() -> None:
    counter = HealthCounter(rise=2, fall=3, initial="down")
    assert flips(counter, PASS, FAIL, PASS, PASS) == [None, None, None, Flip.UP]
    assert counter.up


@pytest.mark.parametrize(("result", "flip"), [(PASS, Flip.UP), (FAIL, Flip.DOWN)])
def test_the_first_check_decides_alone(result: bool, flip: Flip) -> None:
    counter = HealthCounter(rise=5, fall=5, initial="checked")
    assert not counter.up
    assert flips(counter, result) == [flip]
    assert counter.up is result


def test_only_the_first_check_decides_alone() -> None:
    counter = HealthCounter(rise=2, fall=2, initial="checked")
    assert flips(counter, PASS, FAIL, PASS, FAIL, FAIL) == [Flip.UP, None, None, None, Flip.DOWN]


def test_once_is_enough_where_rise_and_fall_say_so() -> None:
    counter = HealthCounter(rise=1, fall=1, initial="down")
    assert flips(counter, PASS, FAIL, PASS) == [Flip.UP, Flip.DOWN, Flip.UP]


def naive_state(results: list[bool], rise: int, fall: int, initial: Initial) -> bool:
    """Whether it is up after these results, found by looking at the whole of the past again and again."""
    up = initial == "up"
    since = 0
    for index in range(len(results)):
        past = results[since : index + 1]
        streak = len(list(takewhile(lambda result, up=up: result != up, reversed(past))))  # type: ignore[misc]
        if initial == "checked" and index == 0:
            up, since = results[0], 1
        elif streak >= (fall if up else rise):
            up, since = not up, index + 1
    return up


@given(
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(STARTS),
)
def test_it_agrees_with_the_naive_model(results: list[bool], rise: int, fall: int, initial: Initial) -> None:
    counter = HealthCounter(rise, fall, initial)
    for count, result in enumerate(results, start=1):
        was_up = counter.up
        flip = counter.record(result)
        assert counter.up is naive_state(results[:count], rise, fall, initial)
        expected = Flip.UP if counter.up else Flip.DOWN
        first = initial == "checked" and count == 1
        assert flip is (expected if first or was_up != counter.up else None)
