"""Keeps the affinity of a pool in a file while the pool runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.event import OneTimeEvent, failure_of
from tcpbalance.journal.file import JournalDamagedError, JournalError, JournalFile, Opened
from tcpbalance.journal.frames import (
    FRAME_CLIENTS,
    JOURNAL_HEADER,
    BackendKey,
    Frame,
    JournalEnd,
    Latest,
    Row,
    encode,
    newest_first,
)
from tcpbalance.pool.backend import Backend
from tcpbalance.threads import InThread

WRITE_EVERY = 0.5
"""Seconds from one write to the next: as long again may a busy loop and the write take, and no more than a
second is lost."""

OPEN_AGAIN_AFTER = 0.25
"""Seconds after which a file that could not be opened is tried again: so long clients of a process that takes
over from another one wait for their entries, once that has released them."""

WRITE_AGAIN_AFTER = 10.0
"""Seconds after which a write that has failed is tried again, with the whole table."""

WRITE_TIME_EVERY = 60.0
"""Seconds after which the time is written where nothing else was: after a crash, entries hold longer by so
much at most."""

WAIT_FOR_FILE = 5.0
"""Seconds for which reading the file may keep clients waiting; what is read later is restored beside them."""

WAIT_FOR_LAST_WRITE = 2.0
"""Seconds for which the end of the pool waits for the last write."""

REPORT_EVERY = 60.0
"""Seconds between two log lines about a file that cannot be used."""

REPORT_HANG_AFTER = 10.0
"""Seconds after which it is reported that the disk does not answer."""

_IN_MEMORY = "affinity is in memory only"

T = TypeVar("T")


class Table(Protocol):
    """What is kept in the file; see `RecordedAffinity`."""

    @property
    def max_clients(self) -> int:
        """How many clients it has at most."""
        ...

    def take_changes(self) -> list[bytes] | None:
        """Give the clients that have changed since the last call, None for all."""
        ...

    def clients(self) -> list[bytes]:
        """Give all clients, the least recently used first; none counts as changed any more."""
        ...

    def rows_of(self, clients: Iterable[bytes], numbers: Mapping[Backend, int]) -> Sequence[Row]:
        """Give the entries of clients, those of one together, with the numbers of their backends."""
        ...

    def restore(self, entries: Iterable[tuple[bytes, Backend, float]]) -> int:
        """Take entries that are older than all others, the latest first, with the seconds that they last.

        :returns: how many clients are new by that.
        """
        ...


class AffinityJournal:
    """Restores a table from its file, and writes down what changes in it.

    The reactor's thread makes the bytes, in pieces of less than a millisecond; threads read and write them.
    What changes is written twice a second, at the end of the file; when the file has grown, a thread makes a
    compact one meanwhile. Where a write fails, the whole table is written as soon as that can be done.

    :param pool: the name of the pool, for the log.
    :param path: of the file.
    :param table: what is kept.
    :param backends: gives the pool's backends; another tuple whenever they have changed.
    :param clock: the clock by which entries expire.
    :param reactor: IReactorTime.
    :param in_thread: calls what blocks.
    :ivar table: as given.
    :ivar restored: happens when the file is read, or clients are to wait for it no longer.
    """

    _log = Logger()

    def __init__(
        self,
        pool: str,
        path: str,
        table: Table,
        backends: Callable[[], tuple[Backend, ...]],
        *,
        clock: Callable[[], float],
        reactor: Any,
        in_thread: InThread,
    ) -> None:
        self._pool = pool
        self._path = path
        self._file = JournalFile(path)
        self.table = table
        self._backends = backends
        self._clock = clock
        self._reactor = reactor
        self._in_thread = in_thread
        self.restored: OneTimeEvent[None] = OneTimeEvent()
        self._ended: OneTimeEvent[None] = OneTimeEvent()
        self._is_stopping = False
        self._wake: Callable[[], None] = lambda: None
        # What numbers stand for in the file.
        self._numbered: tuple[Backend, ...] | None = None
        self._numbers: dict[Backend, int] = {}
        # Whether the file has the whole table, apart from changes that are still to be taken.
        self._is_whole = False
        self._compaction: OneTimeEvent[None] | None = None
        self._compact_at = 0.0
        self._written_at = 0.0
        self._next_report = float("-inf")
        self._has_reported = False
        self._reports: set[IDelayedCall] = set()

    def start(self) -> None:
        """Begin to read the file, and then to write it."""
        call = self._reactor.callLater(WAIT_FOR_FILE, self.restored.settle, None)
        self.restored.wait().addCallback(lambda _: call.active() and call.cancel())
        Deferred.fromCoroutine(self._run()).addErrback(self._log_failure)

    def stop(self) -> Deferred[None]:
        """Write what is left, and give the file up.

        :returns: fires when that is done, after about two seconds at most.
        """
        self.restored.settle(None)
        if not self._is_stopping:
            self._is_stopping = True
            call = self._reactor.callLater(WAIT_FOR_LAST_WRITE, self._abandon)
            self._ended.wait().addCallback(lambda _: call.active() and call.cancel())
            self._wake()
        return self._ended.wait()

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._sleep(await self._try())
        if self._file.is_open:
            await self._try()
        await self._end_of_compaction()
        await self._call(self._file.close)
        self._ended.settle(None)

    async def _try(self) -> float:
        """Open the file if need be, and write what there is to be written.

        :returns: seconds until this is to be done again.
        """
        try:
            if not self._file.is_open:
                await self._open()
            await self._write()
        except Exception as error:
            self._is_whole = False
            self._report(error)
            # Clients do not wait for a file that cannot be read now.
            self.restored.settle(None)
            return WRITE_AGAIN_AFTER if self._file.is_open else OPEN_AGAIN_AFTER
        if self._has_reported:
            self._has_reported = False
            self._log.info("pool {pool}: affinity is kept in {path} again", pool=self._pool, path=self._path)
        return WRITE_EVERY

    # Reading

    async def _open(self) -> None:
        self._is_whole = False
        await self._end_of_compaction()
        opened = await self._call(self._file.open)
        self._log_ending(opened)
        count = await self._restore(opened.frames)
        if count:
            self._log.info(
                "pool {pool}: affinity of {count} clients restored from {path}",
                pool=self._pool,
                count=count,
                path=self._path,
            )
        self.restored.settle(None)

    async def _restore(self, frames: Sequence[Frame]) -> int:
        """Restore what is in the frames to the table.

        :returns: how many clients were restored.
        """
        if not frames:
            return 0
        # How long ago that was, no clock says: entries hold for as long as they did then.
        written = frames[-1].now
        by_key = {_key(backend): backend for backend in self._backends()}
        table: tuple[BackendKey, ...] = ()
        backends: list[Backend | None] = []
        latest = Latest()
        count = 0
        for piece in newest_first(frames):
            for frame in piece:
                if frame.backends is not table:
                    table, backends = frame.backends, [by_key.get(key) for key in frame.backends]
                count += self.table.restore(
                    [
                        (client, backend, expires - written)
                        for client, number, expires in latest.of(frame)
                        if number < len(backends) and (backend := backends[number]) is not None
                    ]
                )
            await self._turn()
        return count

    # Writing

    async def _write(self) -> None:
        """Bring the file up to date."""
        changed = self.table.take_changes()
        if changed is None or not self._is_whole:
            await self._write_whole()
        elif changed or self._is_stopping or self._clock() >= self._written_at + WRITE_TIME_EVERY:
            data = b"".join(await self._frames(changed))
            await self._call(partial(self._file.append, data))
            self._written_at = self._clock()
        await self._compact()

    async def _write_whole(self) -> None:
        await self._end_of_compaction()
        self._numbered = None
        frames = await self._frames(self.table.clients())
        await self._call(partial(self._file.replace, [JOURNAL_HEADER, *frames]))
        self._is_whole, self._written_at = True, self._clock()

    async def _frames(self, clients: Sequence[bytes]) -> list[bytes]:
        """Make frames of the entries that clients have now, one in each turn of the reactor."""
        frames = [self._frame(clients[:FRAME_CLIENTS])]
        for start in range(FRAME_CLIENTS, len(clients), FRAME_CLIENTS):
            await self._turn()
            frames.append(self._frame(clients[start : start + FRAME_CLIENTS]))
        return frames

    def _frame(self, clients: Sequence[bytes]) -> bytes:
        backends, table = self._backends(), None
        if backends is not self._numbered:
            self._numbered, table = backends, [_key(backend) for backend in backends]
            self._numbers = {backend: number for number, backend in enumerate(backends)}
        return encode(self._clock(), self.table.rows_of(clients, self._numbers), table)

    # Compacting

    async def _compact(self) -> None:
        """Begin to compact a file that has grown; or have the compact one take its place, once it is made."""
        if self._compaction is None:
            if self._file.is_due and not self._is_stopping and self._clock() >= self._compact_at:
                self._compaction = OneTimeEvent()
                work = partial(self._file.compact, self.table.max_clients)
                Deferred.fromCoroutine(self._call(work)).addBoth(self._compaction.settle)
        elif self._compaction.settled:
            compaction, self._compaction = self._compaction, None
            try:
                await compaction.wait()
                await self._call(self._file.swap)
            except JournalError as error:
                # What was appended is in the file all the same, unless that is damaged.
                self._is_whole = self._is_whole and not isinstance(error, JournalDamagedError)
                self._compact_at = self._clock() + WRITE_AGAIN_AFTER
                self._report(error, "affinity goes on in the file as it is")

    async def _end_of_compaction(self) -> None:
        """Wait until no other file is written any more; what was written is not used."""
        if self._compaction is not None:
            compaction, self._compaction = self._compaction, None
            with suppress(Exception):
                await compaction.wait()

    # Threads and turns

    async def _call(self, work: Callable[[], T]) -> T:
        """Call in a thread, and report if that takes long."""
        hangs = JournalError(f"{self._path} does not answer for {REPORT_HANG_AFTER:g} s; see to its disk")
        call = self._reactor.callLater(REPORT_HANG_AFTER, self._report, hangs)
        self._reports.add(call)
        try:
            return await self._in_thread(work)
        finally:
            self._reports.discard(call)
            if call.active():
                call.cancel()

    async def _turn(self) -> None:
        """Let the reactor do what else there is to be done."""
        await deferLater(self._reactor, 0)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond a call of `stop`."""
        if self._is_stopping:
            return
        over: Deferred[None] = Deferred()
        call = self._reactor.callLater(seconds, over.callback, None)

        def wake() -> None:
            if call.active():
                call.cancel()
                over.callback(None)

        self._wake = wake
        await over

    def _abandon(self) -> None:
        """Leave the last write to its thread, which hangs."""
        self._log.warn("pool {pool}: affinity: {path} does not answer", pool=self._pool, path=self._path)
        for call in self._reports:
            call.cancel()
        self._reports.clear()
        self._ended.settle(None)

    # Log

    def _report(self, error: Exception, consequence: str = _IN_MEMORY) -> None:
        """Write a line about what goes wrong, once a minute at most."""
        now = self._reactor.seconds()
        if now < self._next_report:
            return
        self._next_report = now + REPORT_EVERY
        self._has_reported |= consequence == _IN_MEMORY
        if isinstance(error, JournalError):
            self._log.warn(
                "pool {pool}: {consequence}: {error}",
                pool=self._pool,
                consequence=consequence,
                error=str(error),
            )
        else:
            self._log_failure(failure_of(error))

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure("pool {pool}: {consequence}", failure, pool=self._pool, consequence=_IN_MEMORY)

    def _log_ending(self, opened: Opened) -> None:
        """Write a line about a file that could not be read to its end."""
        if opened.kept_as is not None:
            self._log.warn(
                "pool {pool}: affinity cannot be read from {path}: {ending}; it is kept as {kept_as}, and a "
                "new file is begun",
                pool=self._pool,
                path=self._path,
                ending=opened.ending.value,
                kept_as=opened.kept_as,
            )
        elif opened.ending is JournalEnd.CUT:
            self._log.info(
                "pool {pool}: affinity in {path}: {ending}, as after a crash; all before it is used",
                pool=self._pool,
                path=self._path,
                ending=opened.ending.value,
            )


def _key(backend: Backend) -> BackendKey:
    return backend.name, str(backend.address)
