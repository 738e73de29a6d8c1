"""A new program takes over when it is ready; in every other case this one goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.environment import HANDOVER, Environment, EnvironmentVariableError, PassedDescriptor
from tcpbalance.event import OneTimeEvent
from tcpbalance.upgrade import KILL_AFTER, READY, READY_WITHIN, Predecessor, Successor, Upgrader

PID = 4711

DEFAULT = Environment(notify_socket="@manager", watchdog=2.0)


class FakeTransport:
    """A process that ends when it is killed, as soon as Twisted looks."""

    pid = PID

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.has_ended = False

    def signalProcess(self, name: str) -> None:
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)


class FakeListener:
    def __init__(self, number: int, owns_file: bool) -> None:
        self._number = number
        self.owns_file = owns_file
        self.is_listening = True

    def fileno(self) -> int:
        return self._number

    def leave_socket(self) -> None:
        self.owns_file = False


class FakeBalancer:
    def __init__(self) -> None:
        self.listening: OneTimeEvent[bool] = OneTimeEvent()
        self.fakes = [FakeListener(20, False), FakeListener(11, True)]

    def when_listening(self) -> Deferred[bool]:
        return self.listening.wait()

    def listeners(self) -> list[tuple[str, Any]]:
        return [(f"f{number}", fake) for number, fake in enumerate(self.fakes)]


class FakeReactor(Clock):
    """Keeps what is spawned."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Successor, str, list[str], dict[str, str], dict[int, Any]]] = []
        self.error: Exception | None = None

    def spawnProcess(
        self,
        protocol: Successor,
        executable: str,
        args: list[str],
        env: dict[str, str],
        childFDs: dict[int, Any],
    ) -> None:
        if self.error is not None:
            raise self.error
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM} <= blocked
        self.spawned.append((protocol, executable, args, env, childFDs))
        protocol.makeConnection(FakeTransport())


class Stage:
    """An upgrader with all that it needs."""

    def __init__(self, environment: Environment = DEFAULT) -> None:
        self.reactor = FakeReactor()
        self.balancer = FakeBalancer()
        self.handed_over_to: list[int] = []
        self.upgrader = Upgrader(
            self.reactor, self.balancer, environment, self.handed_over_to.append, ["python", "tcpbalance"]
        )
        self.upgrader.startService()

    def begin(self) -> Successor:
        """Have the new program started."""
        self.balancer.listening.settle(True)
        self.upgrader.upgrade()
        return self.reactor.spawned[-1][0]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    assert stage.reactor.getDelayedCalls() == []
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def end(successor: Successor, reason: Exception) -> None:
    """Do as Twisted when the process has ended."""
    transport: Any = successor.transport
    transport.has_ended = True
    successor.childConnectionLost(3)
    successor.processEnded(Failure(reason))


def test_the_new_program_gets_the_command_line_the_sockets_and_the_service_manager(stage: Stage) -> None:
    successor = stage.begin()
    _, executable, arguments, variables, descriptors = stage.reactor.spawned[0]
    assert (executable, arguments) == ("python", ["python", "tcpbalance"])
    assert descriptors == {0: 0, 1: 1, 2: 2, 3: "r", 4: 20, 5: 11}
    read = Environment.read(variables, 1)
    assert read == Environment(
        (PassedDescriptor(4, "f0", owns_file=False), PassedDescriptor(5, "f1", owns_file=True)),
        3,
        "@manager",
        2.0,
    )
    assert variables["PATH"] == os.environ["PATH"]
    successor.childDataReceived(3, READY)


def test_a_socket_that_does_not_listen_yet_is_not_handed_over(stage: Stage) -> None:
    stage.balancer.fakes[0].is_listening = False
    successor = stage.begin()
    assert stage.reactor.spawned[0][4] == {0: 0, 1: 1, 2: 2, 3: "r", 4: 11}
    successor.childDataReceived(3, READY)
    assert not stage.balancer.fakes[1].owns_file


def test_it_takes_over_when_it_is_ready(stage: Stage, lines: list[str]) -> None:
    successor = stage.begin()
    successor.childDataReceived(3, READY[:3])
    assert stage.handed_over_to == []
    successor.childDataReceived(3, READY[3:])
    assert stage.handed_over_to == [PID]
    assert not stage.balancer.fakes[1].owns_file
    successor.childConnectionLost(3)
    assert stage.upgrader.stopService().called
    assert successor.transport.signals == []
    end(successor, ProcessTerminated(9))
    assert lines[-1] == "the program that took over has ended: exit status 9"


