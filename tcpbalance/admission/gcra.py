"""Rates of bytes: a maximum, and a minimum over a minute."""

from __future__ import annotations

import math

TOLERANCE = 0.25
"""Seconds by which bytes may come too early. A reader that waits is woken up to a fifth of a second
late; it may then read what the rate allowed meanwhile, so that the delay loses nothing."""

MINUTE = 60.0
"""Seconds over which a ``MinRate`` is measured."""


class Gcra:
    """The rate at which the bytes of one direction may come.

    This is the generic cell rate algorithm in the form of virtual scheduling (ITU-T I.371 (03/2004), annex
    A.1), with reads of different sizes for cells. They are counted once they have come, so in any time there
    come at most what the rate allows in that time and in ``TOLERANCE``, and one read.

    :param rate: bytes a second, more than 0.
    """

    __slots__ = ("_due", "_rate")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = -math.inf

    def spent(self, count: int, now: float) -> float:
        """Take note of bytes that have come.

        :param now: seconds on a clock that does not go back.
        :returns: the seconds until more may come, 0 for at once.
        """
        self._due = (self._due if self._due > now else now) + count / self._rate
        wait = self._due - now - TOLERANCE
        return wait if wait > 0 else 0.0


class MinRate:
    """Detects that a session in which bytes move has moved too few for a minute.

    Minutes follow one another, and begin anew where a look finds silence: what is silent is not slow, and
    what begins after it has its time.

    :param rate: bytes a second, more than 0.
    :param now: seconds on the clock by which it is asked.
    :ivar due: when the minute is over.
    """

    __slots__ = ("_before", "_rate", "_since")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._before = 0
        self._since = now

    @property
    def due(self) -> float:
        """When the minute is over."""
        return self._since + MINUTE

    def is_missed(self, moved: int, waiting: bool, now: float) -> bool:
        """Look at a session, now and then in a minute and once it is over.

        :param moved: bytes that have reached either side so far.
        :param waiting: whether there are more that wait for one to take them.
        """
        silent = moved == self._before and not waiting
        over = now >= self.due
        missed = over and not silent and moved - self._before < self._rate * (now - self._since)
        if silent or over:
            self._before, self._since = moved, now
        return missed
