"""A clock with the turns of a reactor: a call that is made in one is run in the next, at the earliest."""

from __future__ import annotations

from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock


class TurningClock(Clock):
    """As Twisted's ``Clock``, which however runs what a call asks to be called at once within the same turn,
    as ``ReactorBase.runUntilCurrent`` does not."""

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and run the calls that are due and were made before."""
        self.rightNow += seconds
        due = [call for call in self.calls if call.getTime() <= self.rightNow]
        for call in sorted(due, key=DelayedCall.getTime):
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def run_out(self) -> int:
        """Turn for as long as there are calls that are due at once.

        :returns: how many turns it took.
        """
        turns = 0
        while any(call.getTime() <= self.rightNow for call in self.getDelayedCalls()):
            self.turn()
            turns += 1
        return turns


class Crank(Clock):
    """A reactor that is turned by hand; the poller is asked in any case."""

    def addReader(self, reader: object) -> None:
        """Nothing to do."""

    removeReader = addReader
