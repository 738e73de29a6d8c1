"""How long a session pauses before it tries again backends that have all failed."""

from __future__ import annotations

from collections.abc import Callable

FIRST_BACKOFF = 0.1
MAX_BACKOFF = 2.0
"""Seconds. Long enough for a server that restarts, short enough for a client that waits."""


def backoff(times: int, rng: Callable[[], float]) -> float:
    """Compute the seconds to wait before the next round.

    They double from round to round, and a random part of up to half is left out, so that sessions that failed
    together do not come back together: Brooker, "Exponential backoff and jitter", AWS Architecture Blog,
    2015, "equal jitter".

    :param times: how many rounds there were before.
    :param rng: gives numbers from 0 up to 1.
    """
    whole = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(times, 16))
    return whole * (0.5 + 0.5 * rng())
