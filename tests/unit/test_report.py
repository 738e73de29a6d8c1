"""The first of many is told at once, the rest soon after, in a line a second at most."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.net.wheel import RESOLUTION, Wheel
from tcpbalance.proxy.report import QUIET, Report

TICK = 1 / 64


class Told:
    """A report on a wheel; each line is when it came, and how many it told of."""

    def __init__(self, start: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(start)
        self.wheel = Wheel(self.clock, self.clock.seconds)
        self.report = Report(self.wheel, self._tell)
        self.untold = 0
        self.lines: list[tuple[float, int]] = []

    def _tell(self) -> None:
        self.lines.append((self.clock.seconds(), self.untold))
        self.untold = 0

    def note(self, times: int = 1) -> None:
        for _ in range(times):
            self.untold += 1
            self.report.note()

    def wait(self, seconds: float) -> None:
        self.clock.pump([TICK] * int(seconds / TICK))

    @property
    def idle(self) -> bool:
        return not self.clock.getDelayedCalls()


def test_one_is_told_at_once_and_nothing_follows() -> None:
    told = Told()
    told.note()
    assert told.lines == [(0.0, 1)]
    told.wait(3)
    assert told.lines == [(0.0, 1)]
    assert told.idle


def test_what_follows_is_told_by_itself() -> None:
    told = Told()
    told.note(5)
    told.wait(3)
    assert [count for _, count in told.lines] == [1, 4]
    assert QUIET <= told.lines[1][0] <= QUIET + RESOLUTION
    told.wait(3)
    assert told.idle


def test_a_flood_is_a_line_a_second() -> None:
    told = Told()
    for _ in range(10 * 64):
        told.note()
        told.wait(TICK)
    told.wait(3)
    assert 8 <= len(told.lines) <= 11
    assert sum(count for _, count in told.lines) == 640
    assert told.idle


def test_at_the_end_the_rest_is_told_and_nothing_is_left() -> None:
    told = Told()
    told.note(3)
    told.report.finish()
    assert [count for _, count in told.lines] == [1, 2]
    assert told.idle
    told.report.finish()
    assert len(told.lines) == 2


def test_after_an_end_it_goes_on() -> None:
    told = Told()
    told.report.finish()
    told.note()
    assert [count for _, count in told.lines] == [1]


@given(
    start=st.floats(0, 2),
    steps=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 3)), max_size=20),
)
def test_nothing_is_lost_nothing_is_late_and_lines_lie_apart(
    start: float, steps: list[tuple[int, float]]
) -> None:
    told = Told(start)
    noted = 0
    for count, pause in steps:
        told.note(count)
        noted += count
        told.wait(pause)
    told.wait(QUIET + 2 * RESOLUTION)
    assert sum(count for _, count in told.lines) == noted
    assert all(count for _, count in told.lines)
    assert all(later - earlier >= QUIET - TICK for (earlier, _), (later, _) in pairwise(told.lines))
    told.wait(QUIET + RESOLUTION)
    assert told.idle
