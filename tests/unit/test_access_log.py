"""The access log as a service: what is logged is written, in order, and whatever goes wrong stops nothing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from support.records import record, request
from tcpbalance.logs import log_format
from tcpbalance.logs.access_log import AccessLog, AccessLogError
from tcpbalance.logs.combined import combined_line
from tcpbalance.logs.log_file import LogFile
from tcpbalance.proxy.record import SessionRecord

THREAD = "tcpbalance access log"


@implementer(IReactorFromThreads)
class Reactor(Clock):
    """A clock that also carries calls from other threads, when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: A002  # Twisted's name
        self._calls.put(lambda: callable(*args, **kwargs))

    def turn(self) -> None:
        """Carry one call from a thread, waiting for it."""
        self._calls.get(timeout=10)()


@implementer(ILogObserver)
class Log:
    """An access log on a clock, and what the program's own log said."""

    def __init__(self, path: Path | str, form: str = "text", bound: int = 10_000) -> None:
        self.reactor = Reactor()
        self.service = AccessLog(str(path), form, self.reactor, bound)
        self.said: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.said.append(formatEvent(event))

    def log(self, *clients: str) -> None:
        for client in clients:
            self.service.log(record(client=client))

    def flush(self) -> None:
        self.reactor.advance(0.1)

    def stop(self) -> None:
        """Stop the service and wait for its end."""
        stopped = self.service.stopService()
        while not fired(stopped):
            self.reactor.turn()
        stopped.addErrback(lambda failure: failure.raiseException())


Starter = Callable[..., Log]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start access logs, which are stopped after the test, and listen to the program's own log."""
    logs: list[Log] = []

    def _start(*args: Any, **options: Any) -> Log:
        log = Log(*args, **options)
        log.service.startService()
        globalLogPublisher.addObserver(log)
        logs.append(log)
        return log

    yield _start
    for log in logs:
        globalLogPublisher.removeObserver(log)
        log.stop()
    assert THREAD not in [thread.name for thread in threading.enumerate()]


def fired(deferred: Deferred[None]) -> bool:
    """Tell whether a deferred has its result."""
    return bool(deferred.called)


def clients(path: Path) -> list[str]:
    """The clients in a text log, line by line."""
    return [line.split()[1].removeprefix("client=") for line in path.read_text().splitlines()]


