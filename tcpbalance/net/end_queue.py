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

ENDS_A_TURN = 16
"""Ends reported in one turn of the reactor, at least: each takes 50 to 100 microseconds with what follows."""

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
        self._waiting: deque[Callable[[], None]] = deque()
        self._left = ENDS_A_TURN
        self._next_turn: IDelayedCall | None = None

    def report(self, end: Callable[[], None]) -> None:
        """Call *end*: now, or in a later turn where this one has had enough of them."""
        at_once = bool(self._left) and not self._waiting
        if at_once:
            self._left -= 1
        else:
            self._waiting.append(end)
        # Where ends are few, most turns have no call of ours, and no turn follows for its sake.
        if self._left <= ENDS_A_TURN // 2 and self._next_turn is None:
            self._next_turn = self._reactor.callLater(0, self._go_on)
        if at_once:
            end()

    def _go_on(self) -> None:
        self._next_turn = None
        self._left = max(ENDS_A_TURN, len(self._waiting) // SHARE_A_TURN)
        if not self._waiting:
            return
        # What these bring waits behind those that are there, and the next turn has a number of its own.
        self._next_turn = self._reactor.callLater(0, self._go_on)
        while self._left and self._waiting:
            self._left -= 1
            self._report(self._waiting.popleft())

    def _report(self, end: Callable[[], None]) -> None:
        try:
            end()
        except Exception:
            self._log.failure("a connection's end could not be reported")
