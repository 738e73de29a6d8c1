"""Counts that several processes share, and maxima that all of them together keep.

The counts are in memory that all processes have mapped. Each has a column of its own, with a cell for each
thing that is counted, and it alone writes there; the sum is read from the cells of all. So a process that is
killed at any point leaves no lock behind, and its cells are the whole truth of what it had: the supervisor
sets them to 0 once the sockets of the process are closed.

A maximum is kept by announcing first: a process stores one more in its own cell, and then reads the sum. Of
two that announce at the same time at least one sees both. One that sees more than the maximum takes its own
back, and both may. One that was refused is to try again when something is given back, as here.
"""

from __future__ import annotations

import mmap
import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress

CELL = 8
"""Bytes of a cell, which a machine of 64 bits stores and loads in one piece."""

BLOCK = 4096
"""Bytes to a multiple of which a column is rounded up, so that no cache line is written by two processes."""

NO_MAXIMUM = 2**63 - 1
"""The maximum where there is none."""

_ORDERED_BY_LOCKS = ("x86_64", "amd64")


def can_count() -> bool:
    """Whether counts can be shared here: there is such memory, and the order of loads and stores is known."""
    return hasattr(os, "memfd_create") and platform.machine().lower() in _ORDERED_BY_LOCKS


class SharedCounts:
    """The counts of all processes.

    :param descriptor: of the memory; the caller's, and of no more use to this.
    :param columns: how many processes count.
    :param rows: how many things are counted.
    :raises OSError: the memory cannot be mapped.
    """

    def __init__(self, descriptor: int, columns: int, rows: int) -> None:
        self._columns = columns
        self._rows = rows
        self._stride = _column_size(rows) // CELL
        self._map = mmap.mmap(descriptor, _size(columns, rows))
        self._cells = memoryview(self._map).cast("q")

    def set_maximum(self, row: int, maximum: int | None) -> None:
        """Say how many there may be of a thing; None for any number. Those beyond it stay."""
        self._cells[self._columns * self._stride + row] = NO_MAXIMUM if maximum is None else maximum

    def count(self, column: int, row: int) -> SharedCount:
        """Give the count of a thing as the process has it that the column belongs to."""
        of_all = range(row, self._columns * self._stride, self._stride)
        maximum = row + self._columns * self._stride
        return SharedCount(self._cells, of_all[column], of_all, maximum, make_barrier())

    def clear_column(self, column: int) -> None:
        """Count no more what a process had whose sockets are closed."""
        first = column * self._stride
        for index in range(first, first + self._rows):
            self._cells[index] = 0

    def close(self) -> None:
        """Give the memory back. Counts that were made of it are of no use then."""
        self._cells.release()
        with suppress(BufferError):
            self._map.close()


def make_memory(columns: int, rows: int) -> int:
    """Make memory for counts that are all 0.

    :returns: its descriptor, which a process needs to map it.
    :raises OSError: the system has no more.
    """
    descriptor = os.memfd_create("tcpbalance counts")
    try:
        os.ftruncate(descriptor, _size(columns, rows))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _column_size(rows: int) -> int:
    return -(-rows * CELL // BLOCK) * BLOCK


def _size(columns: int, rows: int) -> int:
    return (columns + 1) * _column_size(rows)  # one more column, for the maxima


def make_barrier() -> Callable[[], object]:
    """Make what has a load behind it wait for the stores in front of it.

    On x86, taking a lock is an instruction that does so, also where no other thread has the lock (Intel,
    Software Developer's Manual, volume 3A, section 9.2.2). Two plain ones do change places, even from Python.
    """
    lock = threading.Lock()

    def barrier() -> None:
        with lock:
            pass

    return barrier


class SharedCount:
    """One thing's count, of which this process has a part.

    :param cells: of all counts.
    :param mine: the index of the cell of this process.
    :param of_all: those of all processes.
    :param maximum: that of the maximum.
    :param barrier: has what is loaded after it wait for what was stored before.
    :ivar own: the part of this process.
    """

    __slots__ = ("_barrier", "_cells", "_maximum", "_mine", "_of_all", "own")

    def __init__(
        self, cells: memoryview, mine: int, of_all: range, maximum: int, barrier: Callable[[], object]
    ) -> None:
        self.own = 0
        self._cells = cells
        self._mine = mine
        self._of_all = of_all
        self._maximum = maximum
        self._barrier = barrier

    @property
    def total(self) -> int:
        """The count of all processes."""
        cells = self._cells
        return sum([cells[index] for index in self._of_all])

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        return self.total >= self._cells[self._maximum]

    def add(self) -> bool:
        """Count one more, unless there are as many as there may be.

        :returns: whether it was counted.
        """
        cells = self._cells
        # Stored as a whole: to add to what is in the cell would be a load and a store.
        cells[self._mine] = self.own = self.own + 1
        self._barrier()
        if self.total <= cells[self._maximum]:
            return True
        self.remove()
        return False

    def remove(self) -> None:
        """Count one less, of those that this process has."""
        self._cells[self._mine] = self.own = self.own - 1
