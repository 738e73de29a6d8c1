"""The guard reads each second, shuts the doors of all frontends, ends the biggest sessions, and says so."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.quantities import Fraction, Size
from tcpbalance.net.descriptors import limit
from tcpbalance.overload import gauges
from tcpbalance.overload.guard import READ_EVERY, OverloadGuard, Watch, watches
from tcpbalance.overload.judge import CALM_AFTER, MAX_AT_ONCE
from tcpbalance.proxy.accept_pause import AcceptPause
from tcpbalance.proxy.reasons import EndReason

MIB = 2**20


class Acceptor:
    """Knows whether it is shut."""

    shut = False

    def pauseProducing(self) -> None:
        self.shut = True

    def resumeProducing(self) -> None:
        self.shut = False

    def getHost(self) -> Any:
        raise NotImplementedError


@define(eq=False)
class Session:
    """Holds bytes, and leaves when it is ended."""

    frontend: Frontend
    buffered: int
    reason: EndReason | None = None

    def end(self, reason: EndReason) -> None:
        self.reason = reason
        self.frontend.sessions.remove(self)


@define(eq=False)
class Frontend:
    """What the guard sees of a frontend."""

    door: Acceptor = field(factory=Acceptor)
    accept_pause: AcceptPause = field(factory=AcceptPause)
    sessions: set[Session] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.accept_pause.pause_on(self.door)

    def end(self, sessions: Iterable[Session], reason: EndReason) -> None:
        for session in sessions:
            session.end(reason)

    def open(self, *buffered: int) -> list[Session]:
        """Open sessions that hold so many bytes each."""
        made = [Session(self, size) for size in buffered]
        self.sessions.update(made)
        return made


class Guarded:
    """A guard of two frontends, and what it reads."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.frontends = [Frontend(), Frontend()]
        self.memory: int | OSError = 10 * MIB
        self.descriptors: int | OSError = 10
        watched = [
            Watch("memory", lambda: _reading(self.memory), lambda: 100 * MIB),
            Watch("descriptors", lambda: _reading(self.descriptors), lambda: 100),
        ]
        factories: Any = self.frontends
        self.guard = OverloadGuard(self.clock, factories, watched)

    def look(self, times: int = 1) -> None:
        """Let some looks go by."""
        self.clock.pump([READ_EVERY] * times)

    def shut(self) -> bool:
        """Whether all doors are, and not just one."""
        shut = [frontend.door.shut for frontend in self.frontends]
        assert len(set(shut)) == 1
        return shut[0]


def _reading(value: int | OSError) -> int:
    if isinstance(value, OSError):
        raise value
    return value


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


@pytest.fixture
def guarded(logged: Sequence[LogEvent]) -> Iterator[Guarded]:
    made = Guarded()
    made.guard.startService()
    yield made
    made.guard.stopService()
    assert made.clock.getDelayedCalls() == []
    assert not made.shut()


def lines(logged: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in logged]


def reasons(sessions: Sequence[Session]) -> list[bool]:
    """Whether each was ended, for want of memory or descriptors."""
    assert {session.reason for session in sessions} <= {None, EndReason.OVERLOAD}
    return [session.reason is not None for session in sessions]


def test_a_frontend_that_comes_during_an_overload_is_paused_with_the_others(guarded: Guarded) -> None:
    guarded.frontends[0].open(1)
    guarded.descriptors = 100
    guarded.look()
    guarded.frontends.append(Frontend())
    frontends: Any = guarded.frontends
    guarded.guard.watch_over(frontends)
    assert guarded.shut()
    guarded.descriptors = 10
    guarded.look()
    assert not guarded.shut()


def test_an_overload_from_its_first_reading_to_its_end(guarded: Guarded, logged: Sequence[LogEvent]) -> None:
    here, there = guarded.frontends
    sessions = [*here.open(3000, 1, 5000), *there.open(2, 4000)]
    guarded.look()
    assert not guarded.shut()
    guarded.descriptors = 100
    guarded.look()
    assert (guarded.shut(), any(reasons(sessions))) == (True, False)
    guarded.look()
    assert reasons(sessions) == [True, False, True, False, True]
    guarded.descriptors = 94
    guarded.look()
    assert not guarded.shut()
    guarded.look(5)
    assert lines(logged) == [
        "overload: memory 10.0 MiB of 100.0 MiB, descriptors 100 of 100; accepting is paused",
        (
            "overload: memory 10.0 MiB of 100.0 MiB, descriptors 100 of 100; ended 3 of 5 sessions, those "
            "that buffered most (0.0 MiB in flight)"
        ),
        "overload: memory 10.0 MiB of 100.0 MiB, descriptors 94 of 100; clients are accepted again",
    ]


