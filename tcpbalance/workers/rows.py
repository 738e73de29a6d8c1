"""Which row of the shared counts each thing has that is counted: the same for as long as it is counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tcpbalance.config.counted import MAX_COUNTED, Key
from tcpbalance.errors import TcpbalanceError

MAX_ROWS = 2 * MAX_COUNTED
"""Rows that can be given: during a reload, what was counted before it has rows still."""


class NoRowsError(TcpbalanceError):
    """More is to be counted than can be."""


class Rows:
    """The row of each thing that is counted; numbered from 1.

    :param size: how many rows there are.
    :param is_clear: whether no process has any of what is counted in a row.
    :ivar end: no row from this one on has ever been given.
    """

    def __init__(self, size: int, is_clear: Callable[[int], bool]) -> None:
        self.end = 1
        self._size = size
        self._is_clear = is_clear
        self._free: list[int] = []
        self._rows: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}

    @property
    def known(self) -> Mapping[Key, int]:
        """The rows of all that is counted, and of what was added for a change that is not made yet."""
        return self._rows

    def add(self, keys: Collection[Key]) -> dict[Key, int]:
        """Give rows to what has none yet. What was counted before, and is counted still, has the one it had.

        :returns: those rows.
        :raises NoRowsError: there are too few; nothing has changed then.
        """
        new = [key for key in keys if key not in self._rows]
        fresh = [key for key in new if key not in self._gone]
        self._reclaim(len(fresh))
        if len(fresh) > len(self._free) + self._size + 1 - self.end:
            raise NoRowsError(
                f"{len(keys)} backends, queues and frontends have a limit or a load that all workers count "
                f"together, and {len(self._gone)} that were removed have connections still: reload again "
                "when fewer have"
            )
        added = {key: self._gone.pop(key) if key in self._gone else self._take() for key in new}
        self._rows.update(added)
        return added

    def _take(self) -> int:
        """Give a free row, of the lowest numbers: what lies behind them takes no memory."""
        if self._free:
            return self._free.pop()
        self.end += 1
        return self.end - 1

    def keep(self, keys: Collection[Key]) -> dict[Key, int]:
        """Count no more what is not among these; their rows are free once no process has any.

        :returns: what is counted no more.
        """
        gone = {key: row for key, row in self._rows.items() if key not in keys}
        for key in gone:
            del self._rows[key]
        self._gone.update(gone)
        return gone

    def _reclaim(self, count: int) -> None:
        """Free rows of what is gone, at least so many where there are."""
        for key, row in list(self._gone.items()):
            if len(self._free) >= count:
                return
            if self._is_clear(row):
                del self._gone[key]
                self._free.append(row)
