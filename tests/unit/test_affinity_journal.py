"""When the affinity of a pool is read and written: at the start, twice a second, at the end; and bad luck."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from support.pools import a_pool, names, some_backends
from tcpbalance.config.paths import FilePath
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.journal import affinity_journal
from tcpbalance.journal.affinity_journal import (
    REPORT_EVERY,
    REPORT_HANG_AFTER,
    WAIT_FOR_FILE,
    WAIT_FOR_LAST_WRITE,
    WRITE_AGAIN_AFTER,
    WRITE_EVERY,
    WRITE_TIME_EVERY,
    AffinityJournal,
)
from tcpbalance.journal.file import JournalFile
from tcpbalance.journal.frames import FRAME_CLIENTS, JournalEnd, decode
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity
from tcpbalance.threads import InThread

T = TypeVar("T")

TTL = 1800.0
ANNE, BOB, CARL = (bytes((192, 0, 2, host)) for host in (1, 2, 3))


class Process:
    """A pool with affinity in a file, in a process that may end in any way and start again.

    :ivar clock: the reactor's and the pool's; each process has its own.
    """

    def __init__(
        self,
        path: Path,
        in_thread: InThread = execute,
        backends: Sequence[Backend] | None = None,
        **config: Any,
    ) -> None:
        self.path = path
        self.clock = Clock()
        self.clock.advance(int.from_bytes(os.urandom(2)))
        self.pool: Pool = a_pool(
            backends or some_backends(1, 1, 1),
            self.clock,
            affinity=AffinityConfig(ttl=TTL, state_file=FilePath(path), **config),
        )
        assert isinstance(self.pool.affinity, RecordedAffinity)
        self.affinity = self.pool.affinity
        self.journal = AffinityJournal(
            "web",
            str(path),
            self.affinity,
            lambda: self.pool.backends,
            clock=self.clock.seconds,
            reactor=self.clock,
            in_thread=in_thread,
        )
        self.journal.start()
        self.turns()

    def turns(self, seconds: float = 0.0) -> None:
        """Let time pass, and the reactor do what is due."""
        self.clock.advance(seconds)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def visit(self, client: bytes, which: str) -> None:
        self.affinity.closed(self.affinity.opened(client, self.backend(which)))

    def backend(self, name: str) -> Backend:
        (found,) = [backend for backend in self.pool.backends if backend.name == name]
        return found

    def where(self, *clients: bytes) -> list[str]:
        return [names(self.affinity.lookup(client)) for client in clients]

    def stop(self) -> list[None]:
        """End in order.

        :returns: not empty when it has ended.
        """
        ended: list[None] = []
        self.journal.stop().addCallback(ended.append)
        self.turns()
        return ended

    def is_killed(self) -> None:
        """End at once; the system closes the file."""
        self.journal._file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.affinity"


@pytest.fixture(autouse=True)
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def lines(logged: Sequence[LogEvent]) -> list[str]:
    return [f"{event['log_level'].name}: {formatEvent(event)}" for event in logged]


class Threads:
    """Work that is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.waiting.append((work, done))
        return done

    def do_one(self) -> None:
        work, done = self.waiting.pop(0)
        execute(work).chainDeferred(done)


def test_what_was_written_is_there_after_an_orderly_end(path: Path, logged: Sequence[LogEvent]) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.visit(BOB, "c")
    process.visit(BOB, "a")
    assert process.stop() == [None]
    assert process.clock.getDelayedCalls() == []
    again = Process(path)
    assert again.where(ANNE, BOB, CARL) == ["b", "ca", ""]
    assert lines(logged) == [f"info: pool web: affinity of 2 clients restored from {path}"]
    assert again.stop() == [None]