def test_what_is_only_near_its_bound_ends_nobody(guarded: Guarded) -> None:
    sessions = guarded.frontends[0].open(*[0] * 60)
    guarded.memory, guarded.descriptors = 99 * MIB, 100
    guarded.look(2)
    assert sum(reasons(sessions)) == 3


def test_memory_is_counted_by_what_sessions_buffer(guarded: Guarded) -> None:
    sessions = guarded.frontends[0].open(*[128 * 1024] * 60)
    guarded.memory = 100 * MIB
    guarded.look(2)
    # 5 MiB, and each has 128 KiB and something for itself.
    assert sum(reasons(sessions)) == 39


def test_so_many_at_once(guarded: Guarded) -> None:
    sessions = guarded.frontends[0].open(*[0] * (MAX_AT_ONCE + 10))
    guarded.descriptors = 10_000
    guarded.look(2)
    assert sum(reasons(sessions)) == MAX_AT_ONCE
    guarded.look()
    assert all(reasons(sessions))


def test_with_nobody_left_it_opens_and_says_what_to_do(guarded: Guarded, logged: Sequence[LogEvent]) -> None:
    guarded.frontends[0].open(7)
    guarded.memory = 200 * MIB
    guarded.look(3)
    assert not guarded.shut()
    assert lines(logged)[2:] == [
        (
            "overload: memory 200.0 MiB of 100.0 MiB with no session open, which no ended session can "
            "change, so clients are accepted up to a little more than that; raise memory in [overload]"
        ),
        "overload: memory 200.0 MiB of 100.0 MiB, descriptors 10 of 100; clients are accepted again",
    ]
    guarded.frontends[0].open(7)
    guarded.look(30)
    guarded.frontends[0].sessions.clear()
    guarded.look(30)
    assert (guarded.shut(), len(logged)) == (False, 4)


def test_a_bound_that_is_too_low_is_told_of_at_the_start(logged: Sequence[LogEvent]) -> None:
    guarded = Guarded()
    guarded.descriptors = 100
    guarded.guard.startService()
    guarded.look(10)
    guarded.guard.stopService()
    (line,) = lines(logged)
    assert line.startswith("overload: descriptors 100 of 100 with no session open, ")
    assert line.endswith("raise descriptors in [overload]")
    assert logged[0]["log_level"] is LogLevel.warn


def test_told_again_once_it_had_changed(guarded: Guarded, logged: Sequence[LogEvent]) -> None:
    for descriptors in (100, 100, 50, 120):
        guarded.descriptors = descriptors
        guarded.look()
    assert len(logged) == 2


def test_its_begin_and_its_end_are_events(guarded: Guarded) -> None:
    events: list[Any] = []
    guarded.guard.on_event = lambda kind, about: events.append((kind, about))
    guarded.frontends[0].open(1)
    for descriptors in (100, 100, 10, 10):
        guarded.descriptors = descriptors
        guarded.look()
    assert events == [
        ("overload_begins", {"state": "memory 10.0 MiB of 100.0 MiB, descriptors 100 of 100"}),
        ("overload_ends", {"state": "memory 10.0 MiB of 100.0 MiB, descriptors 10 of 100"}),
    ]


def test_a_gap_ends_after_a_while(guarded: Guarded) -> None:
    guarded.frontends[0].open(1)
    guarded.descriptors = 100
    guarded.look()
    guarded.descriptors = 99
    guarded.look(CALM_AFTER - 1)
    assert guarded.shut()
    guarded.look()
    assert not guarded.shut()


def test_for_want_of_a_descriptor_to_read_it_memory_is_left_out(guarded: Guarded) -> None:
    guarded.frontends[0].open(1)
    guarded.memory = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    guarded.look(3)
    assert not guarded.shut()
    guarded.descriptors = 100
    guarded.look()
    assert guarded.shut()
    guarded.descriptors = guarded.memory
    guarded.look(CALM_AFTER + 5)
    assert guarded.shut(), "nothing is known"


