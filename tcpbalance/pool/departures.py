"""Clients whose connections were closed so that they connect anew, and that have not done so yet."""

from __future__ import annotations

from collections import deque

COMES_BACK_WITHIN = 60.0
"""Seconds in which a client is expected to connect anew. Most do so at once, others after growing pauses."""


class Departures:
    """Counts the clients that are expected to connect anew.

    One that has come back looks like any other. But short connections that come and go beside it leave as
    many connections open as before. So only growth counts: clients have come back as far as the open
    connections, and those that are away, are more than when the first of these was closed.
    """

    __slots__ = ("_at", "_before")

    def __init__(self) -> None:
        self._at: deque[float] = deque()
        self._before = 0

    def add(self, now: float) -> None:
        """Take note of a client whose connection is closed, right after a count.

        :param now: seconds on a clock that does not go back.
        """
        self._at.append(now)

    def count(self, now: float, opened: int) -> int:
        """Count those that have not come back, and are still expected to.

        :param opened: connections that the pool's backends have, those that are being closed left out.
        """
        away = self._at
        while away and away[0] + COMES_BACK_WITHIN <= now:
            away.popleft()
            self._before -= 1
        while away and opened + len(away) > self._before:
            away.popleft()
        if not away:
            self._before = opened
        return len(away)
