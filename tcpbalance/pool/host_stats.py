"""What real traffic has shown of one backend, for outlier detection."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from math import inf

SAMPLES = 16
"""Connect times by which a backend is known: its median is not moved by a few that are odd."""


def lower_median(ordered: Sequence[float]) -> float:
    """Give the median, the lower one of two.

    :param ordered: at least one, the least first.
    """
    return ordered[(len(ordered) - 1) // 2]


class ConnectTimes:
    """The median of the last connect times of one backend, kept sorted as they come."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take in one; the oldest leaves."""
        if len(self._in_order) == SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]
        self._in_order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def latest(self) -> float:
        """The last one taken in."""
        return self._in_order[-1]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._in_order)

    @property
    def median(self) -> float:
        """The lower median; there has to be one time at least."""
        return lower_median(self._sorted)


class HostStats:
    """What is known of one backend.

    :ivar failures: in a row.
    :ivar slow: connections in a row that took too long to come about.
    :ivar growth: times ``eject_for`` that its next ejection lasts, as of *since*.
    :ivar since: when its last ejection ended.
    :ivar until: when the one under way ends; in the past when there is none.
    :ivar cause: of its last ejection.
    """

    __slots__ = ("cause", "failures", "growth", "since", "slow", "times", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.slow = 0
        self.growth = 1.0
        self.since = -inf
        self.until = -inf
        self.cause = ""
        self.times = ConnectTimes()