def test_what_cannot_be_read_here_is_told_once_and_not_watched(logged: Sequence[LogEvent]) -> None:
    guarded = Guarded()
    guarded.memory = OSError(errno.ENOENT, "no such file or directory", "/proc/self/statm")
    guarded.guard.startService()
    guarded.frontends[0].open(1)
    guarded.descriptors = 100
    guarded.look()
    assert guarded.shut()
    guarded.guard.stopService()
    assert lines(logged) == [
        (
            "overload: memory cannot be watched on this system: [Errno 2] no such file or directory: "
            "'/proc/self/statm'"
        ),
        "overload: descriptors 100 of 100; accepting is paused",
    ]


def test_nothing_to_watch_is_no_work(logged: Sequence[LogEvent]) -> None:
    clock = Clock()
    guard = OverloadGuard(clock, [], [])
    guard.startService()
    assert clock.getDelayedCalls() == []
    guard.stopService()
    assert not logged


def test_a_look_that_fails_is_not_the_last(guarded: Guarded, logged: Sequence[LogEvent]) -> None:
    good = guarded.frontends[0].sessions
    guarded.frontends[0].sessions = None  # type: ignore[assignment]  # to make it fail
    guarded.look()
    assert [event["log_failure"].type for event in logged] == [TypeError]
    guarded.frontends[0].sessions = good
    guarded.frontends[0].open(1)
    guarded.descriptors = 100
    guarded.look()
    assert guarded.shut()


def test_it_starts_anew(guarded: Guarded) -> None:
    guarded.frontends[0].open(1)
    guarded.descriptors = 100
    guarded.look()
    guarded.guard.stopService()
    assert not guarded.shut()
    guarded.descriptors = 10
    guarded.guard.startService()
    guarded.look()
    assert not guarded.shut()


# What is watched


def test_bounds_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = iter([1000, 2001])
    monkeypatch.setattr("tcpbalance.net.descriptors.limit", lambda: next(limits))
    memory, descriptors = watches(
        OverloadConfig(memory=Size.parse("1MiB"), descriptors=Fraction.parse("90%"))
    )
    assert (memory.resource, memory.bound()) == ("memory", MIB)
    assert descriptors.resource == "descriptors"
    assert [descriptors.bound() for _ in range(2)] == [900, 1800], "the limit may be moved"


@pytest.mark.parametrize(
    ("config", "resources"),
    [
        (OverloadConfig(memory=1), ["memory"]),
        (OverloadConfig(descriptors=0.5), ["descriptors"]),
    ],
)
def test_what_is_absent_is_not_watched(config: OverloadConfig, resources: list[str]) -> None:
    assert [watch.resource for watch in watches(config)] == resources


def test_descriptors_are_read_where_the_kernel_says_it_and_where_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = gauges.open_descriptors()
    one, two = os.pipe()
    try:
        assert gauges.open_descriptors() == before + 2
        assert _on_an_old_kernel(monkeypatch, gauges.open_descriptors) == before + 2
    finally:
        os.close(one)
        os.close(two)
    assert gauges.open_descriptors() == before


def test_with_none_left_to_count_with_all_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(_: str) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "listdir", counted)
    assert _on_an_old_kernel(monkeypatch, gauges.open_descriptors) == limit()


def _on_an_old_kernel(monkeypatch: pytest.MonkeyPatch, read: Callable[[], int]) -> int:
    stat = os.stat
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: stat("/proc/self") if path == "/proc/self/fd" else stat(path))
        return read()


def test_memory_that_was_given_back_is_seen_to_be() -> None:
    before = gauges.resident_memory()
    size = 40_000
    blocks = [b"x" * size for _ in range(2000)]
    held = gauges.resident_memory()
    assert held >= before + 60 * MIB
    # The last of them is at the end of the heap, and keeps it from getting shorter by itself.
    del blocks[:-1]
    gauges.trim_memory()
    assert gauges.resident_memory() <= held - 60 * MIB


class Circle:
    """Refers to itself, so that only the collector finds it."""

    def __init__(self) -> None:
        self.me = self


def test_what_is_dead_and_not_gone_yet_goes_before_anybody_else(guarded: Guarded) -> None:
    sessions = guarded.frontends[0].open(1)
    gc.collect()
    gc.disable()
    try:
        circle = weakref.ref(Circle())
        guarded.memory = 100 * MIB
        guarded.look()
        assert guarded.shut()
        assert circle() is None
        assert sessions[0].reason is None
    finally:
        gc.enable()
