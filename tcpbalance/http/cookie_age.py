"""When a cookie of ours was set: browsers do not say, so a value that is kept for a time ends with it."""

from __future__ import annotations

import re

_split = re.compile(rb"([^-]*)(?:-([0-9a-f]{1,12}))?").fullmatch


def with_time(value: bytes, now: float) -> bytes:
    """Give a value with the time at which it is set.

    :param now: seconds since the epoch.
    """
    return b"%b-%x" % (value, max(0, int(now)))


def without_time(value: bytes) -> tuple[bytes, int | None]:
    """Give a value as it was before that, and the time; None where it has none."""
    found = _split(value)
    if found is None:
        return value, None
    return found[1], None if found[2] is None else int(found[2], 16)


def is_due(set_at: int | None, max_age: int | None, now: float) -> bool:
    """Whether a cookie is to be set once more: more than half of its time is over.

    :param set_at: when it was set; None where it does not say.
    :param max_age: seconds for which browsers keep it; None for as long as their session lasts.
    :param now: seconds since the epoch.
    """
    if max_age is None:
        return False
    # One from the future was set by a clock that was wrong.
    return set_at is None or not 0 <= int(now) - set_at <= max_age / 2
