"""The monitor: when it checks, what it makes of the outcomes, and what it leaves behind when it stops."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError, getConnectError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from support.sockets import fired
from tcpbalance import NoVerdict, Probe, ProbeFailed, Target
from tcpbalance.config.addresses import Address
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.errors import SettingError
from tcpbalance.health.monitor import STARTED_A_TURN, STOP_GRACE, HealthMonitor
from tcpbalance.health.probe_run import ProbeRun
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool

Answer = Callable[[], Any]

NOBODY = "pool web: no backend left: 1 down"
"""What follows when the only one goes down."""

INSTANT = 1e-9
"""Seconds; what makes up for the rounding of a sum of times."""


def passes() -> Deferred[None]:
    return succeed(None)


def connect_error(number: int) -> ConnectError:
    """What Twisted's clients fail with."""
    error: ConnectError = getConnectError((number, os.strerror(number)))
    return error


def refused() -> Deferred[None]:
    return fail(connect_error(errno.ECONNREFUSED))


def hangs() -> Deferred[None]:
    return Deferred()


@define(eq=False)
class FakeProbe:
    """Answers as it is told, for each backend, and remembers when it was asked."""

    answers: dict[str, Answer] = field(factory=dict)
    otherwise: Answer = passes
    calls: list[tuple[float, str]] = field(factory=list)

    def check(self, target: Target) -> Deferred[None]:
        self.calls.append((target.reactor.seconds(), target.name))
        answer: Deferred[None] = self.answers.get(target.name, self.otherwise)()
        return answer

    def times(self, name: str) -> list[float]:
        return [when for when, whom in self.calls if whom == name]


@frozen
class Bench:
    """A monitor under a clock of its own."""

    clock: Clock
    pool: Pool
    probe: Any
    monitor: HealthMonitor
    went_down: list[Backend]

    @classmethod
    def of(cls, probe: Any, names: str = "a", **settings: Any) -> Bench:
        clock = Clock()
        backends = [Backend(f"10.0.0.{number}:80", name) for number, name in enumerate(names, start=1)]
        went_down: list[Backend] = []
        on_down = settings.pop("on_down", went_down.append)
        config = HealthConfig(probe=probe, **{"interval": 10.0, "timeout": 1.0, **settings})
        pool = Pool("web", backends, clock=clock.seconds, rng=Random(1), health=config)
        monitor = HealthMonitor(pool, config, reactor=clock, rng=Random(2), on_down=on_down)
        return cls(clock, pool, probe, monitor, went_down)

    @property
    def up(self) -> str:
        return "".join(backend.name for backend in self.pool.backends if backend.up)

    def start(self) -> list[Any]:
        """Start it, and return what the first round comes to."""
        self.monitor.startService()
        return fired(self.monitor.first_round)

    def run(self, seconds: float) -> None:
        """Let time go by, from one delayed call to the next, so that each comes when it is due."""
        end = self.clock.seconds() + seconds
        while due := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]:
            self.clock.advance(max(min(due) - self.clock.seconds(), INSTANT))
        self.clock.advance(max(end - self.clock.seconds(), 0))


def gaps(times: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


# The first round


def test_the_first_round_begins_at_once_for_all() -> None:
    bench = Bench.of(FakeProbe(), "abc")
    bench.start()
    assert bench.probe.calls == [(0, "a"), (0, "b"), (0, "c")]


MANY = "".join(map(chr, range(0x4E00, 0x4E00 + 2 * STARTED_A_TURN + 5)))


def test_the_first_checks_of_many_begin_in_several_turns() -> None:
    bench = Bench.of(FakeProbe(), MANY)
    over = bench.start()
    assert len(bench.probe.calls) == STARTED_A_TURN
    bench.clock.advance(0)
    assert over
    assert [name for _, name in bench.probe.calls] == [*MANY]
    assert bench.up == MANY


def test_of_many_none_begins_once_it_is_removed_or_all_ends() -> None:
    bench = Bench.of(FakeProbe(), MANY)
    over = bench.start()
    bench.pool.replace(bench.pool.backends[:-1])
    bench.clock.advance(0)
    bench.clock.advance(0)
    assert over
    assert MANY[-1] not in [name for _, name in bench.probe.calls]
    bench.pool.replace([Backend(f"10.0.1.{number}:80", name) for number, name in enumerate(MANY, 1)])
    before = len(bench.probe.calls)
    bench.monitor.stopService()
    bench.clock.advance(STOP_GRACE)
    assert len(bench.probe.calls) == before
    assert bench.clock.getDelayedCalls() == []


def test_the_first_round_is_over_when_each_has_answered_or_timed_out() -> None:
    slow: Deferred[None] = Deferred()
    bench = Bench.of(FakeProbe({"b": lambda: slow, "c": hangs}), "abc")
    over = bench.start()
    assert bench.up == "a"
    bench.clock.advance(0.5)
    slow.callback(None)
    assert (bench.up, over) == ("ab", [])
    bench.clock.advance(0.5)
    assert (bench.up, over) == ("ab", [None])


def test_no_backend_serves_before_its_first_check() -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), "ab")
    bench.start()
    assert bench.up == ""
    assert bench.pool.backends[0].cause == "not checked yet"


