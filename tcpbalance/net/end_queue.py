"""A queue of connections' ends, of which a bounded number is reported in one turn of the reactor.

Twisted's reactors deal with all events that they have collected before anything else, and an end costs many
times what a message does: the session ends, its record is written, what it held is given back. Where a client
leaves with thousands of connections, others would wait for all of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

ENDS_A_TURN = 16
"""Ends reported in one turn of the reactor, at least: each takes 50 to 100 microseconds with what follows."""

FEW_LEFT = ENDS_A_TURN // 2
"""Where a turn has fewer left, the next one begins with a call of ours, and has a number of its own."""

SHARE_A_TURN = 128
"""One in so many of the ends that wait is reported in a turn, where that is more: so the queue does not grow
without bound where more than ``ENDS_A_TURN`` come in each turn."""


class EndQueue:
    """Reports ends in the order in which they came.

    :param reactor: for the turns.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[tuple[Callable[[Failure], None], Failure]] = deque()
        self._left = ENDS_A_TURN
        self._next_turn: IDelayedCall | None = None

    def charge(self) -> bool:
        """Count an end to this turn.

        :returns: whether it can be reported now; otherwise the turn has had enough of them.
        """
        self._left -= 1
        # Where ends are few, most turns have no call of ours, and no turn follows for its sake.
        if self._left < FEW_LEFT and self._next_turn is None:
            self._next_turn = self._reactor.callLater(0, self._go_on)
        return self._left >= 0 and not self._waiting

    def wait(self, end: Callable[[Failure], None], reason: Failure) -> None:
        """Call *end* with *reason* in a later turn, behind those that wait already."""
        self._waiting.append((end, reason))

    def _go_on(self) -> None:
        self._next_turn = None
        self._left = max(ENDS_A_TURN, len(self._waiting) // SHARE_A_TURN)
        if not self._waiting:
            return
        # What these bring waits behind those that are there, and the next turn has a number of its own.
        self._next_turn = self._reactor.callLater(0, self._go_on)
        while self._left > 0 and self._waiting:
            self._left -= 1
            self._report(*self._waiting.popleft())

    def _report(self, end: Callable[[Failure], None], reason: Failure) -> None:
        try:
            end(reason)
        except Exception:
            self._log.failure("a connection's end could not be reported")
