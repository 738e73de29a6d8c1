"""Turns the passes and failures of one backend's checks into flips between up and down."""

from __future__ import annotations

import enum

from tcpbalance.config.pools import Initial


class Flip(enum.Enum):
    """What a result changed."""

    UP = "up"
    DOWN = "down"


class HealthCounter:
    """Decides, result by result, whether a backend is up.

    :param rise: passes in a row that bring a backend up again, at least 1.
    :param fall: failures in a row that take it down, at least 1.
    :param initial: where it starts: ``"up"`` and ``"down"`` are left like any other up and down;
        ``"checked"`` is down until the very first result, which decides alone.
    :ivar up: how the backend stands now.
    """

    __slots__ = ("_decided", "_fall", "_rise", "_streak", "up")

    def __init__(self, rise: int, fall: int, initial: Initial) -> None:
        self._rise = rise
        self._fall = fall
        self._decided = initial != "checked"
        self._streak = 0
        self.up = initial == "up"

    def record(self, passed: bool) -> Flip | None:
        """Take one result in.

        :returns: what it changed, None for nothing; the first result under ``"checked"`` is always a change.
        """
        self._streak = 0 if passed == self.up else self._streak + 1
        if self._decided and self._streak < (self._fall if self.up else self._rise):
            return None
        self._decided = True
        self._streak = 0
        self.up = passed
        return Flip.UP if passed else Flip.DOWN