def test_initial_up_serves_until_checks_have_failed() -> None:
    bench = Bench.of(FakeProbe(otherwise=refused), initial="up", fall=2)
    bench.start()
    assert bench.up == "a"
    bench.run(10)
    assert bench.up == ""


def test_initial_down_serves_after_rise_checks() -> None:
    bench = Bench.of(FakeProbe(), initial="down", rise=2)
    assert bench.start() == [None]
    assert bench.up == ""
    bench.run(10)
    assert bench.up == "a"


def test_initial_up_does_away_with_what_an_earlier_monitor_found() -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), initial="up")
    bench.pool.mark_down(bench.pool.backends[0], "refused")
    bench.start()
    assert bench.up == "a"


# The pace


def test_checks_come_at_the_interval_counted_from_start_to_start() -> None:
    def answer_late() -> Deferred[None]:
        late: Deferred[None] = Deferred()
        bench.clock.callLater(0.7, late.callback, None)
        return late

    bench = Bench.of(FakeProbe(otherwise=answer_late))
    bench.start()
    bench.run(60)
    assert gaps(bench.probe.times("a"))[1:] == [10.0] * 5


def test_later_rounds_are_spread_over_the_interval() -> None:
    names = [chr(ord("a") + number) for number in range(20)]
    bench = Bench.of(FakeProbe(), "".join(names))
    bench.start()
    bench.run(30)
    second = [bench.probe.times(name)[1] for name in names]
    # One in each twentieth of the interval, but not all at its beginning.
    assert [int(when / 0.5 + 1e-6) for when in second] == list(range(20))
    assert len({round(when % 0.5, 2) for when in second}) > 10
    third = [bench.probe.times(name)[2] for name in names]
    assert third == pytest.approx([when + 10 for when in second])


def test_no_backend_is_checked_twice_at_once() -> None:
    running = 0
    most = 0

    def answer_after_three_intervals() -> Deferred[None]:
        nonlocal running, most

        def answer() -> None:
            nonlocal running
            running -= 1
            late.callback(None)

        running += 1
        most = max(most, running)
        late: Deferred[None] = Deferred()
        bench.clock.callLater(3.3, answer)
        return late

    bench = Bench.of(FakeProbe(otherwise=answer_after_three_intervals), interval=1.0, timeout=5.0)
    bench.start()
    bench.run(60)
    assert most == 1
    assert set(gaps(bench.probe.times("a"))[1:]) == {4.0}


def test_a_down_backend_is_checked_at_the_down_interval_until_it_is_up_again() -> None:
    bench = Bench.of(FakeProbe(), fall=1, rise=2, down_interval=3.0)
    bench.start()
    bench.run(20)
    bench.probe.otherwise = refused
    bench.run(20)
    bench.probe.otherwise = passes
    bench.run(30)
    assert gaps(bench.probe.times("a"))[1:] == [10.0, 10.0, *[3.0] * 5, 10.0, 10.0]


def test_those_down_from_the_first_check_on_are_spread_too() -> None:
    bench = Bench.of(FakeProbe(otherwise=refused), "abcd", down_interval=2.0)
    bench.start()
    bench.run(2)
    second = [bench.probe.times(name)[1] for name in "abcd"]
    assert [int(when / 0.5 + 1e-6) for when in second] == [0, 1, 2, 3]


# Outcomes


def test_a_flip_is_logged_once_with_its_cause(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(), "ab", fall=3, rise=2)
    bench.start()
    assert lines == ["pool web: backend a (10.0.0.1:80) is up", "pool web: backend b (10.0.0.2:80) is up"]
    lines.clear()
    bench.probe.answers["b"] = refused
    bench.run(60)
    assert lines == ["pool web: backend b (10.0.0.2:80) is down: refused"]
    assert bench.pool.backends[1].cause == "refused"
    lines.clear()
    bench.probe.answers["b"] = passes
    bench.run(60)
    assert lines == ["pool web: backend b (10.0.0.2:80) is up"]
    assert bench.pool.backends[1].cause == ""


