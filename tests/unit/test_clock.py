"""A reactor's timers on a monotonic clock: what the wall clock does from then on changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock, LoopingCall

from support.process import run
from tcpbalance.errors import SettingError
from tcpbalance.net.clock import make_monotonic

NOON = 1_800_000_000.0
HALF_AN_HOUR = 1800.0


class ManualReactor(ReactorBase):
    """Twisted's delayed calls, and nothing to wait for but the time."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = NOON
        self.monotonic = 50.0
        self.seconds = lambda: self.wall

    def installWaker(self) -> None:
        """There is nothing that could be woken."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass on both clocks, a tenth of a second a turn."""
        for _ in range(round(seconds * 10)):
            self.wall += 0.1
            self.monotonic += 0.1
            self.runUntilCurrent()

    def switch(self) -> None:
        make_monotonic(self, lambda: self.monotonic)


@pytest.fixture
def reactor() -> ManualReactor:
    return ManualReactor()


def call_later(reactor: ManualReactor, delay: float) -> Callable[[], bool]:
    """Schedule a call; give what tells whether it was made."""
    call = reactor.callLater(delay, lambda: None)
    return lambda: not call.active()


@pytest.mark.parametrize("step", [-HALF_AN_HOUR, HALF_AN_HOUR])
def test_timers_do_not_follow_a_step(reactor: ManualReactor, step: float) -> None:
    reactor.switch()
    made = call_later(reactor, 2)
    reactor.wall += step
    reactor.pass_time(1)
    assert not made()
    reactor.pass_time(1.1)
    assert made()


def test_without_it_they_do(reactor: ManualReactor) -> None:
    """What the module is for; Twisted may change that."""
    made = call_later(reactor, 2)
    reactor.wall -= HALF_AN_HOUR
    reactor.pass_time(10)
    assert not made()


def test_calls_made_before_keep_their_time(reactor: ManualReactor) -> None:
    waiting, new = call_later(reactor, 1), call_later(reactor, 3)
    cancelled = reactor.callLater(0.5, lambda: None)
    reactor.runUntilCurrent()  # From the new calls to those that wait.
    cancelled.cancel()
    newest = call_later(reactor, 2)
    reactor.switch()
    reactor.wall -= HALF_AN_HOUR
    reactor.pass_time(1.1)
    assert (waiting(), newest(), new()) == (True, False, False)
    reactor.pass_time(1)
    assert (newest(), new()) == (True, False)
    reactor.pass_time(1)
    assert new()


def test_calls_made_before_can_be_reset(reactor: ManualReactor) -> None:
    call = reactor.callLater(5, lambda: None)
    reactor.switch()
    reactor.wall += HALF_AN_HOUR
    call.reset(2)
    reactor.pass_time(1.5)
    assert call.active()
    reactor.pass_time(0.6)
    assert not call.active()


def test_a_loop_goes_on(reactor: ManualReactor) -> None:
    times: list[float] = []
    loop = LoopingCall(lambda: times.append(reactor.monotonic))
    loop.clock = reactor
    loop.start(1)
    reactor.switch()
    reactor.pass_time(1.5)
    reactor.wall -= HALF_AN_HOUR
    reactor.pass_time(2)
    assert times == pytest.approx([50, 51, 52, 53], abs=0.2)


def test_again_changes_nothing(reactor: ManualReactor) -> None:
    reactor.switch()
    reactor.wall += HALF_AN_HOUR
    before = reactor.seconds()
    reactor.switch()
    assert reactor.seconds() == pytest.approx(before) == pytest.approx(NOON)


def test_a_clock_that_is_none_of_a_reactor_is_refused() -> None:
    with pytest.raises(SettingError, match="reactor Clock: its clock cannot be replaced"):
        make_monotonic(Clock())


SCRIPT = """
import time
from twisted.internet import {name}reactor
{name}reactor.install()
from twisted.internet import base, reactor
from tcpbalance.net.clock import make_monotonic

wall = time.time
before = reactor.callLater(0.1, lambda: None)
{switch}
base.ReactorBase.seconds = staticmethod(lambda: wall() - 1800)
reactor.callLater(0.1, reactor.stop)
# A silent end instead of a wait of half an hour.
import signal
signal.signal(signal.SIGALRM, lambda *_: reactor.callFromThread(reactor.stop))
reactor.callWhenRunning(signal.setitimer, signal.ITIMER_REAL, 20)
reactor.run()
print("late" if before.active() else "in time")
"""


def first_call(name: str, switch: str = "make_monotonic(reactor)") -> Any:
    script = SCRIPT.format(name=name, switch=switch)
    return run([sys.executable, "-c", script]).strip()


@pytest.mark.parametrize("name", ["epoll", "poll", "select", "asyncio"])
def test_every_reactor_runs_on_it(name: str) -> None:
    assert first_call(name) == "in time"


def test_a_reactor_without_it_is_late() -> None:
    assert first_call("epoll", switch="") == "late"
