"""Doors are shut as long as anybody has a reason, and nobody undoes the reason of another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.proxy.latch import Latch


class Door:
    """Notes how often it was shut and opened."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    @property
    def shut(self) -> bool:
        return self.calls[-1:] == ["pause"]


def latch_with(*doors: Door) -> Latch:
    latch = Latch()
    for door in doors:
        latch.attend(door)
    return latch


def test_every_door_is_shut_and_opened() -> None:
    doors = [Door(), Door()]
    latch = latch_with(*doors)
    latch.pause("full")
    latch.resume("full")
    assert [door.calls for door in doors] == [["pause", "resume"]] * 2


def test_the_last_reason_opens() -> None:
    door = Door()
    latch = latch_with(door)
    latch.pause("full")
    latch.pause("overload")
    latch.resume("full")
    assert door.calls == ["pause"]
    latch.resume("overload")
    assert door.calls == ["pause", "resume"]


def test_a_reason_given_twice_is_one() -> None:
    door = Door()
    latch = latch_with(door)
    latch.pause("full")
    latch.pause("full")
    latch.resume("full")
    assert door.calls == ["pause", "resume"]


def test_a_reason_that_does_not_stand_cannot_be_withdrawn() -> None:
    door = Door()
    latch_with(door).resume("full")
    assert door.calls == []


def test_a_door_that_comes_later_is_as_the_others() -> None:
    latch, early, late = Latch(), Door(), Door()
    latch.attend(early)
    latch.pause("full")
    latch.attend(late)
    assert late.calls == ["pause"]
    latch.resume("full")
    assert late.calls == ["pause", "resume"]
    open_one = Door()
    latch.attend(open_one)
    assert open_one.calls == []


def test_a_door_that_has_left_is_left_alone() -> None:
    door = Door()
    latch = latch_with(door)
    latch.pause("full")
    latch.leave(door)
    latch.resume("full")
    assert door.calls == ["pause"]
    with pytest.raises(ValueError, match="not in list"):
        latch.leave(door)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["full", "overload", "third"]))))
def test_it_is_shut_exactly_while_a_reason_stands(steps: list[tuple[bool, str]]) -> None:
    door = Door()
    standing: set[str] = set()
    latch = latch_with(door)
    for given_now, reason in steps:
        (latch.pause if given_now else latch.resume)(reason)
        (standing.add if given_now else standing.discard)(reason)
        assert door.shut is bool(standing)
    assert all(one != other for one, other in zip(door.calls, door.calls[1:], strict=False))