def fails_by_end(successor: Successor, _: Clock) -> None:
    end(successor, ProcessTerminated(3))


def fails_by_signal(successor: Successor, _: Clock) -> None:
    end(successor, ProcessTerminated(None, signal.SIGSEGV))


def fails_by_success(successor: Successor, _: Clock) -> None:
    end(successor, ProcessDone(0))


def fails_by_closing(successor: Successor, _: Clock) -> None:
    successor.childConnectionLost(3)
    assert successor.transport.signals == ["TERM"]
    successor.processEnded(Failure(ProcessTerminated(None, signal.SIGTERM)))


def fails_by_time(successor: Successor, clock: Clock) -> None:
    clock.advance(READY_WITHIN)
    assert successor.transport.signals == ["TERM"]
    clock.advance(KILL_AFTER)
    assert successor.transport.signals == ["TERM", "KILL"]
    end(successor, ProcessTerminated(None, signal.SIGKILL))


def fails_by_words(successor: Successor, _: Clock) -> None:
    successor.childDataReceived(3, b"READY=0\n")
    assert successor.transport.signals == ["TERM"]
    successor.childDataReceived(3, READY)
    end(successor, ProcessDone(0))


@pytest.mark.parametrize(
    ("fail", "why"),
    [
        (fails_by_end, "ended before it was ready (exit status 3)"),
        (fails_by_signal, "ended before it was ready (signal 11)"),
        (fails_by_success, "ended before it was ready (exit status 0)"),
        (fails_by_closing, "ended before it was ready (signal 15)"),
        (fails_by_time, "was not ready within 60 s (signal 9)"),
        (fails_by_words, "wrote something else than that it was ready (exit status 0)"),
    ],
)
def test_one_that_fails_leaves_all_as_it_was(
    stage: Stage, lines: list[str], fail: Callable[[Successor, Clock], None], why: str
) -> None:
    fail(stage.begin(), stage.reactor)
    assert lines[-1] == f"SIGUSR2: the new program {why}; this one goes on"
    assert stage.handed_over_to == []
    assert stage.balancer.fakes[1].owns_file
    # The next one is started as if nothing had happened.
    stage.begin().childDataReceived(3, READY)
    assert stage.handed_over_to == [PID]


def test_one_that_cannot_be_started_leaves_all_as_it_was(stage: Stage, lines: list[str]) -> None:
    stage.balancer.listening.settle(True)
    stage.reactor.error = FileNotFoundError(2, "No such file or directory", "python")
    stage.upgrader.upgrade()
    (line,) = lines
    assert line.startswith("SIGUSR2: the new program cannot be started: [Errno 2] No such file")
    assert line.endswith("; this one goes on")
    stage.reactor.error = None
    stage.begin().childDataReceived(3, READY)


def test_a_mistake_of_our_own_does_not_keep_the_next_one_from_starting(
    stage: Stage, lines: list[str]
) -> None:
    stage.balancer.listening.settle(True)
    stage.reactor.error = ValueError("embedded null byte")
    stage.upgrader.upgrade()
    assert lines[-1] == (
        "SIGUSR2: the new program cannot be started: ValueError('embedded null byte'); this one goes on"
    )
    stage.reactor.error = None
    stage.begin().childDataReceived(3, READY)


def test_signals_that_come_before_it_is_ready_are_passed_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    # One that comes earlier is done with; and one that fails needs none.
    stage.upgrader.note_signal(signal.SIGHUP)
    failed = stage.begin()
    stage.upgrader.note_signal(signal.SIGUSR1)
    end(failed, ProcessDone(0))
    successor = stage.begin()
    stage.upgrader.note_signal(signal.SIGHUP)
    stage.upgrader.note_signal(signal.SIGHUP)
    assert sent == []
    successor.childDataReceived(3, READY)
    assert sent == [(PID, signal.SIGHUP)]
    assert stage.handed_over_to == [PID]


def test_only_one_is_started_at_a_time(stage: Stage, lines: list[str]) -> None:
    successor = stage.begin()
    stage.upgrader.upgrade()
    assert len(stage.reactor.spawned) == 1
    assert lines[-1] == "SIGUSR2: the new program is being started already"
    successor.childDataReceived(3, READY)


def test_it_is_started_when_this_one_accepts_clients(stage: Stage) -> None:
    stage.upgrader.upgrade()
    stage.upgrader.upgrade()
    assert stage.reactor.spawned == []
    stage.balancer.listening.settle(True)
    assert len(stage.reactor.spawned) == 1
    stage.reactor.spawned[0][0].childDataReceived(3, READY)


