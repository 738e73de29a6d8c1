"""Counts that several processes share: never more than the maximum, and nothing is lost with a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.workers.shared_counts import BLOCK, SharedCount, SharedCounts, can_count, make_memory

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

COLUMNS, ROWS = 3, 600


@pytest.fixture
def counts() -> Iterator[SharedCounts]:
    descriptor = make_memory(COLUMNS, ROWS)
    made = SharedCounts(descriptor, COLUMNS, ROWS)
    os.close(descriptor)
    yield made
    made.close()


def test_all_begin_with_none_and_may_have_none_until_a_maximum_is_set(counts: SharedCounts) -> None:
    count = counts.count(0, 0)
    assert (count.own, count.total, count.full, count.add()) == (0, 0, True, False)
    assert count.total == 0


def test_a_maximum_is_of_all_together(counts: SharedCounts) -> None:
    counts.set_maximum(5, 2)
    first, second, third = (counts.count(column, 5) for column in range(COLUMNS))
    assert first.add()
    assert third.add()
    assert not second.add()
    assert (first.own, second.own, third.own) == (1, 0, 1)
    first.remove()
    assert not second.full
    assert second.add()
    assert second.full


def test_without_a_maximum_there_may_be_any_number(counts: SharedCounts) -> None:
    counts.set_maximum(1, 0)
    counts.set_maximum(1, None)
    assert all(counts.count(0, 1).add() for _ in range(10))


def test_a_lower_maximum_takes_none_away(counts: SharedCounts) -> None:
    counts.set_maximum(0, 3)
    count = counts.count(1, 0)
    assert [count.add() for _ in range(4)] == [True, True, True, False]
    counts.set_maximum(0, 1)
    assert (count.total, count.full) == (3, True)
    count.remove()
    count.remove()
    assert not count.add()
    count.remove()
    assert count.add()


def test_what_a_process_had_is_counted_no_more_once_its_column_is_cleared(counts: SharedCounts) -> None:
    for row in (0, ROWS - 1):
        counts.set_maximum(row, 1)
        assert counts.count(1, row).add()
    counts.clear_column(1, ROWS)
    assert [counts.count(2, row).add() for row in (0, ROWS - 1)] == [True, True]


def test_no_memory_is_found_for_rows_that_are_not_in_use() -> None:
    rows = 32_768
    descriptor = make_memory(COLUMNS, rows)
    counts = SharedCounts(descriptor, COLUMNS, rows)
    before = os.fstat(descriptor).st_blocks
    counts.clear_column(1, 10)
    counts.use_columns(2)
    assert all(counts.is_clear(row) for row in range(10))
    assert os.fstat(descriptor).st_blocks <= before + 2 * BLOCK // 512
    counts.close()
    os.close(descriptor)


def test_of_columns_that_are_not_in_use_nothing_is_summed(counts: SharedCounts) -> None:
    counts.set_maximum(0, 5)
    first, last = counts.count(0, 0), counts.count(COLUMNS - 1, 0)
    last.store(4)
    assert (first.total, first.parts) == (4, [0, 0, 4])
    counts.use_columns(1)
    assert (first.total, first.parts) == (0, [0])
    counts.use_columns(COLUMNS)
    assert first.total == 4
    assert not counts.is_clear(0)
    counts.clear_column(COLUMNS - 1, ROWS)
    assert counts.is_clear(0)


def test_another_process_sees_the_same_memory() -> None:
    descriptor = make_memory(2, 1)
    ours, theirs = SharedCounts(descriptor, 2, 1), SharedCounts(descriptor, 2, 1)
    ours.set_maximum(0, 1)
    assert theirs.count(1, 0).add()
    assert not ours.count(0, 0).add()
    for one in (ours, theirs):
        one.close()
    os.close(descriptor)


PLACES = st.tuples(st.integers(0, COLUMNS - 1), st.integers(0, ROWS - 1))


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "clear"]), PLACES), max_size=60))
def test_the_cells_are_those_of_a_table(deeds: list[tuple[str, tuple[int, int]]]) -> None:
    descriptor = make_memory(COLUMNS, ROWS)
    counts = SharedCounts(descriptor, COLUMNS, ROWS)
    for row in range(ROWS):
        counts.set_maximum(row, 2)
    handles: dict[tuple[int, int], SharedCount] = {}
    table: dict[tuple[int, int], int] = {}

    def total(row: int) -> int:
        return sum(table.get((column, row), 0) for column in range(COLUMNS))

    for deed, place in deeds:
        column, row = place
        count = handles.setdefault(place, counts.count(column, row))
        if deed == "add":
            free = total(row) < 2
            assert count.add() == free
            table[place] = table.get(place, 0) + free
        elif deed == "remove" and table.get(place):
            count.remove()
            table[place] -= 1
        elif deed == "clear":
            counts.clear_column(column, ROWS)
            for known in [known for known in table if known[0] == column]:
                del table[known], handles[known]
        assert counts.count(0, row).total == total(row)
    counts.close()
    os.close(descriptor)


class Steps(list[int]):
    """Cells that let something be done before one of the steps, counted from 0."""

    def __init__(self, cells: list[int]) -> None:
        super().__init__(cells)
        self.before: dict[int, Callable[[], object]] = {}
        self.taken: list[str] = []

    def step(self, what: str) -> None:
        number = len(self.taken)
        self.taken.append(what)
        if number in self.before:
            self.before.pop(number)()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return OfAll(self, range(*index.indices(len(self))))
        self.step("load")
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.step("store")
        super().__setitem__(index, value)


class OfAll:
    """Some of the cells, as they are when they are read."""

    def __init__(self, cells: Steps, indices: range) -> None:
        self.cells = cells
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        return (self.cells[index] for index in self.indices)


def two_processes(maximum: int) -> tuple[Steps, SharedCount, SharedCount]:
    cells = Steps([0, 0, 2, maximum])

    class Barrier:
        def acquire(self) -> None:
            cells.step("barrier")

        def release(self) -> None:
            pass

    first, second = (SharedCount(cast(memoryview, cells), column, 0, 1, 2, Barrier()) for column in (0, 1))
    return cells, first, second


def test_before_the_sum_is_read_all_is_stored() -> None:
    cells, first, _ = two_processes(1)
    assert first.add()
    assert cells.taken[:2] == ["store", "barrier"]
    assert set(cells.taken[2:]) == {"load"}


@pytest.mark.parametrize("maximum", [1, 2, 3])
@pytest.mark.parametrize("step", range(9))
def test_another_process_may_do_the_same_between_any_two_steps(maximum: int, step: int) -> None:
    cells, first, second = two_processes(maximum)
    outcomes: list[bool] = []
    cells.before[step] = lambda: outcomes.append(second.add())
    outcomes.append(first.add())
    assert outcomes.count(True) <= maximum
    assert first.total == first.own + second.own == outcomes.count(True)
    if maximum > 1:
        assert all(outcomes)
