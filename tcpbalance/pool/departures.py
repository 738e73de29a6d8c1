"""Clients whose connections were closed so that they connect anew, and that have not done so yet."""

from __future__ import annotations

from collections import deque

COMES_BACK_WITHIN = 60.0
"""Seconds in which a client is expected to connect anew. Most do so at once, others after growing pauses."""


class Departures:
    """Counts the clients that are expected to connect anew.

    Each new connection to the pool takes the place of one that was closed, whichever client it is of.
    """

    __slots__ = ("_at", "_attempts")

    def __init__(self) -> None:
        self._at: deque[float] = deque()
        self._attempts = 0

    def add(self, now: float) -> None:
        """Take note of a client whose connection is closed.

        :param now: seconds on a clock that does not go back.
        """
        self._at.append(now)

    def count(self, now: float, attempts: int) -> int:
        """Count those that have not come back, and are still expected to.

        :param attempts: connections that the pool's backends have had so far; fewer than before where a
            backend was removed.
        """
        returned, self._attempts = attempts - self._attempts, attempts
        while self._at and (returned > 0 or self._at[0] + COMES_BACK_WITHIN <= now):
            self._at.popleft()
            returned -= 1
        return len(self._at)
