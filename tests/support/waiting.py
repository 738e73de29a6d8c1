"""Waiting for a condition, in place of sleeping for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.01


def until(condition: Callable[[], T], what: str | Callable[[], str], seconds: float = 20.0) -> T:
    """Wait until `condition` gives something true.

    :param what: what is waited for, for the error; a callable is asked when there is one.
    :returns: what the condition gave.
    :raises AssertionError: when it did not come in time.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_PAUSE)
    return result


def until_steady(read: Callable[[], object], for_seconds: float = 0.5, seconds: float = 30.0) -> None:
    """Wait until `read` has given the same for `for_seconds`.

    :raises AssertionError: when it keeps changing.
    """
    seen: list[tuple[object, float]] = [(object(), 0.0)]

    def steady() -> bool:
        value, now = read(), time.monotonic()
        if value != seen[0][0]:
            seen[0] = (value, now)
        return now - seen[0][1] >= for_seconds

    until(steady, lambda: f"the same for {for_seconds:g} s, now {seen[0][0]}", seconds)