def test_a_backend_without_a_name_is_logged_by_its_address(lines: list[str]) -> None:
    config = HealthConfig(probe=FakeProbe())
    pool = Pool("web", [Backend("10.0.0.1:80")], clock=Clock().seconds, rng=Random(1), health=config)
    HealthMonitor(pool, config, reactor=Clock(), rng=Random(2)).startService()
    assert lines == ["pool web: backend 10.0.0.1:80 is up"]


def test_a_backend_that_stays_down_shows_its_latest_cause(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(otherwise=refused))
    bench.start()
    bench.probe.otherwise = lambda: fail(ProbeFailed("status 503"))
    bench.run(10)
    assert bench.pool.backends[0].cause == "status 503"
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: refused", NOBODY]


def test_the_last_one_to_go_and_the_first_to_return_are_told(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe({"c": refused}), "abc", fall=1, rise=1)
    bench.start()
    lines.clear()
    bench.probe.answers.update(a=refused, b=refused)
    bench.run(20)
    assert lines == [
        "pool web: backend a (10.0.0.1:80) is down: refused",
        "pool web: backend b (10.0.0.2:80) is down: refused",
        "pool web: no backend left: 3 down",
    ]
    lines.clear()
    bench.probe.answers.update(a=passes, b=passes)
    bench.run(20)
    assert lines == [
        "pool web: backend a (10.0.0.1:80) is up",
        "pool web: 1 of 3 backends available again",
        "pool web: backend b (10.0.0.2:80) is up",
    ]


def test_nobody_is_missed_before_the_first_checks(lines: list[str]) -> None:
    answers: list[Deferred[None]] = []

    def later() -> Deferred[None]:
        answers.append(Deferred())
        return answers[-1]

    bench = Bench.of(FakeProbe(otherwise=later), "ab")
    bench.start()
    answers[0].errback(ProbeFailed("status 503"))
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: status 503"]
    answers[1].errback(ProbeFailed("status 503"))
    assert lines[1:] == [
        "pool web: backend b (10.0.0.2:80) is down: status 503",
        "pool web: no backend left: 2 down",
    ]


@pytest.mark.parametrize(
    ("admin_state", "ejected", "told"),
    [
        (AdminState.READY, True, "passes its checks, and stays ejected"),
        (AdminState.DRAIN, False, "passes its checks, and stays draining"),
        (AdminState.MAINTENANCE, True, "passes its checks, and stays in maintenance"),
        (AdminState.READY, False, "is up"),
    ],
)
def test_only_one_that_serves_is_said_to_be_up(
    admin_state: AdminState, ejected: bool, told: str, lines: list[str]
) -> None:
    bench = Bench.of(FakeProbe({"b": refused}), "ab", rise=1)
    bench.start()
    backend = bench.pool.backends[1]
    bench.pool.set_admin_state(backend, admin_state)
    backend.ejected = ejected
    lines.clear()
    bench.probe.answers["b"] = passes
    bench.run(10)
    assert lines == [f"pool web: backend b (10.0.0.2:80) {told}"]
    assert backend.up


def test_one_that_is_down_at_first_says_why(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(), initial="down", rise=3)
    bench.start()
    assert lines == ['pool web: initial = "down": each backend is down until 3 checks in a row have passed']
    assert bench.pool.backends[0].cause == 'initial = "down", and no 3 checks in a row have passed yet'
    bench.run(20)
    assert lines[1:] == ["pool web: backend a (10.0.0.1:80) is up"]


def test_one_that_is_down_at_first_and_fails_says_why_once(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(otherwise=refused), initial="down", rise=3)
    bench.start()
    bench.run(30)
    assert lines[1:] == ["pool web: backend a (10.0.0.1:80) stays down: refused", NOBODY]
    assert bench.pool.backends[0].cause == "refused"


def test_on_down_is_told_on_each_flip_to_down() -> None:
    bench = Bench.of(FakeProbe(), "ab", fall=2)
    bench.start()
    assert bench.went_down == []
    bench.probe.answers["a"] = refused
    bench.run(50)
    assert bench.went_down == [bench.pool.backends[0]]


def test_checks_go_on_when_on_down_raises(lines: list[str]) -> None:
    def on_down(backend: Backend) -> None:
        raise RuntimeError(backend.name)

    bench = Bench.of(FakeProbe(otherwise=refused), on_down=on_down, rise=1)
    assert bench.start() == [None]
    bench.probe.otherwise = passes
    bench.run(10)
    assert bench.up == "a"
    assert [line for line in lines if "dealt with" in line] == [not_dealt_with(1)]


