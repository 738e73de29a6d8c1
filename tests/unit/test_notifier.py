"""The service manager learns when the balancer is ready, reloads and ends, how it does, and that it lives."""

from __future__ import annotations

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tcpbalance.event import OneTimeEvent
from tcpbalance.systemd.notification import Summary
from tcpbalance.systemd.notifier import DELIVER_WITHIN, STATUS_EVERY, Notifier


@define
class Messages:
    """A service manager that keeps what it gets."""

    all: list[str] = field(factory=list)
    waiting: list[str] = field(factory=list)
    is_full: bool = False

    def send(self, message: str) -> None:
        self.waiting.append(message)
        self.flush()

    def send_or_drop(self, message: str) -> None:
        if self.flush():
            self.all.append(message)

    def flush(self) -> bool:
        if not self.is_full:
            self.all += self.waiting
            self.waiting = []
        return not self.waiting

    def take(self) -> list[str]:
        taken, self.all = self.all, []
        return taken


@define
class FakeBalancer:
    listening: OneTimeEvent[bool] = field(factory=OneTimeEvent)
    stopped: OneTimeEvent[None] = field(factory=OneTimeEvent)
    counts: Summary = field(factory=lambda: Summary(1, 1, 2, 0))

    def when_listening(self) -> Deferred[bool]:
        return self.listening.wait()

    def stopService(self) -> Deferred[None]:
        return self.stopped.wait()

    def summary(self) -> Summary:
        return self.counts


class Stage:
    """A notifier with all that it needs."""

    def __init__(self, watchdog: float | None = None) -> None:
        self.clock = Clock()
        self.manager = Messages()
        self.balancer = FakeBalancer()
        self.notifier = Notifier(self.clock, self.manager, self.balancer, watchdog, lambda: 12.5)

    def start(self) -> None:
        self.notifier.startService()

    def become_ready(self) -> None:
        self.start()
        self.balancer.listening.settle(True)
        self.manager.take()

    def have_sessions(self, count: int) -> None:
        self.balancer.counts = evolve(self.balancer.counts, sessions=count)


STATUS = "STATUS=1 frontend, 1 of 2 backends up, 0 open sessions"
LIFE = f"WATCHDOG=1\n{STATUS}"


def test_it_is_ready_when_all_frontends_listen() -> None:
    stage = Stage()
    stage.start()
    assert stage.manager.take() == [STATUS]
    stage.clock.advance(100)
    assert stage.manager.take() == []
    stage.balancer.listening.settle(True)
    assert stage.manager.take() == [f"READY=1\n{STATUS}"]


def test_a_start_that_fails_is_never_ready() -> None:
    stage = Stage()
    stage.start()
    stage.manager.take()
    stage.balancer.listening.fail(LookupError())
    stage.notifier.reloading()
    stage.notifier.reloaded()
    assert stage.manager.take() == []


def test_the_status_is_sent_when_it_has_changed() -> None:
    stage = Stage()
    stage.become_ready()
    stage.have_sessions(7)
    stage.clock.advance(STATUS_EVERY)
    assert stage.manager.take() == ["STATUS=1 frontend, 1 of 2 backends up, 7 open sessions"]
    stage.clock.pump([STATUS_EVERY] * 10)
    assert stage.manager.take() == []


@pytest.mark.parametrize("watchdog", [0.3, 2.0, 60.0])
def test_signs_of_life_come_twice_in_the_time_asked_for(watchdog: float) -> None:
    stage = Stage(watchdog)
    stage.become_ready()
    stage.clock.pump([watchdog / 8] * 80)
    lives = stage.manager.take()
    assert set(lives) == {LIFE}
    assert len(lives) >= 20


def test_a_sign_of_life_has_the_status_with_it() -> None:
    stage = Stage(1.0)
    stage.become_ready()
    stage.have_sessions(1)
    stage.clock.advance(0.5)
    assert stage.manager.take() == ["WATCHDOG=1\nSTATUS=1 frontend, 1 of 2 backends up, 1 open session"]


def test_a_reload_begins_and_ends() -> None:
    stage = Stage()
    stage.become_ready()
    stage.notifier.reloading()
    assert stage.manager.take() == ["RELOADING=1\nMONOTONIC_USEC=12500000"]
    stage.notifier.reloaded()
    assert stage.manager.take() == [f"READY=1\n{STATUS}"]


def test_it_lives_until_the_last_session_has_ended() -> None:
    stage = Stage(1.0)
    stage.become_ready()
    ended = stage.notifier.stopService()
    assert stage.manager.take() == [f"STOPPING=1\n{STATUS}"]
    stage.clock.pump([0.5] * 10)
    assert stage.manager.take() == [LIFE] * 10
    stage.notifier.reloading()
    stage.notifier.reloaded()
    assert stage.manager.take() == []
    reported: list[object] = []
    ended.addCallback(reported.append)
    assert reported == []
    stage.balancer.stopped.settle(None)
    assert reported == [None]
    assert stage.clock.getDelayedCalls() == []


def test_one_that_never_started_has_nothing_to_report() -> None:
    stage = Stage()
    stage.balancer.stopped.settle(None)
    assert stage.notifier.stopService().called
    assert stage.manager.take() == []


@pytest.mark.parametrize("manager_reads", [True, False])
def test_what_must_arrive_is_waited_for(manager_reads: bool) -> None:
    stage = Stage()
    stage.become_ready()
    stage.manager.is_full = True
    stage.balancer.stopped.settle(None)
    reported: list[object] = []
    stage.notifier.stopService().addCallback(reported.append)
    stage.clock.pump([0.05] * 20)
    assert reported == []
    if manager_reads:
        stage.manager.is_full = False
        stage.clock.advance(0.05)
    else:
        stage.clock.pump([0.05] * int(20 * DELIVER_WITHIN))
    assert reported == [None]
    assert stage.manager.take() == [f"STOPPING=1\n{STATUS}"] * manager_reads
    assert stage.clock.getDelayedCalls() == []


def test_a_handover_arrives_while_sessions_drain() -> None:
    stage = Stage()
    stage.become_ready()
    stage.manager.is_full = True
    stage.notifier.hand_over(4711)
    stage.notifier.stopService()
    stage.manager.is_full = False
    stage.clock.advance(STATUS_EVERY)
    assert stage.manager.take() == ["READY=1\nMAINPID=4711\nWATCHDOG=1"]


def test_after_a_handover_the_other_process_reports() -> None:
    stage = Stage(1.0)
    stage.become_ready()
    stage.notifier.hand_over(4711)
    assert stage.manager.take() == ["READY=1\nMAINPID=4711\nWATCHDOG=1"]
    stage.have_sessions(3)
    stage.clock.pump([0.5] * 10)
    stage.notifier.reloading()
    stage.notifier.reloaded()
    stage.balancer.stopped.settle(None)
    assert stage.notifier.stopService().called
    assert stage.manager.take() == []
    assert stage.clock.getDelayedCalls() == []
