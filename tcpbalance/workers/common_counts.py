"""The counts that workers have in common, as the supervisor has them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tcpbalance.config.counted import Key, counted
from tcpbalance.config.models import Config
from tcpbalance.errors import TcpbalanceError
from tcpbalance.workers.messages import MAX_MESSAGE, MAX_PASSED, Kept, Message
from tcpbalance.workers.place import COLUMNS_A_PLACE
from tcpbalance.workers.rows import MAX_ROWS, Rows
from tcpbalance.workers.shared_counts import SharedCounts, make_memory
from tcpbalance.workers.shared_state import ToWorker
from tcpbalance.workers.wakeups import WAKE_ALL, make_wakeups, wake


class SupervisorCounts:
    """Has the memory of the counts, and says what is where in it; see ``shared_state.SharedState``.

    :param workers: how many there are.
    :raises TcpbalanceError: the system has no more memory or descriptors.
    """

    words: Collection[str] = ()

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._columns = workers * COLUMNS_A_PLACE
        self._size = MAX_ROWS + 1  # The first is for wakeups: worker_counts.HANDLED.
        try:
            self._open()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise TcpbalanceError(
                f"workers: {workers} of them cannot count together: {reason}; raise LimitNOFILE or "
                "`ulimit -n`, or have fewer"
            ) from error
        self._counts.use_columns(0)
        self._rows = Rows(MAX_ROWS, self._counts.is_clear)
        self._processes: list[ToWorker] = []

    def _open(self) -> None:
        with ExitStack() as undo:
            self._memory = make_memory(self._columns, self._size)
            undo.callback(os.close, self._memory)
            self._wakeups = make_wakeups(self._columns)
            for wakeup in self._wakeups:
                undo.callback(os.close, wakeup)
            self._counts = SharedCounts(self._memory, self._columns, self._size)
            undo.pop_all()

    def close(self) -> None:
        """Give the memory and the wakeups back; workers that still run keep theirs."""
        self._counts.close()
        for descriptor in (self._memory, *self._wakeups):
            os.close(descriptor)

    # Processes

    def _column(self, worker: ToWorker) -> int:
        """Give the column of a process: the first ones of all places come before the second ones of any, so
        that those that are in use are side by side, and few."""
        place, number = divmod(worker.column, COLUMNS_A_PLACE)
        return number * self._workers + place

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        self._processes.append(worker)
        self._use_columns()
        column = self._column(worker)
        worker.send(
            {"counts": {"column": column, "columns": self._columns, "rows": self._size}}, [Kept(self._memory)]
        )
        for first in range(0, self._columns, MAX_PASSED):
            worker.send({"wakeups": first}, map(Kept, self._wakeups[first : first + MAX_PASSED]))
        self._send_rows([worker], self._rows.known)

    def _use_columns(self) -> None:
        self._counts.use_columns(max(map(self._column, self._processes), default=-1) + 1)

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``: workers say nothing."""

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``: what the process had is free, and there may be clients that wait for it."""
        if worker not in self._processes:
            return  # Its greeting has failed before.
        self._processes.remove(worker)
        self._counts.clear_column(self._column(worker), self._rows.end)
        self._use_columns()
        self._wake_all()

    def _wake_all(self) -> None:
        for worker in self._processes:
            wake(self._wakeups[self._column(worker)], WAKE_ALL)

    # Configurations

    def prepare(self, config: Config) -> None:
        """Give rows to what is counted by another configuration, and have all workers count it, too.

        Nothing has a maximum yet that had none.

        :raises NoRowsError: there is too much of it.
        """
        added = self._rows.add(counted(config.frontends, config.pools))
        for row in added.values():
            self._counts.set_maximum(row, None)
        self._send_rows(self._processes, added)

    def commit(self, config: Config) -> None:
        """Set the maxima of a configuration, once all workers have the order to serve by it."""
        maxima = counted(config.frontends, config.pools)
        for key, maximum in maxima.items():
            self._counts.set_maximum(self._rows.known[key], maximum)
        self._keep(maxima)
        self._wake_all()  # A maximum may be higher.

    def abandon(self, config: Config) -> None:
        """Serve by the configuration that was served by before."""
        self._keep(counted(config.frontends, config.pools))

    def _keep(self, keys: Collection[Key]) -> None:
        """Have nothing else counted any more: the rows of the rest are given to others later."""
        gone = self._rows.keep(keys)
        for row in gone.values():
            self._counts.set_maximum(row, None)
        for piece, follow in pieces(map(list, gone)):
            for worker in self._processes:
                worker.send({"uncounted": piece, "more": follow})

    def _send_rows(self, workers: Collection[ToWorker], rows: Mapping[Key, int]) -> None:
        for piece, follow in pieces([list(key), row] for key, row in rows.items()):
            for worker in workers:
                worker.send({"counted": piece, "more": follow})


def pieces(items: Iterable[Any]) -> Iterator[tuple[Sequence[Any], bool]]:
    """Give lists of items of which each has space in a message, and whether more follow."""
    piece: list[Any] = []
    size = 0
    for item in items:
        length = len(json.dumps(item)) + 1
        if piece and size + length > MAX_MESSAGE // 2:
            yield piece, True
            piece, size = [], 0
        piece.append(item)
        size += length
    if piece:
        yield piece, False