def not_dealt_with(count: int) -> str:
    return f"a health check could not be dealt with ({count} times since last reported)"


def test_an_outcome_that_cannot_be_dealt_with_is_logged_once_a_minute(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench.of(FakeProbe(), interval=1.0)
    monkeypatch.setattr(bench.pool, "passed_a_check", raise_now)
    bench.start()
    bench.run(62)
    assert bench.monitor.stopService().called
    assert [line for line in lines if "dealt with" in line] == list(map(not_dealt_with, (1, 60, 2)))


def test_a_check_that_takes_too_long_is_cancelled_and_has_failed(lines: list[str]) -> None:
    cancelled: list[Deferred[None]] = []
    bench = Bench.of(FakeProbe(otherwise=lambda: Deferred(cancelled.append)))
    bench.start()
    bench.clock.advance(0.99)
    assert not cancelled
    bench.clock.advance(0.01)
    assert len(cancelled) == 1
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: timed out after 1 s", NOBODY]


def test_a_loop_that_is_late_takes_no_backend_down(lines: list[str]) -> None:
    """What came in time lies in the socket: it is looked at before the backend is judged."""
    answer: Deferred[None] = Deferred()
    bench = Bench.of(FakeProbe(otherwise=lambda: answer), initial="up", fall=1)
    bench.start()
    bench.clock.advance(5)
    assert bench.up == "a"
    answer.callback(None)
    bench.clock.advance(1)
    assert bench.up == "a"
    assert lines == []


def test_one_that_does_not_answer_a_late_loop_has_failed(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), initial="up", fall=1)
    bench.start()
    bench.clock.advance(5)
    bench.clock.advance(5)
    assert bench.up == ""
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: timed out after 1 s", NOBODY]


def test_each_check_says_for_itself_what_it_has_come_to() -> None:
    calls: list[Target] = []

    def get_less_far(target: Target) -> Deferred[None]:
        calls.append(target)
        if len(calls) == 1:
            target.deadline.cause = lambda seconds: f"no answer within {seconds:g} s,\n2 lines so far"
        return Deferred()

    bench = Bench.of(BadProbe(get_less_far))
    bench.start()
    bench.run(1)
    assert bench.pool.backends[0].cause == r"no answer within 1 s,\n2 lines so far"
    bench.run(12)
    assert len(calls) == 2
    assert bench.pool.backends[0].cause == "timed out after 1 s"


def test_a_cause_that_cannot_be_said_is_an_error_in_the_probe(lines: list[str]) -> None:
    def misdeed(target: Target) -> Deferred[None]:
        target.deadline.cause = lambda seconds: str(1 / 0)
        return Deferred()

    bench = Bench.of(BadProbe(misdeed), check="my_probe")
    bench.start()
    bench.run(1)
    assert bench.pool.backends[0].cause == "timed out after 1 s"
    assert lines[0] == "pool web: error in probe my_probe, which counts as failed (1)"


def test_the_timeout_is_written_as_people_do(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), timeout=0.25)
    bench.start()
    bench.clock.advance(0.25)
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: timed out after 0.25 s", NOBODY]


def test_an_answer_in_time_leaves_no_timer() -> None:
    bench = Bench.of(FakeProbe())
    bench.start()
    assert len(bench.clock.getDelayedCalls()) == 1  # the next check


def test_want_of_descriptors_takes_no_backend_down(lines: list[str]) -> None:
    bench = Bench.of(FakeProbe(), fall=1)
    bench.start()
    lines.clear()
    bench.probe.otherwise = lambda: fail(connect_error(errno.EMFILE))
    bench.run(59)
    assert bench.up == "a"
    (line,) = lines
    assert line == (
        "pool web: connections or checks fail because of the balancer itself, backends keep their "
        "state (1): too many open files; raise the limit of open files: LimitNOFILE= of the unit, ulimit -n"
    )


def test_a_probe_may_say_that_it_learnt_nothing() -> None:
    bench = Bench.of(FakeProbe(otherwise=lambda: fail(NoVerdict("no room"))))
    assert bench.start() == [None]
    assert bench.up == ""
    bench.probe.otherwise = passes
    bench.run(10)
    assert bench.up == "a"  # its first real outcome still decides alone


# Probes that do not keep to the rules


class BadProbe:
    """Does what it is told to, which is wrong."""

    def __init__(self, misdeed: Callable[[Target], Any]) -> None:
        self.misdeed = misdeed

    def check(self, target: Target) -> Any:
        return self.misdeed(target)


async def raise_later(_: Target) -> None:
    raise LookupError("boom")


def raise_now(_: Target) -> None:
    raise LookupError("boom")


