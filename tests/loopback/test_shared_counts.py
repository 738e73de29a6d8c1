"""A maximum that several processes share holds at every moment, whenever they are killed, and is reached."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tcpbalance.workers.shared_counts import SharedCount, SharedCounts, can_count, make_memory

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

PROCESSES, MAXIMUM, KILLS, ROUNDS = 3, 2, 20, 4000

COUNTED, PROGRESS = 0, 1
"""Rows: what has the maximum, and the rounds that each process has done."""

OVER = 3
"""How a process ends that has found more than the maximum."""


def in_child(work: Callable[[], None]) -> int:
    """Run *work* in a process of its own; it ends with 0 if that returns.

    :returns: its id.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def hold_some(count: SharedCount, progress: SharedCount, folder: Path) -> None:
    """Add and remove, many times; what is counted holds one of as many names in *folder* as there may be."""
    for _ in range(ROUNDS):
        progress.add()
        if not count.add():
            continue
        for number in range(MAXIMUM):
            try:
                # A link is there at once with what it says.
                os.symlink(str(os.getpid()), folder / str(number))
                break
            except FileExistsError:
                continue
        else:
            os._exit(OVER)
        (folder / str(number)).unlink()
        count.remove()


def release_names(folder: Path, pid: int) -> None:
    """Do what the kernel does with sockets: nothing is left of a process that was killed."""
    for number in range(MAXIMUM):
        link = folder / str(number)
        try:
            if os.readlink(link) == str(pid):
                link.unlink()
        except FileNotFoundError:
            continue


def test_it_is_never_exceeded_and_nothing_is_lost(tmp_path: Path) -> None:
    descriptor = make_memory(PROCESSES, 2)
    counts = SharedCounts(descriptor, PROCESSES, 2)
    counts.set_maximum(COUNTED, MAXIMUM)
    counts.set_maximum(PROGRESS, None)
    rng = Random(16)

    def begin(column: int) -> int:
        count, progress = counts.count(column, COUNTED), counts.count(column, PROGRESS)
        return in_child(lambda: hold_some(count, progress, tmp_path))

    column_of = {begin(column): column for column in range(PROCESSES)}
    for kill in range(KILLS + PROCESSES):
        pid, column = rng.choice(list(column_of.items()))
        if kill < KILLS:
            rounds = rng.randrange(ROUNDS // 10)
            while counts.count(column, PROGRESS).total < rounds:
                os.sched_yield()
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        release_names(tmp_path, pid)
        del column_of[pid]
        counts.clear_column(column, 2)
        if kill < KILLS:
            column_of[begin(column)] = column
    assert counts.count(0, COUNTED).total == 0
    counts.close()
    os.close(descriptor)
