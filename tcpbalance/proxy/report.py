"""Keeps the log down to one line a second on what may come thousands of times, and leaves nothing untold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from tcpbalance.net.wheel import Wheel

Kind = TypeVar("Kind")

QUIET = 1.0
"""Seconds after a line without another one."""


class Report:
    """Has the first of what comes told at once, and what follows it one to two seconds later, and so on.

    It is on the wheel only for that time, and holds no delayed call of its own.

    :param wheel: of the frontend.
    :param tell: says what has come since it was last called.
    :ivar slot: see ``wheel.Watched``.
    """

    __slots__ = ("_tell", "_untold", "_wheel", "slot")

    def __init__(self, wheel: Wheel, tell: Callable[[], None]) -> None:
        self._wheel = wheel
        self._tell = tell
        self._untold = False
        self.slot: int | None = None

    def note(self) -> None:
        """Something has come."""
        self._untold = True
        if self.slot is None:
            self._tell_rest()
            self._wheel.watch(self, QUIET)

    def check(self, now: float) -> float | None:
        """The wheel's call: tell what has come since the last line."""
        if not self._untold:
            return None
        self._tell_rest()
        return 0.0  # at its next turn, which is a second away

    def finish(self) -> None:
        """Tell what is left now, and be off the wheel."""
        self._wheel.forget(self)
        if self._untold:
            self._tell_rest()

    def _tell_rest(self) -> None:
        self._untold = False
        self._tell()


class Untold(Generic[Kind]):
    """What a count has grown by since it was last told of.

    :param count: it only grows.
    """

    __slots__ = ("_count", "_told")

    def __init__(self, count: Counter[Kind]) -> None:
        self._count = count
        self._told: Counter[Kind] = Counter()

    def take(self) -> Counter[Kind]:
        """Give it, to be told now."""
        untold, self._told = self._count - self._told, self._count.copy()
        return untold
