"""The first event is written at once, what follows an interval later, and no count is lost."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.network import no_logged_failure
from tcpbalance.rate_limited_log import RateLimitedLog

TICK = 1 / 64
INTERVAL = 1.0


class Written:
    """A log, and its lines: when each was written, how many of each kind, and the last detail."""

    def __init__(self, start: float = 0.0, timer: bool = True, interval: float = INTERVAL) -> None:
        self.clock = Clock()
        self.clock.advance(start)
        self.lines: list[tuple[float, dict[str, int], int]] = []
        self.log = RateLimitedLog(self._write, self.clock.seconds, self.clock if timer else None, interval)
        self.noted = 0

    def _write(self, counts: Counter[str], detail: int) -> None:
        self.lines.append((self.clock.seconds(), dict(counts), detail))

    def note(self, times: int = 1, kind: str = "some") -> None:
        for _ in range(times):
            self.noted += 1
            self.log.note(kind, self.noted)

    def wait(self, seconds: float) -> None:
        self.clock.pump([TICK] * int(seconds / TICK))

    @property
    def counts(self) -> list[int]:
        return [sum(counts.values()) for _, counts, _ in self.lines]

    @property
    def idle(self) -> bool:
        return not self.clock.getDelayedCalls()


def test_one_event_is_written_at_once_and_leaves_no_timer() -> None:
    written = Written()
    written.note()
    assert written.lines == [(0.0, {"some": 1}, 1)]
    assert written.idle


def test_what_follows_is_written_at_the_end_of_the_interval_though_nothing_else_comes() -> None:
    written = Written()
    written.note(500)
    written.wait(INTERVAL - TICK)
    assert written.counts == [1]
    written.wait(TICK)
    assert written.lines[1:] == [(INTERVAL, {"some": 499}, 500)]
    written.wait(3 * INTERVAL)
    assert (len(written.lines), written.idle) == (2, True)


def test_the_interval_begins_anew_with_each_line() -> None:
    written = Written(interval=60.0)
    written.note(2)
    written.wait(60.0)
    written.note()
    written.wait(60.0)
    assert [when for when, *_ in written.lines] == [0.0, 60.0, 120.0]


def test_kinds_are_counted_apart_and_share_the_line() -> None:
    written = Written()
    written.note()
    written.note(2, "other")
    written.note(3)
    written.wait(INTERVAL)
    assert written.lines[1:] == [(INTERVAL, {"other": 2, "some": 3}, 6)]


def test_an_event_may_stand_for_many() -> None:
    written = Written()
    written.log.note("some", 0, 40)
    written.log.note("some", 0, 2)
    written.log.flush()
    assert written.counts == [40, 2]


def test_at_the_end_what_is_held_back_is_written_and_no_timer_is_left() -> None:
    written = Written()
    written.note(3)
    written.log.flush()
    assert written.counts == [1, 2]
    assert written.idle
    written.log.flush()
    assert written.counts == [1, 2]


def test_it_goes_on_after_a_flush() -> None:
    written = Written()
    written.log.flush()
    written.note(2)
    written.wait(INTERVAL)
    assert written.counts == [1, 1]


def test_without_a_timer_the_next_event_after_the_interval_brings_what_was_held_back() -> None:
    written = Written(timer=False)
    written.note(5)
    assert written.idle
    written.wait(INTERVAL)
    assert written.counts == [1]
    written.note()
    assert written.counts == [1, 5]


def test_a_timer_that_comes_too_late_holds_up_no_event() -> None:
    """As a reactor does whose clock was set back."""
    clock, times = Clock(), [0.0]
    lines: list[int] = []
    log: RateLimitedLog[None, None] = RateLimitedLog(
        lambda counts, _: lines.append(counts.total()), lambda: times[0], clock
    )
    log.note(None, None)
    log.note(None, None)
    times[0] = 1.5
    log.note(None, None)
    assert lines == [1, 2]
    times[0] = 2.0
    log.note(None, None)
    clock.advance(1.0)
    assert lines == [1, 2], "half a second after the last line"
    times[0] = 2.5
    clock.advance(0.5)
    assert lines == [1, 2, 1]
    assert clock.getDelayedCalls() == []


@given(
    start=st.floats(0, 2),
    steps=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 3)), max_size=20),
)
def test_nothing_is_lost_nothing_is_late_and_lines_lie_apart(
    start: float, steps: list[tuple[int, float]]
) -> None:
    written = Written(start)
    for count, pause in steps:
        written.note(count)
        written.wait(pause)
    written.wait(INTERVAL + TICK)
    assert sum(written.counts) == written.noted
    assert all(written.counts)
    assert all(later[0] - earlier[0] >= INTERVAL - 1e-9 for earlier, later in pairwise(written.lines))
    assert written.idle


def test_a_line_that_cannot_be_made_is_logged_and_does_not_concern_who_noted_it() -> None:
    def write(counts: Counter[None], detail: object) -> None:
        raise LookupError("broken")

    clock = Clock()
    log: RateLimitedLog[None, None] = RateLimitedLog(write, clock.seconds, clock)
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        log.note(None, None)
    assert clock.getDelayedCalls() == []
