"""One coarse timer for all sessions: deadlines to the second, one delayed call for everybody.

A timer object a connection costs more than the connection's own bookkeeping, and most are never reached:
each byte moves an idle deadline. Here a byte only notes the time; the wheel asks each session when its
first deadline could have come, and the session answers with how long it still has. (Varghese and Lauck,
"Hashed and hierarchical timing wheels", 1987, scheme 4 with one-second slots.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import floor
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

RESOLUTION = 1.0
"""Seconds between two turns of a session's wheel: a check comes at most twice this much late, never early."""


class Watched(Protocol):
    """What can be put on the wheel."""

    slot: int | None
    """Kept by the wheel: the turn at which this is looked at next."""

    def check(self, now: float) -> float | None:
        """Act on the deadlines that have come.

        :param now: the wheel's time, in seconds.
        :returns: the seconds until the next check, or None to be left in peace.
        """
        ...


class Wheel:
    """Calls each watched thing's ``check`` when its time has come; idle while nothing is watched.

    :param reactor: for the one delayed call.
    :param seconds: the clock of the deadlines; monotonic, so that a stepped wall clock ends nobody.
    :param resolution: seconds from one turn to the next.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, seconds: Callable[[], float], resolution: float = RESOLUTION
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._resolution = resolution
        self._slots: defaultdict[int, set[Watched]] = defaultdict(set)
        self._call: IDelayedCall | None = None
        self._turn = 0
        self.now = seconds()

    def watch(self, watched: Watched, delay: float) -> float:
        """Check *watched* once *delay* seconds from now have passed, instead of when it was to be checked.

        :returns: when that is, on the clock of the deadlines.
        """
        if watched.slot is not None:
            self.forget(watched)
        if self._call is None:
            self._start()
        due = self._seconds() + delay
        watched.slot = turn = floor(due / self._resolution) + 1
        self._slots[turn].add(watched)
        return due

    def forget(self, watched: Watched) -> None:
        """Check *watched* no more."""
        turn = watched.slot
        if turn is None:
            return
        watched.slot = None
        slot = self._slots[turn]
        slot.discard(watched)
        if not slot:
            del self._slots[turn]
            if not self._slots:
                self._stop()

    def _start(self) -> None:
        self.now = self._seconds()
        self._turn = floor(self.now / self._resolution)
        self._call = self._reactor.callLater(self._resolution, self._tick)

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = self._reactor.callLater(self._resolution, self._tick)
        self.now = self._seconds()
        due = floor(self.now / self._resolution)
        while self._turn < due and self._slots:
            self._turn += 1
            for watched in tuple(self._slots.get(self._turn, ())):
                self._check(watched)
        self._turn = due

    def _check(self, watched: Watched) -> None:
        if watched.slot != self._turn:
            return
        self.forget(watched)
        try:
            again = watched.check(self.now)
        except Exception:
            self._log.failure("a deadline could not be dealt with")
            return
        if again is not None:
            self.watch(watched, again)