def test_after_a_kill_no_more_than_a_second_is_lost(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.turns(WRITE_EVERY)
    process.visit(BOB, "c")
    process.is_killed()
    assert WRITE_EVERY < 1
    assert Process(path).where(ANNE, BOB) == ["b", ""]


def test_entries_last_for_as_long_as_they_had_left(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.affinity.opened(BOB, process.backend("c"))
    process.turns(TTL - 10)
    process.stop()
    again = Process(path)
    again.turns(9)
    assert again.where(ANNE, BOB) == ["b", "c"]
    again.turns(1)
    assert again.where(ANNE, BOB) == ["", "c"]
    again.turns(TTL - 11)
    assert again.where(ANNE, BOB) == ["", "c"]
    again.turns(1)
    assert again.where(ANNE, BOB) == ["", ""]


def test_after_a_kill_they_last_a_minute_longer_at_most(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    elapsed = 1.5 * WRITE_TIME_EVERY
    for _ in range(int(elapsed / WRITE_EVERY)):
        process.turns(WRITE_EVERY)
    process.is_killed()
    again = Process(path)
    again.turns(TTL - elapsed)
    assert again.where(ANNE) == ["b"]
    again.turns(WRITE_TIME_EVERY)
    assert again.where(ANNE) == [""]


def test_nothing_is_written_while_nothing_changes_but_the_time(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.turns(WRITE_EVERY)
    written = path.stat()
    process.turns(WRITE_EVERY)
    assert path.stat() == written
    process.turns(WRITE_TIME_EVERY)
    assert path.stat().st_size == written.st_size + 28


def test_changes_of_half_a_second_are_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(path)
    appended: list[bytes] = []
    monkeypatch.setattr(JournalFile, "append", lambda self, data: appended.append(data))
    for number in range(3 * FRAME_CLIENTS):
        process.visit(number.to_bytes(4), "b")
    assert appended == []
    process.turns(WRITE_EVERY)
    assert len(appended) == 1


def test_entries_of_backends_that_are_gone_are_dropped(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "a")
    process.visit(BOB, "a")
    process.visit(BOB, "b")
    process.visit(CARL, "c")
    process.stop()
    _, b, c = some_backends(1, 1, 1)
    # One has another address, and one has another name.
    again = Process(path, backends=[Backend("10.9.9.9:80", name="a"), b, Backend(c.address, name="d")])
    assert again.where(ANNE, BOB, CARL) == ["", "b", ""]
    assert len(again.affinity) == 1


def test_numbers_of_backends_follow_the_pool(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.turns(WRITE_EVERY)
    _, b, c = process.pool.backends
    process.pool.replace([c, b])
    process.visit(BOB, "c")
    process.turns(WRITE_EVERY)
    process.is_killed()
    assert Process(path).where(ANNE, BOB) == ["b", "c"]


def test_max_entries_bounds_what_is_restored(path: Path) -> None:
    process = Process(path)
    for client in (ANNE, BOB, CARL):
        process.visit(client, "a")
    process.stop()
    again = Process(path, max_entries=2)
    assert again.where(ANNE, BOB, CARL) == ["", "a", "a"]


def test_large_tables_are_read_and_written_in_turns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [number.to_bytes(4) for number in range(20 * FRAME_CLIENTS)]
    turns: list[None] = []
    real = AffinityJournal._turn

    async def counted(journal: AffinityJournal) -> None:
        turns.append(None)
        await real(journal)

    monkeypatch.setattr(AffinityJournal, "_turn", counted)
    process = Process(path, max_entries=10**6)
    for client in many:
        process.visit(client, "b")
    assert turns == []
    process.turns(WRITE_EVERY)
    assert len(turns) == 19
    process.stop()
    turns.clear()
    again = Process(path, max_entries=10**6)
    assert again.where(*many) == ["b"] * len(many)
    assert len(turns) >= 20 + 19  # read, and written whole
    # Each frame is read, and made, between two of them.
    assert max(len(frame) for frame in decode(path.read_bytes()).frames) == FRAME_CLIENTS


def test_clients_that_come_before_the_file_is_read_stay_where_they_are(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.visit(BOB, "b")
    process.stop()
    threads = Threads()
    again = Process(path, threads)
    again.visit(ANNE, "c")
    threads.do_one()
    again.turns()
    assert again.where(ANNE, BOB) == ["c", "b"]


def waits(process: Process) -> bool:
    """Whether clients wait for the file."""
    return not process.journal.restored.settled


def test_clients_wait_until_the_file_is_read(path: Path) -> None:
    threads = Threads()
    process = Process(path, threads)
    assert waits(process)
    threads.do_one()
    process.turns()
    assert not waits(process)


def test_clients_do_not_wait_for_a_disk_that_does_not_answer(path: Path, logged: Sequence[LogEvent]) -> None:
    process = Process(path, Threads())
    process.turns(WAIT_FOR_FILE - 1)
    assert waits(process)
    process.turns(1)
    assert not waits(process)
    process.turns(REPORT_HANG_AFTER - WAIT_FOR_FILE)
    assert lines(logged) == [
        f"warn: pool web: affinity is in memory only: {path} does not answer for 10 s; see to its disk"
    ]


def test_the_end_does_not_wait_for_a_disk_that_does_not_answer(
    path: Path, logged: Sequence[LogEvent]
) -> None:
    process = Process(path, Threads())
    assert process.stop() == []
    ended: list[None] = []
    process.journal.stop().addCallback(ended.append)
    process.turns(WAIT_FOR_LAST_WRITE)
    assert ended == [None]
    assert process.clock.getDelayedCalls() == []
    assert lines(logged) == [f"warn: pool web: affinity: {path} does not answer"]


def test_the_end_waits_for_the_write_under_way(path: Path) -> None:
    threads = Threads()
    process = Process(path, threads)
    threads.do_one()
    process.turns()
    process.visit(ANNE, "b")
    ended: list[None] = []
    process.journal.stop().addCallback(ended.append)
    while not ended:
        threads.do_one()
        process.turns()
    assert threads.waiting == []
    assert Process(path).where(ANNE) == ["b"]


# Bad luck


def test_a_file_that_another_process_has_is_taken_over_when_that_ends(
    path: Path, logged: Sequence[LogEvent]
) -> None:
    old = Process(path)
    old.visit(ANNE, "b")
    new = Process(path)
    assert not waits(new)
    new.visit(BOB, "c")
    new.turns(WRITE_EVERY)
    assert new.where(ANNE) == [""]
    old.stop()
    new.turns(WRITE_EVERY)
    assert new.where(ANNE, BOB) == ["b", "c"]
    new.is_killed()
    assert Process(path).where(ANNE, BOB) == ["b", "c"]
    assert lines(logged)[:3] == [
        (
            f"warn: pool web: affinity is in memory only: {path} is in use by another process or pool; "
            "each needs a file of its own"
        ),
        f"info: pool web: affinity of 1 clients restored from {path}",
        f"info: pool web: affinity is kept in {path} again",
    ]


def test_a_foreign_file_is_kept_and_an_empty_one_begun(path: Path, logged: Sequence[LogEvent]) -> None:
    path.write_text("[frontends.web]\n")
    process = Process(path)
    process.visit(ANNE, "b")
    process.stop()
    assert Path(f"{path}.kept-1").read_text() == "[frontends.web]\n"
    assert lines(logged) == [
        (
            f"warn: pool web: affinity cannot be read from {path}: it is not an affinity journal; it is "
            f"kept as {path}.kept-1, and a new file is begun"
        ),
    ]
    assert Process(path).where(ANNE) == ["b"]


def test_an_incomplete_end_is_left_out(path: Path, logged: Sequence[LogEvent]) -> None:
    process = Process(path)
    process.visit(ANNE, "b")
    process.turns(WRITE_EVERY)
    process.visit(BOB, "b")
    process.stop()
    path.write_bytes(path.read_bytes()[:-1])
    assert Process(path).where(ANNE, BOB) == ["b", ""]
    assert decode(path.read_bytes()).ending is JournalEnd.COMPLETE
    assert lines(logged)[0] == (
        f"info: pool web: affinity in {path}: its last frame is incomplete, as after a crash; "
        "all before it is used"
    )


class FullDisk:
    """A disk that takes nothing while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: Any) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data)


def test_on_a_full_disk_all_goes_on_with_a_line_a_minute_until_there_is_space(
    path: Path, monkeypatch: pytest.MonkeyPatch, logged: Sequence[LogEvent]
) -> None:
    disk = FullDisk(monkeypatch)
    process = Process(path)
    process.visit(ANNE, "a")
    process.turns(WRITE_EVERY)
    disk.is_full = True
    process.visit(BOB, "b")
    process.turns(WRITE_EVERY)
    for _ in range(18):
        process.visit(ANNE, "a")
        process.turns(WRITE_AGAIN_AFTER)
    full = "cannot be written: No space left on device; free space on its disk"
    assert lines(logged) == [f"warn: pool web: affinity is in memory only: {path} {full}"] * 4
    assert process.where(ANNE, BOB) == ["a", "b"]
    disk.is_full = False
    process.turns(WRITE_AGAIN_AFTER)
    assert lines(logged)[4:] == [f"info: pool web: affinity is kept in {path} again"]
    process.is_killed()
    assert Process(path).where(ANNE, BOB) == ["a", "b"]


def test_a_folder_that_comes_later_is_used_from_then_on(path: Path, logged: Sequence[LogEvent]) -> None:
    path = path.parent / "later" / "web.affinity"
    process = Process(path)
    assert not waits(process)
    process.visit(ANNE, "a")
    for _ in range(int(1.5 * REPORT_EVERY / WRITE_EVERY)):
        process.turns(WRITE_EVERY)
    assert len(lines(logged)) == 2
    path.parent.mkdir()
    process.turns(WRITE_EVERY)
    process.is_killed()
    assert Process(path).where(ANNE) == ["a"]


def test_a_file_that_is_deleted_is_written_anew(path: Path, logged: Sequence[LogEvent]) -> None:
    process = Process(path)
    process.visit(ANNE, "a")
    process.turns(WRITE_EVERY)
    path.unlink()
    process.visit(BOB, "b")
    process.turns(WRITE_EVERY)
    process.turns(WRITE_EVERY)
    process.is_killed()
    assert Process(path).where(ANNE, BOB) == ["a", "b"]
    assert lines(logged)[:2] == [
        f"warn: pool web: affinity is in memory only: {path} was deleted or replaced",
        f"info: pool web: affinity is kept in {path} again",
    ]


def test_changes_that_were_too_many_cause_the_whole_table_to_be_written(path: Path) -> None:
    process = Process(path, max_entries=3)
    for number in range(20):
        process.visit(number.to_bytes(4), "b")
    process.turns(WRITE_EVERY)
    process.is_killed()
    clients = [number.to_bytes(4) for number in range(20)]
    assert Process(path, max_entries=3).where(*clients) == [""] * 17 + ["b"] * 3


def test_clients_that_were_forgotten_are_not_known_again(path: Path) -> None:
    process = Process(path)
    process.visit(ANNE, "a")
    process.visit(BOB, "b")
    process.turns(WRITE_EVERY)
    assert list(process.affinity.forget({process.backend("a")})) == []
    process.turns(WRITE_EVERY)
    process.is_killed()
    assert Process(path).where(ANNE, BOB) == ["", "b"]


def test_an_error_of_our_own_is_reported_and_does_not_end_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, logged: Sequence[LogEvent]
) -> None:
    process = Process(path)
    process.visit(ANNE, "a")
    with monkeypatch.context() as patched:

        def fail(*_: Any) -> bytes:
            raise LookupError("broken")

        patched.setattr(affinity_journal, "encode", fail)
        process.turns(WRITE_EVERY)
    (event,) = logged
    assert isinstance(event["log_failure"].value, LookupError)
    process.turns(WRITE_AGAIN_AFTER)
    process.is_killed()
    assert Process(path).where(ANNE) == ["a"]


def test_where_no_thread_can_be_started_it_is_reported(path: Path, logged: Sequence[LogEvent]) -> None:
    def no_thread(work: Callable[[], T], /) -> Deferred[T]:
        return execute(no_thread_left)

    def no_thread_left() -> Any:
        raise RuntimeError("can't start new thread")

    process = Process(path, no_thread)
    assert not waits(process)
    (event,) = logged
    assert isinstance(event["log_failure"].value, RuntimeError)


# Compacting


class Growing(Process):
    """One whose file grows with each write, with threads that the test runs."""

    def __init__(self, path: Path, threads: Threads) -> None:
        self.threads = threads
        super().__init__(path, threads)
        self.do_all()

    def do_all(self) -> None:
        while self.threads.waiting:
            self.threads.do_one()
            self.turns()

    def grow(self) -> None:
        """Write until the file is to be compacted, which then waits for its thread."""
        many = [number.to_bytes(4) for number in range(100 * FRAME_CLIENTS)]
        for client in many:
            self.visit(client, "b")
        self.turns(WRITE_EVERY)
        self.do_one()
        assert len(self.threads.waiting) == 1

    def do_one(self) -> None:
        self.threads.do_one()
        self.turns()


def test_a_file_that_has_grown_is_compacted_while_changes_are_written(path: Path) -> None:
    threads = Threads()
    process = Growing(path, threads)
    process.grow()
    grown = path.stat().st_size
    process.visit(ANNE, "a")
    process.turns(WRITE_EVERY)
    compact, append = threads.waiting
    threads.waiting = [append, compact]
    process.do_one()  # what has changed is written beside
    assert path.stat().st_size > grown
    process.do_one()
    process.visit(BOB, "c")
    process.turns(WRITE_EVERY)
    process.do_all()
    assert process.affinity.take_changes() == []
    process.is_killed()
    assert not Path(f"{path}.new").exists()
    assert Process(path).where(ANNE, BOB, bytes(4)) == ["a", "c", "b"]


def test_where_there_is_no_space_to_compact_the_file_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, logged: Sequence[LogEvent]
) -> None:
    disk = FullDisk(monkeypatch)
    threads = Threads()
    process = Growing(path, threads)
    process.grow()
    disk.is_full = True
    process.do_one()
    disk.is_full = False
    process.visit(ANNE, "a")
    process.turns(WRITE_EVERY)
    process.do_all()
    assert lines(logged) == [
        (
            f"warn: pool web: affinity goes on in the file as it is: {path} cannot be compacted: No space "
            "left on device; free space on its disk"
        ),
    ]
    process.is_killed()
    assert Process(path).where(ANNE) == ["a"]


def test_a_file_that_others_have_changed_is_written_anew(path: Path) -> None:
    threads = Threads()
    process = Growing(path, threads)
    process.grow()
    with path.open("r+b") as other:
        other.seek(-3, os.SEEK_END)
        other.write(b"!!!")
    process.do_one()
    for _ in range(3):
        process.turns(WRITE_EVERY)
        process.do_all()
    process.is_killed()
    assert decode(path.read_bytes()).ending is JournalEnd.COMPLETE
    assert Process(path).where(bytes(4), (100 * FRAME_CLIENTS - 1).to_bytes(4)) == ["b", "b"]


def test_the_end_waits_for_a_file_that_is_compacted(path: Path) -> None:
    threads = Threads()
    process = Growing(path, threads)
    process.grow()
    ended: list[None] = []
    process.journal.stop().addCallback(ended.append)
    process.turns()
    assert ended == []
    process.do_all()
    assert ended == [None]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert Process(path).where(bytes(4)) == ["b"]


def test_it_is_locked_until_it_has_ended(path: Path) -> None:
    process = Process(path)
    with path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    process.stop()
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
