"""One coarse timer for all sessions: deadlines to the second, one delayed call for all.

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
from twisted.python.failure import Failure

RESOLUTION = 1.0
"""Seconds between two turns of a session's wheel: a check comes at most twice this much late, never early. It
comes later where more checks are due than the process can make meanwhile."""

STEPS_A_TURN = 64
"""Checks made before the reactor has its turn, at most."""

CHECKS_TIME_A_TURN = 0.001
"""Seconds after which no further check is made before the reactor has its turn. Most checks take 1 or 2
microseconds, one that ends a session 50 to 100; and another client needs several turns of the reactor."""


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

    def on_failure(self, failure: Failure) -> None:
        """``check`` has raised *failure*, which is logged already: end what this watches. It is watched no
        longer."""
        ...


class Wheel:
    """Calls each watched thing's ``check`` when its time has come; idle while nothing is watched.

    Of many that are due together, a bounded number is checked in one turn of the reactor, and the others in
    the turns after that: first those that have been due for longer.

    :param reactor: for the delayed calls: one for the next turn of the wheel, and one while there are checks
        left that are due.
    :param clock: of the deadlines; monotonic, so that a stepped wall clock ends no session.
    :param resolution: seconds from one turn to the next.
    :ivar now: the time by that clock, as of the last turn.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, clock: Callable[[], float], resolution: float = RESOLUTION
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._resolution = resolution
        # Dicts are used as sets that have an order, which is the same in every run.
        self._slots: defaultdict[int, dict[Watched, None]] = defaultdict(dict)
        self._call: IDelayedCall | None = None
        self._rest: IDelayedCall | None = None
        self._turn = 0
        self.now = clock()

    def watch(self, watched: Watched, delay: float) -> float:
        """Check *watched* once *delay* seconds from now have passed, instead of when it was to be checked.

        :returns: when that is, on the clock of the deadlines.
        """
        if watched.slot is not None:
            self.forget(watched)
        due = self._clock() + delay
        self.watch_until(watched, due)
        return due

    def watch_until(self, watched: Watched, due: float) -> None:
        """Check once *due* has come what is not watched yet.

        :param due: on the clock of the deadlines.
        """
        if self._call is None:
            self._start(due)
        watched.slot = turn = floor(due / self._resolution) + 1
        self._slots[turn][watched] = None

    def forget(self, watched: Watched) -> None:
        """Check *watched* no more."""
        turn = watched.slot
        if turn is not None:
            watched.slot = None
            slot = self._slots[turn]
            del slot[watched]
            if not slot:
                self._drop_slot(turn)

    def _drop_slot(self, turn: int) -> None:
        del self._slots[turn]
        if not self._slots:
            self._stop()

    def _start(self, due: float) -> None:
        self.now = self._clock()
        # The process may have stood still since that was worked out.
        self._turn = floor(min(self.now, due) / self._resolution)
        self._call = self._reactor.callLater(self._resolution, self._tick)

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _tick(self) -> None:
        self._call = self._reactor.callLater(self._resolution, self._tick)
        if self._rest is None:
            self._work()

    def _go_on(self) -> None:
        self._rest = None
        self._work()

    def _work(self) -> None:
        """Make the checks that are due, as many as one turn of the reactor allows."""
        self.now = self._clock()
        due = floor(self.now / self._resolution)
        until = self.now + CHECKS_TIME_A_TURN
        for _ in range(STEPS_A_TURN):
            slot = self._slots.get(self._turn)
            if slot is not None:
                watched, _ = slot.popitem()
                watched.slot = None
                if not slot:
                    self._drop_slot(self._turn)
                self._check(watched)
                if self._clock() >= until:
                    break
            elif self._turn < due:
                self._turn += 1
            else:
                return
        if self._slots:
            self._rest = self._reactor.callLater(0, self._go_on)

    def _check(self, watched: Watched) -> None:
        try:
            again = watched.check(self.now)
        except Exception:
            self._failed(watched)
            return
        if again is not None:
            self.watch(watched, again)

    def _failed(self, watched: Watched) -> None:
        failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._log.failure("{watched}: a deadline could not be dealt with", failure, watched=watched)
        self.forget(watched)
        try:
            watched.on_failure(failure)
        except Exception:
            self._log.failure("{watched} could not be ended, either", watched=watched)
