"""What a slot of a maximum that workers share costs, taken and given back: `python -m bench.slots`."""

from __future__ import annotations

import os
import time
from statistics import median

from tcpbalance.workers.place import COLUMNS_A_PLACE
from tcpbalance.workers.shared_counts import SharedCount, SharedCounts, make_memory

WORKERS = 4
SLOTS = 20_000
"""In each loop."""

ROUNDS = 25
"""Whose median is taken."""

_ROWS = 8


def duration(count: SharedCount | None, slots: int) -> float:
    """Give the nanoseconds of processor time that a loop takes for each slot.

    :param count: in which they are taken; None for a loop that takes none.
    """
    now = time.thread_time_ns
    began = now()
    if count is None:
        for _ in range(slots):
            pass
    else:
        for _ in range(slots):
            if count.add():
                count.remove()
    return (now() - began) / slots


def measure(slots: int = SLOTS, rounds: int = ROUNDS) -> float:
    """Give what a slot costs, in microseconds, where each of the other workers has some."""
    columns = WORKERS * COLUMNS_A_PLACE
    memory = make_memory(columns, _ROWS)
    counts = SharedCounts(memory, columns, _ROWS)
    os.close(memory)
    try:
        counts.use_columns(columns)
        counts.set_maximum(0, columns)
        for column in range(0, columns, COLUMNS_A_PLACE):
            counts.count(column, 0).store(1)
        own = counts.count(1, 0)
        return median(duration(own, slots) - duration(None, slots) for _ in range(rounds)) / 1e3
    finally:
        counts.close()


if __name__ == "__main__":
    print(measure())
