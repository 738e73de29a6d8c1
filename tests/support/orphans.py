"""Orphans that descend from this process: whether it adopts them, as a supervisor does."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from tcpbalance.orphans import adopt_orphans

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


def adopt_no_orphans() -> None:
    """Leave them to the first process again, as it was."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Adopt them for as long as this lasts; one who does it already goes on."""
    before = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    adopt_orphans()
    try:
        yield
    finally:
        if not before.value:
            adopt_no_orphans()
