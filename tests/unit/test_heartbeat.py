"""What does not answer for as long as it may is ended: not earlier, and not much later."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.workers.heartbeat import BEATS, START_WITHIN, Heartbeat, Pulse

TIMEOUT = 10.0


class Beaten:
    """A process that answers at once while it runs."""

    def __init__(self, clock: Clock) -> None:
        self.pulse = Pulse(TIMEOUT)
        self.clock = clock
        self.runs = True
        self.ended: float | None = None

    def beat(self) -> None:
        if self.ended is None and self.pulse.beat():
            self.ended = self.clock.seconds()
        elif self.runs:
            self.pulse.answered()

    def go_on(self) -> None:
        """Answer what was asked meanwhile."""
        self.runs = True
        self.pulse.answered()


class Beating:
    """One process that has answered, and the heartbeat."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.process = Beaten(self.clock)
        self.heartbeat = Heartbeat(self.clock, lambda: [self.process], TIMEOUT)
        self.heartbeat.start()

    def run(self, seconds: float) -> None:
        for _ in range(math.ceil(seconds * 100)):
            self.clock.advance(0.01)


@given(st.floats(0, 30), st.floats(0, 3 * TIMEOUT))
def test_one_that_is_stopped_for_less_goes_on(answers_for: float, stopped_for: float) -> None:
    beating = Beating()
    beating.run(answers_for)
    beating.process.runs = False
    stopped = beating.clock.seconds()
    beating.run(stopped_for)
    beating.process.go_on()
    beating.run(2 * TIMEOUT)
    ended = beating.process.ended
    if stopped_for < TIMEOUT - 0.02:
        assert ended is None
    if stopped_for > TIMEOUT + TIMEOUT / BEATS + 0.02:
        assert ended is not None
        assert TIMEOUT - 0.02 <= ended - stopped <= TIMEOUT + TIMEOUT / BEATS + 0.02


def test_a_supervisor_that_was_stopped_itself_ends_nothing() -> None:
    beating = Beating()
    beating.run(1)
    beating.clock.advance(600)
    beating.run(60)
    assert beating.process.ended is None


def test_the_first_answer_may_take_longer() -> None:
    beating = Beating()
    beating.process.pulse = Pulse(TIMEOUT)
    beating.process.runs = False
    beating.run(START_WITHIN - 0.1)
    assert beating.process.ended is None
    beating.run(TIMEOUT)
    assert beating.process.ended is not None


@pytest.mark.parametrize("timeout", [0.5, 10.0, 600.0])
def test_a_pulse_ends_soon_where_no_answers_come_any_more(timeout: float) -> None:
    pulse = Pulse(timeout)
    pulse.answered()
    pulse.beat()
    pulse.is_ending()
    assert [pulse.beat(), pulse.beat()] == [False, True]
    assert pulse.silence == 3 * timeout / BEATS


def test_it_stops() -> None:
    beating = Beating()
    beating.heartbeat.stop()
    assert beating.clock.getDelayedCalls() == []
