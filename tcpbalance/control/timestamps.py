"""Points in time as the API shows them: to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def milliseconds(seconds: float) -> int:
    """Give a time in whole milliseconds.

    :param seconds: since the epoch.
    """
    return round(seconds * 1000)


def timestamp(seconds: float) -> str:
    """Word a time in UTC: ``2026-11-30T20:14:03.217Z``.

    :param seconds: since the epoch.
    """
    whole, fraction = divmod(milliseconds(seconds), 1000)
    return f"{_second(whole)}.{fraction:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """Word a second: in a list, many points in time are in the same one."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