async def end_with_something(_: Target) -> bool:
    return False


@pytest.mark.parametrize(
    "misdeed",
    [
        raise_now,
        raise_later,
        end_with_something,
        lambda target: None,
        lambda target: False,
        lambda target: succeed(True),
        lambda target: fail(LookupError("boom")),
        lambda target: Failure(LookupError("boom")),
        lambda target: fail(CancelledError()),
    ],
)
def test_a_broken_probe_says_nothing_about_the_backend(
    misdeed: Callable[[Target], Any], lines: list[str]
) -> None:
    bench = Bench.of(BadProbe(misdeed), check="my_probe", initial="up", fall=1)
    assert bench.start() == [None]
    bench.run(30)
    assert bench.up == "a"
    assert lines == ["pool web: error in probe my_probe, backends keep their state (1)"]


def test_a_probe_that_breaks_before_the_first_check_leaves_the_backend_unchecked() -> None:
    bench = Bench.of(BadProbe(raise_now), check="my_probe")
    assert bench.start() == [None]
    assert bench.up == ""
    assert bench.pool.backends[0].cause == "not checked yet: error in probe my_probe"


def test_a_file_that_a_probe_misses_is_not_the_backends_socket(lines: list[str]) -> None:
    async def misdeed(_: Target) -> None:
        Path("/nonexistent/secret").read_text()

    bench = Bench.of(BadProbe(misdeed), check="my_probe", initial="up", fall=1)
    bench.start()
    assert bench.up == "a"
    assert lines == ["pool web: error in probe my_probe, backends keep their state (1)"]


def test_failures_of_a_broken_probe_that_were_held_back_are_logged_at_the_end(lines: list[str]) -> None:
    bench = Bench.of(BadProbe(raise_now), interval=1.0)
    bench.start()
    bench.run(10)
    bench.monitor.stopService()
    told = [line for line in lines if "error in probe" in line]
    assert [int(line.removesuffix(")").rpartition("(")[2]) for line in told] == [1, 10]
    assert bench.clock.getDelayedCalls() == []


def test_a_broken_probe_is_logged_once_a_minute(lines: list[str]) -> None:
    bench = Bench.of(BadProbe(raise_now), "ab", interval=1.0)
    bench.start()
    bench.run(59)
    assert len([line for line in lines if "error in probe" in line]) == 1
    bench.run(2)
    told = [line for line in lines if "error in probe" in line]
    assert len(told) == 2
    # Two backends, one check a second, for a minute.
    assert 117 <= int(told[1].removesuffix(")").rpartition("(")[2]) <= 122


def test_an_error_of_the_network_needs_no_handling_in_the_probe(lines: list[str]) -> None:
    async def misdeed(_: Target) -> None:
        raise connect_error(errno.ECONNREFUSED)

    Bench.of(BadProbe(misdeed)).start()
    assert lines == ["pool web: backend a (10.0.0.1:80) is down: refused", NOBODY]


def test_a_cause_from_anywhere_fits_on_a_line(lines: list[str]) -> None:
    Bench.of(FakeProbe(otherwise=lambda: fail(ProbeFailed("no\nsuch\x1b[31m" + "x" * 1000)))).start()
    line, _ = lines
    assert line.isprintable()
    assert len(line) < 300


async def ignore_cancellation(target: Target) -> None:
    while True:
        try:
            await Deferred()
        except CancelledError:
            continue


def refuse_cancellation(_: Target) -> Deferred[None]:
    def canceller(_: Deferred[None]) -> None:
        raise RuntimeError("not now")

    return Deferred(canceller)


@pytest.mark.parametrize("misdeed", [ignore_cancellation, refuse_cancellation])
def test_a_probe_that_cannot_be_cancelled_stalls_nothing(
    misdeed: Callable[[Target], Any], lines: list[str]
) -> None:
    calls: list[str] = []

    def count(target: Target) -> Any:
        calls.append(target.name)
        return misdeed(target) if target.name == "a" else succeed(None)

    bench = Bench.of(BadProbe(count), "ab", check="my_probe")
    over = bench.start()
    bench.clock.advance(1)
    assert over == [None]
    assert bench.pool.backends[0].cause == "timed out after 1 s"
    bench.run(30)
    assert bench.up == "b"
    assert calls.count("b") == 4
    assert calls.count("a") == 1  # never two at once
    assert bench.pool.backends[0].cause == "timed out after 1 s, and still goes on"
    stopped = fired(bench.monitor.stopService())
    assert stopped == []
    bench.clock.advance(STOP_GRACE)
    assert len(stopped) == 1
    assert lines[-1] == "pool web: 1 checks by probe my_probe go on although they were cancelled"
    assert bench.clock.getDelayedCalls() == []