def test_each_record_becomes_a_line_in_order(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log")
    log.log("a", "b")
    log.flush()
    log.log("c")
    log.stop()
    assert clients(tmp_path / "access.log") == ["a", "b", "c"]


@pytest.mark.parametrize(("form", "line"), log_format.FORMATS.items())
def test_the_form_is_the_one_asked_for(
    start: Starter, tmp_path: Path, form: str, line: Callable[[SessionRecord], str]
) -> None:
    log = start(tmp_path / "access.log", form)
    log.service.log(request(client="a"))
    log.stop()
    assert (tmp_path / "access.log").read_text() == line(request(client="a")) + "\n"


def test_a_record_without_a_line_leaves_no_trace(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log", "combined")
    log.service.log(record())
    log.service.log(request())
    log.stop()
    assert (tmp_path / "access.log").read_text() == combined_line(request()) + "\n"


def test_many_records_share_one_delayed_call(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log")
    assert log.reactor.getDelayedCalls() == []
    log.log(*"abc")
    (call,) = log.reactor.getDelayedCalls()
    assert call.getTime() == pytest.approx(0.1)
    log.flush()
    assert log.reactor.getDelayedCalls() == []


def test_more_records_than_a_batch_are_all_written(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log")
    names = [str(number) for number in range(1000)]
    log.log(*names)
    log.stop()
    assert clients(tmp_path / "access.log") == names


def test_batches_are_bounded_so_that_the_lock_is_given_away(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(LogFile, "write", lambda self, lines: sizes.append(lines.count(b"\n")))
    log = start(tmp_path / "access.log")
    log.log(*"x" * 1000)
    log.stop()
    assert sum(sizes) == 1000
    assert max(sizes) == 64


def test_stopping_writes_what_is_left_and_leaves_nothing(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log")
    log.log("a")
    log.stop()
    assert clients(tmp_path / "access.log") == ["a"]
    assert log.reactor.getDelayedCalls() == []
    assert not log.service.running


def test_what_comes_before_the_start_or_after_the_stop_is_not_written(start: Starter, tmp_path: Path) -> None:
    early = Log(tmp_path / "access.log")
    early.log("early")
    assert early.reactor.getDelayedCalls() == []
    log = start(tmp_path / "access.log")
    log.stop()
    log.log("late")
    log.service.reopen()
    assert log.reactor.getDelayedCalls() == []
    assert (tmp_path / "access.log").read_text() == ""


def test_it_can_be_started_again(start: Starter, tmp_path: Path) -> None:
    log = start(tmp_path / "access.log")
    log.log("a")
    log.stop()
    log.service.startService()
    log.log("b")
    log.stop()
    assert clients(tmp_path / "access.log") == ["a", "b"]


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    log = Log(tmp_path / "missing" / "access.log")
    with pytest.raises(AccessLogError, match=r"missing/access.log: cannot be opened"):
        log.service.startService()
    assert not log.service.running
    assert isinstance(log.service.stopService(), Deferred)
    assert THREAD not in [thread.name for thread in threading.enumerate()]


def test_the_thread_starts_with_the_first_record_so_that_a_daemon_may_fork_before(
    start: Starter, tmp_path: Path
) -> None:
    log = start(tmp_path / "access.log")
    assert THREAD not in [thread.name for thread in threading.enumerate()]
    log.log("a")
    log.flush()
    assert THREAD in [thread.name for thread in threading.enumerate()]


def test_opening_anew_keeps_the_order(start: Starter, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = start(path)
    log.log("a")
    path.rename(tmp_path / "access.log.1")
    log.log("b")
    log.service.reopen()
    log.log("c")
    log.stop()
    assert clients(tmp_path / "access.log.1") == ["a", "b"]
    assert clients(path) == ["c"]


def test_when_it_cannot_be_opened_anew_it_says_so_and_goes_on(start: Starter, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = start(path)
    path.rename(tmp_path / "access.log.1")
    path.mkdir()
    log.service.reopen()
    log.log("a")
    log.reactor.turn()
    log.stop()
    (said,) = log.said
    assert said == (
        f"access log {path}: cannot be opened: Is a directory; "
        "name a file in access_log.path, not a folder (records lost: 0)"
    )
    assert clients(tmp_path / "access.log.1") == ["a"]


def test_a_deleted_file_is_created_anew_and_that_is_said(start: Starter, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = start(path)
    path.unlink()
    log.log("a")
    log.flush()
    log.reactor.turn()
    log.stop()
    assert clients(path) == ["a"]
    assert log.said == [f"access log {path}: it was deleted and has been created anew (records lost: 0)"]


def test_a_folder_that_vanished_costs_records_until_it_is_back(start: Starter, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = start(folder / "access.log")
    (folder / "access.log").unlink()
    folder.rmdir()
    log.log("a")
    log.flush()
    log.reactor.turn()
    folder.mkdir()
    log.log("b")
    log.stop()
    assert clients(folder / "access.log") == ["b"]
    assert log.said[0] == (
        f"access log {folder}/access.log: cannot be opened: No such file or directory; "
        "create its folder, or change access_log.path (records lost: 1)"
    )


def test_a_full_disk_is_said_once_a_second_with_all_that_was_lost(start: Starter) -> None:
    log = start("/dev/full")
    for _ in range(15):
        log.log("a", "b")
        log.flush()
        log.reactor.turn()
    assert log.said == [
        "access log /dev/full: No space left on device (records lost: 2)",
        "access log /dev/full: No space left on device (records lost: 20)",
    ]
    log.stop()
    assert log.said[2:] == ["access log /dev/full: No space left on device (records lost: 8)"]


def test_a_record_that_cannot_be_formatted_costs_its_batch_and_not_the_thread(
    start: Starter, tmp_path: Path
) -> None:
    log = start(tmp_path / "access.log")
    log.service.log(record(started=float("nan")))
    log.flush()
    log.reactor.turn()
    log.log("a")
    log.stop()
    assert clients(tmp_path / "access.log") == ["a"]
    assert len(log.said) == 1
    assert "(records lost: 1)" in log.said[0]


class Stalled:
    """A named pipe whose reader reads nothing until `read` is called."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pipe"
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._text = b""

    def fill(self) -> None:
        """Leave no room in the pipe, so that not even the first line goes in."""
        writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"-" * 4096)
        os.close(writer)

    def read(self) -> str:
        """Read what is there by now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reader, 1 << 20):
                self._text += data
        return self._text.decode()

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Stalled]:
    """A named pipe whose reader has stalled."""
    pipe = Stalled(tmp_path)
    yield pipe
    pipe.close()


@contextlib.contextmanager
def standard_output(path: Path) -> Iterator[None]:
    """Let standard output go to `path`; no fixture, because pytest captures standard output after those."""
    saved = os.dup(1)
    target = os.open(path, os.O_WRONLY)
    os.dup2(target, 1)
    os.close(target)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def overfill(log: Log, rounds: int = 20) -> int:
    """Log more than pipe and bound hold, a second a round.

    :returns: how many records that were.
    """
    for _ in range(rounds):
        log.log(*"x" * 100)
        log.reactor.advance(1)
    return rounds * 100


def lost(said: list[str]) -> int:
    """Add up what the program's own log says was lost."""
    return sum(int(line.rpartition("records lost: ")[2].rstrip(")")) for line in said)


def stop_with_reader(log: Log, pipe: Stalled) -> None:
    """Stop the log while someone reads the pipe."""
    stopped = log.service.stopService()
    reader = threading.Thread(target=lambda: [pipe.read() for _ in iter(lambda: fired(stopped), True)])
    reader.start()
    while not fired(stopped):
        log.reactor.turn()
    reader.join()


def test_a_stalled_reader_costs_records_beyond_the_bound_and_each_is_counted(
    start: Starter, stalled: Stalled
) -> None:
    log = start(stalled.path, bound=500)
    logged = overfill(log)
    assert 2 <= len(log.said) <= 20
    assert all("lines arrive faster than they can be written" in line for line in log.said)
    stop_with_reader(log, stalled)
    written = stalled.read().count("\n")
    assert written >= 500
    assert written + lost(log.said) == logged


def test_a_stalled_reader_is_given_up_two_seconds_after_the_stop(start: Starter, stalled: Stalled) -> None:
    log = start(stalled.path, bound=500)
    logged = overfill(log)
    stopped = log.service.stopService()
    log.reactor.advance(1.9)
    assert not fired(stopped)
    log.reactor.advance(0.1)
    while not fired(stopped):
        log.reactor.turn()
    assert THREAD not in [thread.name for thread in threading.enumerate()]
    assert log.reactor.getDelayedCalls() == []
    assert stalled.read().count("\n") + lost(log.said) == logged
    assert "its reader does not read" in log.said[-1]


def test_while_standard_output_is_stalled_nothing_is_said_that_would_go_there_too(
    start: Starter, stalled: Stalled
) -> None:
    stalled.fill()
    with standard_output(stalled.path):
        log = start("-", bound=500)
        logged = overfill(log)
        assert log.said == []
        stop_with_reader(log, stalled)
    assert lost(log.said) > 0
    assert stalled.read().count("\n") + lost(log.said) == logged


def test_standard_output_stays_open(start: Starter, stalled: Stalled) -> None:
    with standard_output(stalled.path):
        log = start("-")
        log.log("a")
        log.service.reopen()
        log.stop()
        os.write(1, b"still open\n")
    assert stalled.read().endswith("tls_client=-\nstill open\n")


def test_a_thread_that_hangs_in_the_system_is_left_to_it(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    monkeypatch.setattr(LogFile, "write", lambda self, lines: hang.wait(10))
    log = start(tmp_path / "access.log")
    log.log("a")
    stopped = log.service.stopService()
    log.reactor.advance(2)
    assert not fired(stopped)
    log.reactor.advance(0.5)
    assert fired(stopped)
    assert log.said == [f"access log {tmp_path}/access.log: a write to it does not return (records lost: 1)"]
    hang.set()
    log.reactor.turn()
