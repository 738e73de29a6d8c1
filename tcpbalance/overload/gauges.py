"""How much the process has of what it may run out of, as Linux reports it; and giving memory back."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import TypeAlias

from tcpbalance.net import descriptors

Gauge: TypeAlias = Callable[[], int]
"""Gives what is in use; raises OSError where that cannot be read."""

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_memory() -> int:
    """Resident memory, in bytes: the second number of proc_pid_statm(5), in pages."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def open_descriptors() -> int:
    """Open descriptors: the size of proc_pid_fd(5), since Linux 6.2; before, it is 0 and they are counted."""
    try:
        return os.stat("/proc/self/fd").st_size or _counted()
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return descriptors.limit()  # there was none left to count with


def _counted() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # that which they were counted with


def trim_memory() -> None:
    """Give back to the system what is free within the heap: malloc_trim(3), which only glibc has.

    Without it what ended sessions had stays resident, and looks as if they had it still.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)