def test_a_probe_that_ends_after_its_cancellation_is_used_again() -> None:
    cleaned_up: list[Deferred[None]] = []

    async def take_long_to_clean_up(_: Target) -> None:
        try:
            await Deferred()
        finally:
            cleaned_up.append(Deferred())
            await cleaned_up[-1]

    bench = Bench.of(BadProbe(take_long_to_clean_up))
    bench.start()
    bench.run(15)
    assert len(cleaned_up) == 1
    cleaned_up[0].callback(None)
    bench.run(15)
    assert len(cleaned_up) == 2


# Stopping


def test_stopping_before_anything_is_due_leaves_nothing() -> None:
    bench = Bench.of(FakeProbe(), "abc")
    bench.start()
    assert len(fired(bench.monitor.stopService())) == 1
    assert bench.clock.getDelayedCalls() == []
    bench.clock.advance(100)
    assert len(bench.probe.calls) == 3


def test_stopping_in_mid_probe_cancels_it_and_judges_no_one(lines: list[str]) -> None:
    cancelled: list[Deferred[None]] = []
    bench = Bench.of(FakeProbe(otherwise=lambda: Deferred(cancelled.append)), "ab")
    over = bench.start()
    assert len(fired(bench.monitor.stopService())) == 1
    assert len(cancelled) == 2
    assert bench.clock.getDelayedCalls() == []
    assert (lines, over, bench.went_down) == ([], [], [])


def test_stopping_waits_for_what_probes_have_to_clean_up() -> None:
    done: Deferred[None] = Deferred()

    async def clean_up(_: Target) -> None:
        try:
            await Deferred()
        finally:
            await done

    bench = Bench.of(BadProbe(clean_up))
    bench.start()
    stopped = fired(bench.monitor.stopService())
    assert stopped == []
    done.callback(None)
    assert len(stopped) == 1
    assert bench.clock.getDelayedCalls() == []


def test_a_monitor_that_was_never_started_can_be_stopped() -> None:
    bench = Bench.of(FakeProbe())
    assert len(fired(bench.monitor.stopService())) == 1
    assert bench.clock.getDelayedCalls() == []


def test_it_can_stop_from_within_on_down() -> None:
    stopped: list[Any] = []

    def on_down(_: Backend) -> None:
        stopped.append(bench.monitor.stopService())

    bench = Bench.of(FakeProbe(), fall=1, on_down=on_down)
    bench.start()
    bench.probe.otherwise = refused
    bench.run(10)
    assert len(fired(stopped[0])) == 1
    assert bench.clock.getDelayedCalls() == []


def test_it_can_be_started_again() -> None:
    bench = Bench.of(FakeProbe())
    bench.start()
    fired(bench.monitor.stopService())
    bench.probe.otherwise = hangs
    over = bench.start()
    assert (bench.up, over) == ("", [])
    bench.clock.advance(1)
    assert over == [None]


# Other backends meanwhile


def test_a_backend_that_is_added_is_checked_at_once_and_serves_when_it_has_passed() -> None:
    answer: Deferred[None] = Deferred()
    bench = Bench.of(FakeProbe({"b": lambda: answer}), "a")
    bench.start()
    bench.run(25)
    bench.pool.replace([*bench.pool.backends, Backend("10.0.0.2:80", "b")])
    assert bench.probe.times("b") == [25]
    assert bench.up == "a"
    assert bench.pool.backends[1].cause == "not checked yet"
    answer.callback(None)
    assert bench.up == "ab"
    bench.run(60)
    assert gaps(bench.probe.times("b"))[1:] == [10.0] * 5
    assert len(gaps(bench.probe.times("a"))) == 8


def test_one_that_waits_in_the_queue_is_not_given_to_a_backend_before_its_first_check() -> None:
    bench = Bench.of(FakeProbe({"b": hangs}), "a", initial="down")
    bench.start()
    choices = bench.pool.selection.choices(None)
    bench.pool.replace([Backend("10.0.0.2:80", "b")])
    assert list(choices) == []


def test_a_backend_that_is_removed_is_checked_no_more(lines: list[str]) -> None:
    gone: list[str] = []

    def cancelled(_: Deferred[None]) -> None:
        gone.append("b")

    bench = Bench.of(FakeProbe(), "ab")
    bench.start()
    bench.probe.answers["b"] = lambda: Deferred(cancelled)
    bench.run(10)
    asked = len(bench.probe.times("b"))
    lines.clear()
    bench.pool.replace(bench.pool.backends[:1])
    bench.run(30)
    assert (len(bench.probe.times("b")), len(gone)) == (asked, asked - 1)
    assert lines == []
    assert bench.went_down == []
    assert len(fired(bench.monitor.stopService())) == 1
    assert bench.clock.getDelayedCalls() == []


