"""Which children are reaped as orphans, and which are left to those that wait for them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from twisted.internet import process
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from support.pools import a_pool, some_backends
from tcpbalance.api import Balancer, Frontend
from tcpbalance.daemon import daemon
from tcpbalance.environment import Environment
from tcpbalance.orphans import SEARCH_EVERY, OrphanReaper

STATUS = 7


def ended_child(*, own_session: bool) -> int:
    """Start a child, and return when it has ended and nobody has asked for its status."""
    pid = os.fork()
    if not pid:
        if own_session:
            os.setsid()
        os._exit(STATUS)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def status(pid: int) -> int | None:
    """The exit status of a child, None when somebody else has been told."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, os.WNOHANG)[1])
    except ChildProcessError:
        return None


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of a reaper that runs."""
    clock = Clock()
    reaper = OrphanReaper(clock)
    reaper.startService()
    yield clock
    reaper.stopService()
    assert clock.getDelayedCalls() == []


def test_an_orphan_is_reaped_at_the_second_look(clock: Clock) -> None:
    one, other = (ended_child(own_session=True) for _ in range(2))
    clock.advance(SEARCH_EVERY)
    assert status(one) == STATUS
    clock.advance(SEARCH_EVERY)
    assert status(other) is None


def test_what_twisted_waits_for_is_left_to_it(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = ended_child(own_session=True)
    monkeypatch.setitem(process.reapProcessHandlers, pid, None)
    orphan = ended_child(own_session=True)
    clock.pump([SEARCH_EVERY] * 3)
    assert status(orphan) is None
    assert status(pid) == STATUS


def test_what_was_started_in_our_session_is_left_to_who_started_it(clock: Clock) -> None:
    pid = ended_child(own_session=False)
    clock.pump([SEARCH_EVERY] * 3)
    assert status(pid) == STATUS


@pytest.mark.parametrize(("pid", "reapers"), [(1, 1), (2, 0)])
def test_only_the_first_process_reaps(pid: int, reapers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only the daemon does: an application that embeds a balancer waits for its own children."""
    monkeypatch.setattr("os.getpid", lambda: pid)
    reactor = MemoryReactorClock()
    balancer = Balancer(reactor, [Frontend("web", "127.0.0.1:80", a_pool(some_backends(1)))])
    service = daemon(reactor, balancer, Environment())
    assert sum(isinstance(part, OrphanReaper) for part in service) == reapers