def test_a_program_that_is_stopped_before_it_accepts_clients_starts_none(stage: Stage) -> None:
    stage.upgrader.upgrade()
    stage.upgrader.stopService()
    stage.balancer.listening.settle(True)
    assert stage.reactor.spawned == []


def test_a_program_that_is_stopped_ends_the_one_that_starts(stage: Stage, lines: list[str]) -> None:
    successor = stage.begin()
    stopped: list[None] = []
    stage.upgrader.stopService().addCallback(stopped.append)
    assert successor.transport.signals == ["TERM"]
    stage.reactor.advance(KILL_AFTER)
    assert successor.transport.signals == ["TERM", "KILL"]
    assert stopped == []
    end(successor, ProcessTerminated(None, signal.SIGKILL))
    assert stopped == [None]
    stage.upgrader.upgrade()
    assert lines[1:] == ["SIGUSR2: this program ends already, no new one is started"]
    assert len(stage.reactor.spawned) == 1


@pytest.mark.parametrize(
    ("pid", "why"),
    [
        (1, "this is the first process of its container, which ends with it: restart the container"),
        (2**20, "twistd runs in the background: use `tcpbalance run` or `twistd -n --pidfile=`"),
    ],
)
def test_where_none_can_take_over_none_is_started(
    stage: Stage, lines: list[str], monkeypatch: pytest.MonkeyPatch, pid: int, why: str
) -> None:
    stage.balancer.listening.settle(True)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    stage.upgrader.upgrade()
    assert stage.reactor.spawned == []
    assert lines == [f"SIGUSR2: no new program can take over, {why}"]


@pytest.mark.parametrize("pid", [os.getpid(), 1], ids=["ours", "of another"])
@pytest.mark.parametrize("notify_socket", [None, "@manager"])
def test_a_service_that_systemd_would_stop_starts_none(
    lines: list[str], pid: int, notify_socket: str | None
) -> None:
    variables = {"SYSTEMD_EXEC_PID": str(pid)}
    if notify_socket is not None:
        variables["NOTIFY_SOCKET"] = notify_socket
    stage = Stage(Environment.read(variables, os.getpid()))
    stage.balancer.listening.settle(True)
    stage.upgrader.upgrade()
    if notify_socket is None and pid == os.getpid():
        assert stage.reactor.spawned == []
        (line,) = lines
        assert line == (
            "SIGUSR2: no new program can take over, systemd would stop the service when this process ends: "
            "use Type=notify in the unit"
        )
    else:
        stage.reactor.spawned[0][0].childDataReceived(3, READY)
        assert stage.handed_over_to == [PID]


EVENTS = st.sampled_from(["R", "rest", "READY", "junk", "eof", "end", "late", "stop"])


@given(st.lists(EVENTS, max_size=12))
def test_whatever_happens_it_is_ready_once_or_fails_once(events: list[str]) -> None:
    clock = Clock()
    ready: list[int] = []
    failed: list[str] = []
    successor = Successor(clock, ready.append, failed.append)
    transport = FakeTransport()
    successor.makeConnection(transport)
    for event in [*events, "end"]:
        if transport.has_ended:
            break
        match event:
            case "R" | "rest" | "READY" | "junk":
                data = {"R": READY[:1], "rest": READY[1:], "READY": READY, "junk": b"?"}[event]
                successor.childDataReceived(3, data)
            case "eof":
                successor.childConnectionLost(3)
            case "late":
                clock.advance(READY_WITHIN)
            case "stop":
                successor.give_up("is not needed")
            case "end":
                end(successor, ProcessDone(0))
    assert len(ready) + len(failed) == 1
    assert transport.signals in ([], ["TERM"], ["TERM", "KILL"])
    assert bool(transport.signals) <= bool(failed)
    assert clock.getDelayedCalls() == []


def test_a_predecessor_reads_that_this_program_is_ready() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    predecessor = Predecessor(writing)
    assert not os.get_inheritable(writing)
    predecessor.take_over([])
    with os.fdopen(reading, "rb") as file:
        assert file.read() == READY


def test_a_predecessor_may_have_ended() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Predecessor(writing).take_over([])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(EnvironmentVariableError) as raised:
        Predecessor(2**30)
    assert str(raised.value) == f"{HANDOVER}: descriptor {2**30} is not open"


def test_the_command_is_that_of_this_process() -> None:
    upgrader = Upgrader(Clock(), FakeBalancer(), Environment(), lambda _: None)
    words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")[1:-1]
    assert list(upgrader._command[1:]) == words
    assert upgrader._command[0] == sys.executable