def test_checks_that_have_ended_are_not_kept() -> None:
    bench = Bench.of(FakeProbe(), "a")
    bench.start()
    for number in range(2, 12):
        bench.pool.replace([Backend(f"10.0.0.{number}:80", "a")])
    assert bench.monitor._ending == []
    assert len(bench.monitor._loops) == 1


def test_the_first_round_does_not_wait_for_one_that_is_removed() -> None:
    bench = Bench.of(FakeProbe({"b": hangs}), "ab")
    over = bench.start()
    assert over == []
    bench.pool.replace(bench.pool.backends[:1])
    assert over == [None]


def test_a_stop_waits_for_the_check_of_one_that_was_removed() -> None:
    done: Deferred[None] = Deferred()

    async def clean_up(_: Target) -> None:
        try:
            await Deferred()
        finally:
            await done

    bench = Bench.of(BadProbe(clean_up), "ab")
    bench.start()
    bench.pool.replace([])
    stopped = fired(bench.monitor.stopService())
    assert stopped == []
    done.callback(None)
    assert len(stopped) == 1
    assert bench.clock.getDelayedCalls() == []


def test_a_monitor_that_is_stopped_follows_no_more() -> None:
    bench = Bench.of(FakeProbe(), "a")
    bench.start()
    bench.monitor.stopService()
    bench.pool.replace([*bench.pool.backends, Backend("10.0.0.2:80", "b")])
    assert bench.probe.times("b") == []
    bench.start()
    assert bench.probe.times("b") == [0]


def test_a_check_asks_for_the_server_name_of_the_moment() -> None:
    asked: list[str | None] = []

    async def note(target: Target) -> None:
        asked.append(target.server_name)

    bench = Bench.of(BadProbe(note), "a")
    bench.start()
    bench.pool.replace([Backend("10.0.0.1:80", "a", server_name="web.internal")])
    bench.run(10)
    assert asked == [None, "web.internal"]


# From the configuration


@pytest.mark.parametrize(
    ("keys", "address", "version"),
    [
        ({}, "10.0.0.1:80", "v2"),
        ({"port": 8081}, "10.0.0.1:8081", "v2"),
        ({"address": "agent.internal"}, "agent.internal:80", "v2"),
        ({"address": "::1", "port": 9}, "[::1]:9", "v2"),
        ({"send_proxy_protocol": "v1"}, "10.0.0.1:80", "v1"),
        ({"port": 8081, "send_proxy_protocol": "none"}, "10.0.0.1:8081", None),
    ],
)
def test_what_is_checked_may_be_elsewhere(keys: dict[str, Any], address: str, version: str | None) -> None:
    checked: list[Target] = []

    async def note(target: Target) -> None:
        checked.append(target)

    probe = BadProbe(note)
    config = HealthConfig(check="mine", probe=probe, **keys)
    pool = Pool("web", [Backend("10.0.0.1:80", "a")], send_proxy_protocol="v2", health=config)
    HealthMonitor(pool, config, reactor=Clock(), rng=Random(2)).startService()
    (target,) = checked
    assert (str(target.address), target.send_proxy_protocol, target.name) == (address, version, "a")


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({"port": 8081}, "must have address besides port, backend unix:/run/app.sock is a unix socket"),
        ({"address": "::1"}, "must have port besides address, backend unix:/run/app.sock is a unix socket"),
        ({"port": 8081, "address": "::1"}, None),
        ({}, None),
    ],
)
def test_a_unix_socket_lends_its_checks_no_part_of_an_address(
    keys: dict[str, Any], refused: str | None
) -> None:
    backends = (BackendConfig(address=Address.parse("unix:/run/app.sock")),)
    health = HealthConfig(check="mine", probe=FakeProbe(), **keys)
    if refused is None:
        PoolConfig(backends=backends, health=health)
    else:
        with pytest.raises(SettingError, match=refused):
            PoolConfig(backends=backends, health=health)


def test_both_kinds_of_check_fit_the_seam() -> None:
    class Async:
        async def check(self, target: Target) -> None:
            """Pass."""

    probes: list[Probe] = [FakeProbe(), Async()]  # a question to the type checker, too
    for probe in probes:
        bench = Bench.of(probe)
        assert bench.start() == [None]
        assert bench.up == "a"


