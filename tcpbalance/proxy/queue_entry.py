"""What a dial waits for besides an attempt: a moment, or its turn in the pool's queue."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.connection_queue import LOOK_EVERY, ConnectionQueue


class PauseTimer:
    """A moment on a wheel, after which something is called; see ``connecting.Pending``.

    :param broke_down: called when that has raised.
    """

    __slots__ = ("_broke_down", "_call", "_wheel", "slot")

    def __init__(
        self, wheel: Wheel, seconds: float, call: Callable[[], None], broke_down: Callable[[], None]
    ) -> None:
        self._wheel = wheel
        self._call = call
        self._broke_down = broke_down
        self.slot: int | None = None
        wheel.watch(self, seconds)

    def check(self, now: float) -> None:
        """The wheel's call: the moment is over."""
        self._call()

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self._broke_down()

    def cancel(self) -> None:
        """See ``Pending``."""
        self._wheel.forget(self)


class Queued(Protocol):
    """Who stands in the queue."""

    def its_turn(self) -> None:
        """Hear that there is room."""
        ...

    def displaced(self) -> None:
        """Hear that others have the place now."""
        ...

    def timed_out(self) -> None:
        """Hear that the time is over."""
        ...

    def left_alone(self) -> None:
        """Hear that no backend is left that could serve it."""
        ...

    def broke_down(self) -> None:
        """Hear that an exception has come of what it was told."""
        ...


class QueueEntry:
    """A place in a pool's queue; see ``queue.Waiter`` and ``connecting.Pending``.

    :param room: where to wait.
    :param wheel: tells when the time is over.
    :param client: the client's packed address, None when it has none.
    :param seconds: how long the place is kept.
    :param who: told what comes of it.
    """

    _log = Logger()

    __slots__ = ("_room", "_seconds", "_until", "_wheel", "_who", "client", "slot")

    def __init__(
        self, room: ConnectionQueue, wheel: Wheel, client: bytes | None, seconds: float, who: Queued
    ) -> None:
        self._room = room
        self._wheel = wheel
        self._seconds = seconds
        self._until = math.inf
        self._who = who
        self.client = client
        self.slot: int | None = None

    def take(self) -> bool:
        """Stand in line.

        :returns: False when the queue is full.
        """
        if not self._room.join(self):
            return False
        self._until = self._wheel.watch(self, self._seconds)
        if self._seconds > LOOK_EVERY:
            self._wheel.watch(self, LOOK_EVERY)
        return True

    def its_turn(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._tell(self._who.its_turn)

    def displaced(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._tell(self._who.displaced)

    def look_soon(self) -> None:
        """See ``queue.Waiter``: look in the next turn of the wheel, which spreads many over several."""
        self._wheel.watch(self, 0.0)

    def check(self, now: float) -> float | None:
        """The wheel's call: somebody's turn may have come, no backend may be left, or the time is over."""
        self._room.look()
        if self not in self._room:
            return None
        if self._room.has_no_backend_for(self):
            self._room.leave(self)
            self._tell(self._who.left_alone)
            return None
        if now < self._until:
            return min(LOOK_EVERY, self._until - now)
        self._room.leave(self)
        self._tell(self._who.timed_out)
        return None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self.cancel()
        self._who.broke_down()

    def cancel(self) -> None:
        """See ``Pending``: leave the queue."""
        self._wheel.forget(self)
        self._room.leave(self)

    def _tell(self, call: Callable[[], None]) -> None:
        """Tell whoever waits; what goes wrong with that must not be the fault of whoever made room."""
        try:
            call()
        except Exception:
            self._log.failure("a queued connection could not be served")
            self._who.broke_down()
