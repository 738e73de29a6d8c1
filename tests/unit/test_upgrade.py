"""A new program takes over when it is ready; in every other case this one goes on."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ProcessDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.environment import HANDOVER, Environment, EnvironmentVariableError, PassedDescriptor
from tcpbalance.event import OneTimeEvent
from tcpbalance.net.listener import Listener
from tcpbalance.upgrade import KILL_AFTER, READY, READY_WITHIN, Predecessor, Successor, Upgrader

PID = 4711

DEFAULT = Environment(notify_socket="@manager", watchdog=2.0)


class FakeTransport:
    """A process that ends when it is killed, as soon as Twisted looks."""

    pid = PID

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.closed: list[int] = []
        self.has_ended = False

    def signalProcess(self, name: str) -> None:
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)


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
        self.readers: list[Predecessor] = []

    def addReader(self, reader: Predecessor) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """A listener removes itself, whether it was added or not."""

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
    assert successor.transport.closed == [3]
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


def fails_before_it_is_heard(successor: Successor, _: Clock) -> None:
    """What it wrote is read when its process id is free for another process."""
    transport: Any = successor.transport
    transport.has_ended, transport.pid = True, None
    successor.processExited(Failure(ProcessTerminated(3)))
    successor.childDataReceived(3, READY)
    end(successor, ProcessTerminated(3))


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
        (fails_before_it_is_heard, "ended before it was ready (exit status 3)"),
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


def test_what_a_signal_asks_for_is_done_here_where_the_new_program_fails(stage: Stage) -> None:
    done: list[str] = []
    assert not stage.upgrader.note_signal(signal.SIGHUP, lambda: done.append("too early"))
    successor = stage.begin()
    for number in (1, 2):
        assert stage.upgrader.note_signal(signal.SIGHUP, lambda number=number: done.append(str(number)))  # type: ignore[misc]
    assert done == []
    end(successor, ProcessDone(0))
    assert done == ["2"]
    end(stage.begin(), ProcessDone(0))
    assert done == ["2"]


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


EVENTS = st.sampled_from(["R", "rest", "READY", "junk", "eof", "exited", "end", "late", "stop"])


@given(st.lists(EVENTS, max_size=12))
def test_whatever_happens_it_is_ready_once_or_fails_once(events: list[str]) -> None:
    clock = Clock()
    ready: list[int] = []
    failed: list[str] = []
    successor = Successor(clock, ready.append, failed.append)
    transport = FakeTransport()
    successor.makeConnection(transport)
    actions: dict[str, Callable[[], object]] = {
        "R": lambda: successor.childDataReceived(3, READY[:1]),
        "rest": lambda: successor.childDataReceived(3, READY[1:]),
        "READY": lambda: successor.childDataReceived(3, READY),
        "junk": lambda: successor.childDataReceived(3, b"?"),
        "eof": lambda: successor.childConnectionLost(3),
        "exited": lambda: successor.processExited(Failure(ProcessDone(0))),
        "late": lambda: clock.advance(READY_WITHIN),
        "stop": lambda: successor.give_up("is not needed"),
        "end": lambda: end(successor, ProcessDone(0)),
    }
    for event in [*events, "end"]:
        if not transport.has_ended:
            actions[event]()
    assert len(ready) + len(failed) == 1
    assert transport.signals in ([], ["TERM"], ["TERM", "KILL"])
    assert bool(transport.signals) <= bool(failed)
    assert clock.getDelayedCalls() == []


class Handover:
    """A program that has taken a unix socket over, and is ready."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "web.sock"
        self.reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        self.shared = socket.socket(socket.AF_UNIX)
        self.shared.bind(str(self.path))
        self.shared.listen()
        self.reactor = FakeReactor()
        self.listener = Listener(self.reactor, self.shared.dup(), Factory(), 5, is_own=False)
        passed = PassedDescriptor(self.listener.fileno(), "web", owns_file=True)
        self.predecessor = Predecessor(self.reactor, writing, [passed])
        assert not os.get_inheritable(writing)
        self.handed_over: list[bool] = []

    def take_over(self) -> None:
        self.predecessor.take_over([("web", self.listener)], lambda: self.handed_over.append(True))

    def end(self, reason: ConnectionDone | ConnectionLost) -> None:
        """Do as Twisted when the other end of the pipe is closed, or this program stops."""
        (reader,) = self.reactor.readers
        reader.connectionLost(Failure(reason))
        self.listener.stopListening()
        self.shared.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(self.predecessor.fileno())


@pytest.mark.parametrize("has_ended", [False, True])
def test_the_files_are_its_own_when_the_predecessor_has_handed_over(tmp_path: Path, has_ended: bool) -> None:
    handover = Handover(tmp_path)
    if not has_ended:
        handover.take_over()
        assert os.read(handover.reading, 100) == READY
        assert not handover.listener.owns_file
        os.close(handover.reading)
    else:
        os.close(handover.reading)
        handover.take_over()
    assert handover.handed_over == []
    handover.end(handover.predecessor.doRead())
    assert handover.handed_over == [True]
    assert not handover.path.exists()


def test_a_file_that_is_gone_does_not_keep_the_others_from_being_its_own(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.take_over()
    os.close(handover.reading)
    handover.path.unlink()
    handover.end(handover.predecessor.doRead())
    assert handover.handed_over == [True]


def test_the_files_stay_where_the_predecessor_had_given_this_program_up(tmp_path: Path) -> None:
    failed: list[str] = []
    clock = Clock()
    successor = Successor(clock, lambda pid: pytest.fail(f"{pid} took over"), failed.append)
    successor.makeConnection(FakeTransport())
    handover = Handover(tmp_path)
    clock.advance(READY_WITHIN)
    handover.take_over()
    successor.childDataReceived(3, os.read(handover.reading, 100))
    handover.end(CONNECTION_LOST)
    os.close(handover.reading)
    assert handover.handed_over == []
    assert handover.path.exists()
    # Its sessions may finish.
    clock.advance(KILL_AFTER)
    assert successor.transport.signals == ["TERM"]
    end(successor, ProcessDone(0))
    assert failed == ["was not ready within 60 s (exit status 0)"]


def test_a_reactor_sees_that_nothing_reads_from_the_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    reactor = EPollReactor()
    predecessor = Predecessor(reactor, writing)
    predecessor.take_over([], reactor.crash)
    reactor.callWhenRunning(os.close, reading)
    reactor.callLater(10, reactor.crash)
    reactor.run(installSignalHandlers=False)
    assert reactor.getDelayedCalls()[0].getTime() > reactor.seconds()


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(EnvironmentVariableError) as raised:
        Predecessor(FakeReactor(), 2**30)
    assert str(raised.value) == f"{HANDOVER}: descriptor {2**30} is not open"


def test_the_command_is_that_of_this_process() -> None:
    upgrader = Upgrader(Clock(), FakeBalancer(), Environment(), lambda _: None)
    words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")[1:-1]
    assert list(upgrader._command[1:]) == words
    assert upgrader._command[0] == sys.executable