def test_an_ejected_backend_comes_back_with_a_check_that_passes() -> None:
    probe = FakeProbe(answers={"a": refused})
    bench = Bench.of(probe, "ab", fall=99, initial="up")
    backend = bench.pool.backends[0]
    backend.ejected = True
    told: list[str] = []
    bench.pool.passed_a_check = lambda passed: told.append(passed.name)  # type: ignore[method-assign,assignment]
    bench.start()
    assert told == ["b"]
    probe.answers.clear()
    bench.run(10)
    assert "a" in told
    bench.monitor.stopService()


def test_a_check_that_cannot_even_begin_does_not_end_the_checking(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = FakeProbe()
    bench = Bench.of(probe, interval=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(ProbeRun, "start", raise_now)
        assert bench.start() == [None], "frontends wait for it in vain"
        bench.run(3)
    assert probe.times("a") == []
    bench.run(4)
    assert len(probe.times("a")) >= 3
    assert bench.up == "a"
    bench.monitor.stopService()
    assert [line for line in lines if "dealt with" in line] == [not_dealt_with(1), not_dealt_with(3)]


# A pool whose checks or backends change


def test_checks_of_a_pool_that_serves_take_no_backend_down_at_first() -> None:
    bench = Bench.of(FakeProbe({"a": refused}), "ab", fall=2)
    bench.pool.mark_up(bench.pool.backends[0])
    bench.pool.mark_up(bench.pool.backends[1])
    bench.monitor.take_over()
    assert bench.up == "ab"
    bench.run(10)
    assert bench.up == "b"


def test_another_way_of_checking_goes_on_from_how_backends_stand() -> None:
    bench = Bench.of(FakeProbe({"a": refused}), "ab")
    bench.start()
    assert bench.up == "b"
    probe = FakeProbe({"b": refused})
    bench.monitor.check_by(HealthConfig(probe=probe, interval=5.0, timeout=1.0, rise=3, fall=3))
    assert bench.up == "b"
    before = len(bench.probe.calls)
    bench.run(4.9)
    assert bench.up == "b"
    bench.run(10.1)
    assert bench.up == "a"
    assert len(bench.probe.calls) == before
    assert gaps(probe.times("a"))[1:] == pytest.approx([5.0, 5.0])


def test_a_first_round_that_is_under_way_ends_with_the_checks_that_take_its_place() -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), "ab")
    over = bench.start()
    bench.monitor.check_by(HealthConfig(probe=FakeProbe({"a": refused}), interval=10.0, timeout=1.0))
    assert over == [None]
    assert bench.up == "b"


def test_nothing_waits_for_checks_that_are_given_up() -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs))
    over = bench.start()
    assert fired(bench.monitor.give_up()) == [None]
    assert over == [None]
    assert not bench.clock.getDelayedCalls()


def test_backends_that_take_the_place_of_all_others_serve_until_their_first_check_decides(
    lines: list[str],
) -> None:
    bench = Bench.of(FakeProbe(), "ab")
    bench.start()
    answers: list[Deferred[None]] = []

    def later() -> Deferred[None]:
        answers.append(Deferred())
        return answers[-1]

    bench.probe.otherwise = later
    changes: list[PoolChange] = []
    bench.pool.subscribe(changes.append)
    bench.pool.replace([Backend("10.0.1.1:80", "c"), Backend("10.0.1.2:80", "d")])
    assert bench.up == "cd"
    assert len(changes) == 2, "one for the list, one for all that serve"
    assert bench.pool.selection.has_available()
    answers[0].errback(connect_error(errno.ECONNREFUSED))
    answers[1].callback(None)
    assert bench.up == "d"
    assert "pool web: backend c (10.0.1.1:80) serves before its first check, no other is available" in lines


def test_checks_that_begin_with_new_backends_alone_let_them_serve_until_they_decide() -> None:
    bench = Bench.of(FakeProbe(otherwise=hangs), "ab")
    for backend in bench.pool.backends:
        bench.pool.status.await_check(backend, "not checked yet")
    bench.monitor.take_over()
    assert bench.up == "ab"
    bench.run(1.0)
    assert bench.up == ""


def test_a_new_backend_is_checked_first_where_another_serves() -> None:
    bench = Bench.of(FakeProbe(), "ab")
    bench.start()
    bench.probe.otherwise = hangs
    bench.pool.replace([bench.pool.backends[0], Backend("10.0.1.1:80", "c")])
    assert bench.up == "a"


def test_initial_down_lets_no_backend_serve_unchecked() -> None:
    bench = Bench.of(FakeProbe(), initial="down")
    bench.start()
    bench.run(20)
    bench.probe.otherwise = hangs
    bench.pool.replace([Backend("10.0.1.1:80", "c")])
    assert bench.up == ""
