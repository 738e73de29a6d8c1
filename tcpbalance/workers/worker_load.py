"""What a worker knows of the load of all: whatever is counted together, by the names of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakMethod, ref

from tcpbalance.config.counted import (
    Key,
    able_key,
    backend_key,
    frontend_key,
    paused_key,
    queue_key,
    requests_key,
)
from tcpbalance.pool.shared_load import WaitsHere
from tcpbalance.workers.shared_counts import SharedCount, SharedCounts, count_alone
from tcpbalance.workers.wakeups import WaitingHere, Wakeups

ATTEMPTS = 3
"""How often a worker announces one more where there may be one: of two that do so at the same time, none may
get it."""


def _announce(count: SharedCount) -> bool:
    """Count one more, unless there are as many as there may be."""
    for _ in range(ATTEMPTS):
        if count.add():
            return True
        if count.full:
            break
    return False


def first_turn(place: int) -> float:
    """Give where in a round the turns of a worker begin: as far from those of the others as can be.

    The radical inverse of van der Corput: 0, 1/2, 1/4, 3/4, 1/8 and so on, for any number of workers.

    :param place: of the worker, from 0.
    """
    part, digit = 0.0, 0.5
    while place:
        part += digit * (place & 1)
        place >>= 1
        digit /= 2
    return part


class WorkerLoad:
    """The counts of all workers; see ``shared.SharedLoad``.

    Nothing is counted before it is known where: names come from the supervisor, each with a row. A reload may
    bring a pool back while connections of the former one go on; so all of a name count in one cell.

    :param place: of the worker.
    """

    def __init__(self, place: int) -> None:
        self._first_turn = first_turn(place)
        self._counts: SharedCounts | None = None
        self._column = 0
        self._wakeups: Wakeups | None = None
        self._rows: dict[Key, int] = {}
        self._cells: dict[int, SharedCount] = {}
        self._pools: dict[ref[WorkerPoolLoad], None] = {}
        self._limits: dict[Key, WorkerLimit] = {}

    def begin(self, counts: SharedCounts, column: int, wakeups: Wakeups) -> None:
        """Count in this memory.

        :param column: of this process.
        :param wakeups: of all workers.
        """
        self._counts, self._column, self._wakeups = counts, column, wakeups

    def learn(self, rows: Iterable[tuple[Key, int]]) -> None:
        """Know the rows of these from the next `look_again` on, too."""
        self._rows.update(rows)

    def forget(self, keys: Iterable[Key]) -> None:
        """Count these no more, from the next `look_again` on."""
        for key in keys:
            self._rows.pop(key, None)

    def look_again(self) -> None:
        """Count what there are rows for, and nothing else."""
        # Others may be added meanwhile: a configuration is prepared in a thread.
        for its in list(self._pools):
            pool = its()
            if pool is not None:
                pool.look_again()
        for key, limit in list(self._limits.items()):
            if not limit.look_again():
                del self._limits[key]
        for row in self._cells.keys() - self._rows.values():
            self._cells.pop(row).store(0)

    def pool(self, name: str) -> WorkerPoolLoad:
        """Give what a pool has in common with those of its name, in this worker and in others."""
        return WorkerPoolLoad(self, name, self._first_turn)

    def follow(self, pool: WorkerPoolLoad) -> None:
        """Have a pool look again when there may be other rows, for as long as it is in use."""
        self._pools[ref(pool, self._pools.pop)] = None

    def frontend(self, name: str) -> WorkerLimit:
        """Give what a frontend has in common with those of its name in other workers."""
        return self._limit(frontend_key(name), paused_key(name))

    def requests(self, name: str) -> WorkerLimit:
        """Give the requests that a frontend has in common with those of its name in other workers."""
        return self._limit(requests_key(name), None)

    def _limit(self, key: Key, waiting: Key | None) -> WorkerLimit:
        known = self._limits.get(key)
        if known is None:
            known = self._limits[key] = WorkerLimit(self, key, waiting)
        return known

    @property
    def processes(self) -> int:
        """How many processes there are, at least 1."""
        return 1 if self._counts is None else max(1, self._counts.columns_in_use)

    def row(self, key: Key) -> int | None:
        """Give the row of something; None where it is not counted."""
        return None if self._counts is None else self._rows.get(key)

    def count(self, row: int) -> SharedCount:
        """Give the count of what is in a row, of which all that this worker has is counted."""
        assert self._counts is not None
        known = self._cells.get(row)
        # Pools are made in a thread, too.
        return known or self._cells.setdefault(row, self._counts.count(self._column, row))

    def waiting(
        self, key: Key | None, able: Key | None, here: WaitsHere | None, known: WaitingHere | None
    ) -> WaitingHere | None:
        """Give what waits in this worker for something; None where nothing waits for it together.

        :param key: of what waits; None where nothing does.
        :param able: of those that may be able to use what is free; None where that is all.
        :param known: what it was so far.
        """
        row = None if key is None else self.row(key)
        if row is None or here is None or self._wakeups is None:
            if known is not None:
                known.say(0)
            return None
        if known is not None and known.row == row and known.here is here:
            return known
        if known is not None:
            known.say(0)
        lines = self.count(row)
        able_row = None if able is None else self.row(able)
        return WaitingHere(
            self._wakeups, row, lines, lines if able_row is None else self.count(able_row), here
        )


class WorkerBackendLoad:
    """The connections of all workers to one backend; see ``shared_load.BackendLoad``."""

    __slots__ = ("_count", "_pool", "row")

    def __init__(self, pool: WorkerPoolLoad, row: int, count: SharedCount) -> None:
        self._pool = pool
        self._count = count
        self.row = row

    def detach(self) -> None:
        """Count nothing any more: another thing may come to have the row."""
        self._count = count_alone()

    @property
    def total(self) -> int:
        """See ``BackendLoad``."""
        return self._count.total

    @property
    def full(self) -> bool:
        """See ``BackendLoad``."""
        count = self._count
        if count.full:
            return True
        pool = self._pool
        waiting = pool.waiting
        return waiting is not None and not pool.serving and waiting.comes_first and count.has_maximum

    def add(self) -> bool:
        """See ``BackendLoad``."""
        if _announce(self._count):
            return True
        # What was announced and taken back may have kept one from looking that waits.
        self._pool.look_soon()
        return False

    def remove(self) -> None:
        """See ``BackendLoad``."""
        self._count.remove()
        if self._pool.waiting is not None:
            self._pool.give()


class WorkerPoolLoad:
    """What the pools of one name have in common; see ``shared_load.PoolLoad``.

    :ivar waiting: the clients that wait in their queues; None where none may.
    """

    def __init__(self, load: WorkerLoad, name: str, first_turn: float) -> None:
        self.first_turn = first_turn
        self.serving = False
        self._load = load
        self._name = name
        self._backends: dict[Key, WorkerBackendLoad] = {}
        self._on_change: Callable[[], Callable[[], None] | None] = lambda: None
        self._here: Callable[[], WaitsHere | None] = lambda: None
        self.waiting: WaitingHere | None = None

    @property
    def processes(self) -> int:
        """See ``PoolLoad``."""
        return self._load.processes

    def load_of(self, name: str, address: str, active: int) -> WorkerBackendLoad | None:
        """See ``PoolLoad``."""
        key = backend_key(self._name, name, address)
        row, known = self._load.row(key), self._backends.get(key)
        if row is None:
            return None
        if known is None or known.row != row:
            count = self._load.count(row)
            if active:
                count.store(count.own + active)
            known = self._backends[key] = WorkerBackendLoad(self, row, count)
        return known

    def follow(self, on_change: Callable[[], None]) -> None:
        """See ``PoolLoad``."""
        self._on_change = WeakMethod(on_change)
        self._load.follow(self)

    def wait_here(self, waits: WaitsHere) -> None:
        """See ``PoolLoad``."""
        self._here = ref(waits)
        self._find_waiting()

    def look_again(self) -> None:
        """Rows may be known that were not before, and others not any more."""
        for key, backend in list(self._backends.items()):
            if self._load.row(key) != backend.row:
                backend.detach()
                del self._backends[key]
        self._find_waiting()
        on_change = self._on_change()
        if on_change is not None:
            on_change()

    def _find_waiting(self) -> None:
        self.waiting = self._load.waiting(
            queue_key(self._name), able_key(self._name), self._here(), self.waiting
        )

    def lines_wait(self, lines: int, able: bool) -> None:
        """See ``PoolLoad``."""
        if self.waiting is not None:
            self.waiting.say(lines, able)

    def look_soon(self) -> None:
        """Have those that wait look, but not within this call."""
        if self.waiting is not None:
            self.waiting.look_soon()

    def give(self) -> None:
        """Have one of those that wait take what was given back."""
        if self.waiting is None:
            return
        if self.serving:
            self.waiting.look_soon()
        else:
            self.waiting.give()


class WorkerLimit:
    """The sessions or requests of one frontend in all workers; see ``shared_limit.SharedLimit``.

    :param key: of what is counted.
    :param waiting: of the workers in which clients wait for it; None where none do.
    """

    def __init__(self, load: WorkerLoad, key: Key, waiting: Key | None) -> None:
        self._load = load
        self._key = key
        self._waiting_key = waiting
        # Of a frontend that was removed and came back, the sessions of the former one may still go on.
        self._own_counts: list[Callable[[], Callable[[], int] | None]] = []
        self._here: Callable[[], WaitsHere | None] = lambda: None
        self._row: int | None = None
        self._count: SharedCount | None = None
        self._waiting: WaitingHere | None = None

    def follow(self, count: Callable[[], int], here: WaitsHere | None = None) -> None:
        """See ``SharedLimit``."""
        self._own_counts.append(WeakMethod(count))
        if here is not None:
            self._here = ref(here)
        self.look_again()

    def look_again(self) -> bool:
        """There may be a row that was not known before, or it is not any more.

        :returns: whether the frontend is still in use.
        """
        self._own_counts = [count for count in self._own_counts if count() is not None]
        row = self._load.row(self._key)
        if self._count is not None and row != self._row:
            self._count.store(0)
            self._count = None
        if row is not None and self._count is None:
            self._row, self._count = row, self._load.count(row)
            self._count.store(self._own)
        self._waiting = self._load.waiting(self._waiting_key, None, self._here(), self._waiting)
        return bool(self._own_counts)

    @property
    def _own(self) -> int:
        known = [count() for count in self._own_counts]
        return sum(count() for count in known if count is not None)

    @property
    def total(self) -> int:
        """See ``SharedLimit``."""
        return self._own if self._count is None else self._count.total

    @property
    def full(self) -> bool:
        """See ``SharedLimit``."""
        return self._count is not None and self._count.full

    def add(self) -> bool:
        """See ``SharedLimit``."""
        count = self._count
        if count is None or _announce(count):
            return True
        if self._waiting is not None:
            self._waiting.look_soon()
        return False

    def add_beyond(self) -> None:
        """See ``SharedLimit``."""
        if self._count is not None:
            self._count.store(self._count.own + 1)

    def remove(self) -> None:
        """See ``SharedLimit``."""
        if self._count is not None:
            self._count.remove()
            self.offer()

    def offer(self) -> None:
        """See ``SharedLimit``."""
        if self._waiting is not None:
            self._waiting.give()

    def wait(self, waits: bool) -> None:
        """See ``SharedLimit``."""
        if self._waiting is not None:
            self._waiting.say(int(waits))


def as_key(given: Any) -> Key:
    """Give the name of something as a message has it."""
    return tuple(map(str, given))
