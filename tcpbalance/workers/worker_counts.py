"""The counts that workers have in common, as a worker has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from tcpbalance.workers.messages import Message
from tcpbalance.workers.shared_counts import SharedCounts
from tcpbalance.workers.wakeups import Wakeups
from tcpbalance.workers.worker_load import WorkerLoad, as_key

HANDLED = 0
"""The row in which workers count the times that they have handled their wakeups."""


class WorkerCounts:
    """Counts in the memory that the supervisor has; see ``shared_state.WorkerSharedState``.

    :param reactor: for the wakeups.
    :param load: learns what is counted.
    :param rng: gives numbers from 0 up to 1.
    """

    words: Collection[str] = ("counts", "wakeups", "counted", "uncounted")

    def __init__(self, reactor: Any, load: WorkerLoad, rng: Callable[[], float]) -> None:
        self._reactor = reactor
        self._load = load
        self._rng = rng
        self._counts: SharedCounts | None = None
        self._column = 0
        self._columns = 0
        self._wakeups: list[int] = []

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"counts": {"column": int(column), "columns": int(columns), "rows": int(rows)}}:
                self._column, self._columns = column, columns
                self._counts = SharedCounts(message.descriptors[0], columns, rows)
            case {"wakeups": int()}:
                self._wakeups += map(os.dup, message.descriptors)
                self._begin_when_complete()
            case {"counted": list(rows), "more": bool(more)}:
                self._load.learn((as_key(key), row) for key, row in rows)
                self._look_again(more)
            case {"uncounted": list(keys), "more": bool(more)}:
                self._load.forget(map(as_key, keys))
                self._look_again(more)

    def _look_again(self, more: bool) -> None:
        if not more:
            self._load.look_again()

    def _begin_when_complete(self) -> None:
        if len(self._wakeups) == self._columns and self._counts is not None:
            handled = self._counts.count(self._column, HANDLED)
            wakeups = Wakeups(self._reactor, self._wakeups, self._column, handled, self._rng)
            self._load.begin(self._counts, self._column, wakeups)
