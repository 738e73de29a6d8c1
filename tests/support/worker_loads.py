"""Several workers in one process: each with a column of its own in one memory, and a clock instead of a
reactor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from twisted.internet.task import Clock

from tcpbalance.config.counted import Key
from tcpbalance.workers.shared_counts import SharedCounts, make_memory
from tcpbalance.workers.wakeups import Wakeups, make_wakeups, wake
from tcpbalance.workers.worker_load import WorkerLoad

ROWS = 64


class ClockReactor(Clock):
    """A clock that is asked to watch a wakeup, and does so in each turn."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self, seconds: float = 0.0) -> None:
        """Do what is due, and handle the wakeups."""
        self.advance(seconds)
        for reader in list(self.readers):
            reader.doRead()


class WorkerInMemory:
    """One worker, without what it serves.

    :ivar reactor: drives it.
    :ivar load: its view of the counts.
    """

    def __init__(self, shared: SharedWorkers, column: int) -> None:
        self.column = column
        self.reactor = ClockReactor()
        self.load = WorkerLoad(column)
        self.wakeups = Wakeups(
            self.reactor,
            [os.dup(wakeup) for wakeup in shared.wakeups],
            column,
            shared.counts.count(column, ROWS - 1),
            shared.rng.random,
        )
        self.load.begin(shared.counts, column, self.wakeups)
        self.load.learn(shared.rows.items())


class SharedWorkers:
    """The memory and the wakeups of several workers, as a supervisor has them.

    :param columns: how many there are.
    :param maxima: of what is counted; None for none.
    """

    def __init__(self, columns: int, maxima: Mapping[Key, int | None]) -> None:
        self.rng = Random(3)
        self.rows = {key: row for row, key in enumerate(maxima)}
        descriptor = make_memory(columns, ROWS)
        self.counts = SharedCounts(descriptor, columns, ROWS)
        os.close(descriptor)
        for key, maximum in maxima.items():
            self.counts.set_maximum(self.rows[key], maximum)
        self.wakeups = make_wakeups(columns)
        self.workers = [WorkerInMemory(self, column) for column in range(columns)]

    def total(self, key: Key) -> int:
        """How many there are of something."""
        return self.counts.count(0, self.rows[key]).total

    def replace(self, column: int) -> WorkerInMemory:
        """Kill a worker, whose sockets close, and have another one in its place."""
        self.workers[column].wakeups.close()
        self.counts.clear_column(column, ROWS)
        for number, wakeup in enumerate(self.wakeups):
            if number != column:
                wake(wakeup, 1000)
        made = self.workers[column] = WorkerInMemory(self, column)
        return made

    def turns(self, columns: Iterable[int], seconds: float) -> None:
        """Let some of the workers go on for so long."""
        columns = list(columns)
        passed = 0.0
        while passed < seconds:
            for column in columns:
                self.workers[column].reactor.turn(0.001)
            passed += 0.001

    def close(self) -> None:
        """Give all back."""
        for worker in self.workers:
            worker.wakeups.close()
        self.counts.close()
        for wakeup in self.wakeups:
            os.close(wakeup)
