"""What a dialler waits for besides an attempt: the end of a pause, or its turn in the pool's queue."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.connection_queue import LOOK_EVERY, ConnectionQueue


class PauseTimer:
    """Calls something once a pause is over; see ``connecting.Pending``.

    :param wheel: measures the pause.
    :param seconds: how long it is.
    :param call: called then.
    :param failed: called if that raises.
    """

    __slots__ = ("_call", "_failed", "_wheel", "slot")

    def __init__(
        self, wheel: Wheel, seconds: float, call: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._wheel = wheel
        self._call = call
        self._failed = failed
        self.slot: int | None = None
        wheel.watch(self, seconds)

    def check(self, now: float) -> None:
        """The wheel's call: the pause is over."""
        self._call()

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self._failed()

    def cancel(self) -> None:
        """See ``Pending``."""
        self._wheel.forget(self)


class Queued(Protocol):
    """What waits in the queue."""

    def its_turn(self) -> None:
        """A backend has capacity."""
        ...

    def displaced(self) -> None:
        """The queue was full, and another connection got the place."""
        ...

    def timed_out(self) -> None:
        """The time in the queue is over."""
        ...

    def no_backend_left(self) -> None:
        """No backend is left that could serve it."""
        ...

    def failed(self) -> None:
        """One of these calls has raised."""
        ...


class QueueEntry:
    """A connection's place in a pool's queue; see ``fair_queue.Waiter`` and ``connecting.Pending``.

    :param queue: the pool's.
    :param wheel: measures the time.
    :param client: the client's packed address, None when it has none.
    :param seconds: how long it waits at most.
    :param waiting: called with the outcome.
    """

    _log = Logger()

    __slots__ = ("_joined", "_queue", "_seconds", "_until", "_waiting", "_wheel", "client", "slot")

    def __init__(
        self, queue: ConnectionQueue, wheel: Wheel, client: bytes | None, seconds: float, waiting: Queued
    ) -> None:
        self._queue = queue
        self._wheel = wheel
        self._seconds = seconds
        self._until = math.inf
        self._joined = 0.0
        self._waiting = waiting
        self.client = client
        self.slot: int | None = None

    def join(self) -> bool:
        """Join the queue.

        :returns: False when the queue is full.
        """
        if not self._queue.join(self):
            return False
        self._watch()
        return True

    def put_back(self) -> None:
        """Wait on where another entry was, which has just had its turn for the same client."""
        self._queue.put_back(self)
        self._watch()

    def _watch(self) -> None:
        self._joined = self._queue.now()
        self._until = self._wheel.watch(self, self._seconds)
        if self._seconds > LOOK_EVERY:
            self._wheel.watch(self, LOOK_EVERY)

    def its_turn(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._queue.note_wait(self._joined)
        self._report(self._waiting.its_turn)

    def displaced(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._report(self._waiting.displaced)

    def look_soon(self) -> None:
        """See ``queue.Waiter``: look in the next turn of the wheel, which spreads many over several."""
        self._wheel.watch(self, 0.0)

    def check(self, now: float) -> float | None:
        """The wheel's call: serve the queue if time alone has made capacity; else leave it if no backend is
        left, or no time."""
        self._queue.look()
        if self not in self._queue:
            return None
        if self._queue.has_no_backend_for(self):
            self._queue.leave(self)
            self._report(self._waiting.no_backend_left)
            return None
        if now < self._until:
            return min(LOOK_EVERY, self._until - now)
        self._queue.time_out(self)
        self._report(self._waiting.timed_out)
        return None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self.cancel()
        self._waiting.failed()

    def cancel(self) -> None:
        """See ``Pending``: leave the queue."""
        self._wheel.forget(self)
        self._queue.leave(self)

    def _report(self, call: Callable[[], None]) -> None:
        """Report the outcome; an exception in that must not reach the session that released its slot."""
        try:
            call()
        except Exception:
            self._log.failure("a queued connection could not be served")
            self._waiting.failed()
