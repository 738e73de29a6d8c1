"""Keeps a message that could come thousands of times a second down to one an interval."""

from __future__ import annotations

from collections.abc import Callable


class Throttle:
    """Lets one event through per interval and counts those it holds back.

    :param interval: seconds between two events let through.
    :param seconds: the clock.
    """

    __slots__ = ("_held", "_interval", "_next", "_seconds")

    def __init__(self, interval: float, seconds: Callable[[], float]) -> None:
        self._interval = interval
        self._seconds = seconds
        self._next = float("-inf")
        self._held = 0

    def admit(self) -> int:
        """Count one event.

        :returns: 0 when it is to be held back, else how many events the one message now stands for: this one
            and those held back since the last.
        """
        self._held += 1
        now = self._seconds()
        if now < self._next:
            return 0
        self._next = now + self._interval
        count, self._held = self._held, 0
        return count
