"""How long a session waits before it tries backends again that it has all tried."""

from __future__ import annotations

from collections.abc import Callable

FIRST = 0.1
LONGEST = 2.0
"""Seconds. Long enough for a server that restarts, short enough for a client that waits."""


def backoff(times: int, rng: Callable[[], float]) -> float:
    """Tell the seconds to wait before the next round.

    They double from round to round, and of each a random half is left out, so that those who failed together
    do not come back together: Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015, "equal
    jitter".

    :param times: rounds that were waited for before.
    :param chance: from 0 up to 1.
    """
    whole = min(LONGEST, FIRST * 2.0 ** min(times, 16))
    return whole * (0.5 + 0.5 * rng())
