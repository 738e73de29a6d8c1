"""Waiting for a condition, in place of sleeping for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.errors import Failed

_PAUSE = 0.005


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until `condition` holds.

    :param what: what is waited for, for the error.
    :raises Failed: when it did not come in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(_PAUSE)
