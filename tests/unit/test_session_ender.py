"""Of many sessions that are to end, a bounded number ends in one turn of the reactor, and each ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from support.network import no_logged_failure
from support.turning_clock import TurningClock
from tcpbalance.proxy.ending import SESSIONS_A_TURN, SessionEnder
from tcpbalance.proxy.reasons import EndReason


@define(eq=False)
class Some:
    """A session; notes its end."""

    ended: list[Some]
    served_by: Any = None
    reason: EndReason | None = None
    on_end: Callable[[Some], object] = field(default=lambda _: None)

    def end(self, reason: EndReason) -> None:
        self.on_end(self)
        self.reason = reason
        self.ended.append(self)


class Stage:
    """An ender, and sessions for it."""

    def __init__(self) -> None:
        self.clock = TurningClock()
        self.ender: Any = SessionEnder(self.clock, self.clock.seconds)
        self.ended: list[Some] = []

    def sessions(self, count: int, **settings: Any) -> list[Some]:
        return [Some(self.ended, **settings) for _ in range(count)]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_in_order_and_so_many_a_turn(stage: Stage) -> None:
    sessions = stage.sessions(3 * SESSIONS_A_TURN)
    stage.ender.end(sessions, EndReason.SHUTDOWN, None)
    for turn in (1, 2, 3):
        assert stage.ended == sessions[: turn * SESSIONS_A_TURN]
        stage.clock.turn()
    assert {session.reason for session in sessions} == {EndReason.SHUTDOWN}
    assert stage.clock.getDelayedCalls() == []


def test_a_few_end_at_once(stage: Stage) -> None:
    stage.ender.end(stage.sessions(SESSIONS_A_TURN), EndReason.SHUTDOWN, None)
    assert len(stage.ended) == SESSIONS_A_TURN
    stage.clock.run_out()
    assert stage.clock.getDelayedCalls() == []


def test_where_ends_take_long_there_are_fewer_a_turn(stage: Stage) -> None:
    def takes_long(_: Some) -> None:
        stage.clock.rightNow += 0.0004

    stage.ender.end(stage.sessions(10, on_end=takes_long), EndReason.SHUTDOWN, None)
    assert len(stage.ended) == 3
    assert stage.clock.run_out() == 3
    assert len(stage.ended) == 10


def test_one_that_has_ended_meanwhile_is_ended_no_more_and_leaves_no_call(stage: Stage) -> None:
    sessions = stage.sessions(2 * SESSIONS_A_TURN)
    stage.ender.end(sessions, EndReason.SHUTDOWN, None)
    for session in sessions[SESSIONS_A_TURN:]:
        stage.ender.forget(session)
    assert stage.clock.getDelayedCalls() == []
    assert len(stage.ended) == SESSIONS_A_TURN


def test_what_is_forgotten_within_an_end_is_not_ended(stage: Stage) -> None:
    sessions = stage.sessions(2 * SESSIONS_A_TURN, on_end=stage.ender.forget)
    stage.ender.end(sessions, EndReason.SHUTDOWN, None)
    stage.clock.run_out()
    assert stage.ended == sessions
    assert stage.clock.getDelayedCalls() == []


def test_one_that_another_backend_serves_by_then_goes_on(stage: Stage) -> None:
    one, two = object(), object()
    sessions = stage.sessions(2 * SESSIONS_A_TURN, served_by=one)
    stage.ender.end(sessions, EndReason.BACKEND_DOWN, {one})
    sessions[-1].served_by = two
    stage.clock.run_out()
    assert stage.ended == sessions[:-1]


def test_another_call_meanwhile_has_its_sessions_ended_too(stage: Stage) -> None:
    first, second = stage.sessions(2 * SESSIONS_A_TURN), stage.sessions(SESSIONS_A_TURN)
    stage.ender.end(first, EndReason.BACKEND_DOWN, None)
    stage.ender.end(second, EndReason.SHUTDOWN, None)
    assert len(stage.ended) == SESSIONS_A_TURN
    assert stage.clock.run_out() == 2
    assert set(stage.ended) == {*first, *second}


@pytest.mark.parametrize("shutdown_first", [True, False])
def test_one_that_ends_in_any_case_ends_though_its_backend_goes_down_and_changes(
    stage: Stage, shutdown_first: bool
) -> None:
    one, two = object(), object()
    sessions = stage.sessions(2 * SESSIONS_A_TURN, served_by=one)
    calls = [(EndReason.SHUTDOWN, None), (EndReason.BACKEND_DOWN, {one})]
    for reason, served_by in calls if shutdown_first else calls[::-1]:
        stage.ender.end(sessions, reason, served_by)
    sessions[-1].served_by = two
    stage.clock.run_out()
    assert sessions[-1].reason is EndReason.SHUTDOWN


def test_one_that_cannot_be_ended_is_logged_and_the_others_end(stage: Stage) -> None:
    def raises(_: Some) -> None:
        raise LookupError("broken")

    bad, good = stage.sessions(1, on_end=raises), stage.sessions(5)
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        stage.ender.end([*bad, *good], EndReason.SHUTDOWN, None)
    assert stage.ended == good
