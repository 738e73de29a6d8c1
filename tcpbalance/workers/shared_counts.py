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
import sys
import threading
from contextlib import suppress
from typing import Protocol

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
        self._stride = _column_size(rows) // CELL
        self._map = mmap.mmap(descriptor, _size(columns, rows))
        self._cells = memoryview(self._map).cast("q")
        self._end = columns * self._stride

    def use_columns(self, count: int) -> None:
        """Say how many columns there are in use, from the first on: of these, and no others, sums are made.

        A process may count from then on that has one of them. Of one that counts at this moment by the former
        number, that process sees what it has announced: it begins after this.
        """
        self._cells[self._end] = count * self._stride

    @property
    def columns_in_use(self) -> int:
        """How many columns there are in use."""
        return int(self._cells[self._end]) // self._stride

    def set_maximum(self, row: int, maximum: int | None) -> None:
        """Say how many there may be of a thing; None for any number. Those beyond it stay."""
        self._cells[self._end + 1 + row] = NO_MAXIMUM if maximum is None else maximum

    def count(self, column: int, row: int) -> SharedCount:
        """Give the count of a thing as the process has it that the column belongs to."""
        return SharedCount(self._cells, column, row, self._stride, self._end, make_barrier())

    def is_clear(self, row: int) -> bool:
        """Whether no process has any of a thing."""
        return not any(self._cells[row : self._cells[self._end] : self._stride])

    def clear_column(self, column: int, rows: int) -> None:
        """Count no more what a process had whose sockets are closed.

        :param rows: how many of the first are in use: to touch others is to have the system find memory.
        """
        first = column * self._stride * CELL
        self._map[first : first + rows * CELL] = bytes(rows * CELL)

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
        end = columns * _column_size(rows)
        os.pwrite(descriptor, (end // CELL).to_bytes(CELL, sys.byteorder), end)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _column_size(rows: int) -> int:
    return -(-(rows + 1) * CELL // BLOCK) * BLOCK


def _size(columns: int, rows: int) -> int:
    # One more column: for the number of columns in use, and the maxima.
    return (columns + 1) * _column_size(rows)


class Barrier(Protocol):
    """What has a load behind it wait for the stores in front of it, when it is acquired and released."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


def make_barrier() -> Barrier:
    """Make a barrier of this process's own.

    On x86, taking a lock is an instruction that does so, also where no other thread has the lock (Intel,
    Software Developer's Manual, volume 3A, section 9.2.2). Two plain ones do change places, even from Python.
    """
    return threading.Lock()


def count_alone() -> SharedCount:
    """Make the count of a thing that this process alone has, without a maximum."""
    cells = memoryview(bytearray(4 * CELL)).cast("q")
    cells[1], cells[2] = 1, NO_MAXIMUM
    return SharedCount(cells, 0, 0, 1, 1, make_barrier())


class SharedCount:
    """One thing's count, of which this process has a part.

    :param cells: of all counts.
    :param column: of this process.
    :param row: of the thing.
    :param stride: cells from one column to the next.
    :param end: the index of the cell that says where the columns end that are in use; the maxima follow it.
    :param barrier: has what is loaded after it wait for what was stored before.
    :ivar own: the part of this process.
    """

    __slots__ = (
        "_cells",
        "_end",
        "_maximum",
        "_mine",
        "_of_all",
        "_row",
        "_stride",
        "_until",
        "barrier",
        "own",
    )

    def __init__(
        self,
        cells: memoryview,
        column: int,
        row: int,
        stride: int,
        end: int,
        barrier: Barrier,
    ) -> None:
        self.own = 0
        self.barrier = barrier
        self._cells = cells
        self._mine = column * stride + row
        self._row = row
        self._stride = stride
        self._end = end
        self._maximum = end + 1 + row
        self._until = -1
        self._of_all = cells[:0]

    def _look_at_columns(self) -> None:
        """Sum up the columns that are in use now."""
        self._until = until = self._cells[self._end]
        self._of_all = self._cells[self._row : until : self._stride]

    # A call of a function takes as long as a sum: so it is written out wherever one is made.

    @property
    def total(self) -> int:
        """The count of all processes."""
        if self._cells[self._end] != self._until:
            self._look_at_columns()
        return sum(self._of_all)

    @property
    def parts(self) -> list[int]:
        """What each process has, by their columns."""
        if self._cells[self._end] != self._until:
            self._look_at_columns()
        return list(self._of_all)

    def part(self, column: int) -> int:
        """What one process has."""
        return int(self._cells[column * self._stride + self._row])

    @property
    def has_maximum(self) -> bool:
        """Whether there may not be any number."""
        return bool(self._cells[self._maximum] != NO_MAXIMUM)

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        cells = self._cells
        if cells[self._end] != self._until:
            self._look_at_columns()
        return sum(self._of_all) >= cells[self._maximum]

    def add(self) -> bool:
        """Count one more, unless there are as many as there may be.

        :returns: whether it was counted.
        """
        cells = self._cells
        # Stored as a whole: to add to what is in the cell would be a load and a store.
        cells[self._mine] = self.own = self.own + 1
        barrier = self.barrier
        barrier.acquire()
        barrier.release()
        if cells[self._end] != self._until:
            self._look_at_columns()
        if sum(self._of_all) <= cells[self._maximum]:
            return True
        self.remove()
        return False

    def remove(self) -> None:
        """Count one less, of those that this process has."""
        self._cells[self._mine] = self.own = self.own - 1

    def store(self, count: int) -> None:
        """Say how many this process has, however many there may be."""
        self._cells[self._mine] = self.own = count
