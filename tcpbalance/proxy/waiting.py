"""What a dial waits for besides an attempt: a moment, or its turn in the pool's queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.pool import Pool

LOOK_EVERY = 1.0
"""Seconds after which a place in a queue is looked at without a reason: time alone can make room, as the end
of an ejection does."""


class Pause:
    """A moment on a wheel, after which something is called; see ``connecting.Pending``."""

    __slots__ = ("_call", "_wheel", "slot")

    def __init__(self, wheel: Wheel, seconds: float, call: Callable[[], None]) -> None:
        self._wheel = wheel
        self._call = call
        self.slot: int | None = None
        wheel.watch(self, seconds)

    def check(self, now: float) -> None:
        """The wheel's call: the moment is over."""
        self._call()

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

    def waited_in_vain(self) -> None:
        """Hear that the time is over."""
        ...


class Place:
    """A place in a pool's queue; see ``queue.Waiter`` and ``connecting.Pending``.

    :param pool: with a queue.
    :param wheel: tells when the time is over.
    :param client: the client's packed address, None when it has none.
    :param until: by the pool's clock, how long it is kept.
    :param who: told what comes of it.
    """

    __slots__ = ("_pool", "_until", "_wheel", "_who", "client", "slot")

    def __init__(self, pool: Pool, wheel: Wheel, client: bytes | None, until: float, who: Queued) -> None:
        self._pool = pool
        self._wheel = wheel
        self._until = until
        self._who = who
        self.client = client
        self.slot: int | None = None

    def take(self) -> bool:
        """Stand in line.

        :returns: False when the queue is full.
        """
        assert self._pool.queue is not None
        if not self._pool.queue.join(self):
            return False
        self._wheel.watch(self, self._next_look())
        return True

    def its_turn(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._who.its_turn()

    def displaced(self) -> None:
        """See ``queue.Waiter``."""
        self._wheel.forget(self)
        self._who.displaced()

    def check(self, now: float) -> float | None:
        """The wheel's call: somebody's turn may have come, or the time is over."""
        self._pool.serve_queue()
        if self._is_out():
            return None
        if self._pool.seconds() < self._until:
            return self._next_look()
        self.cancel()
        self._who.waited_in_vain()
        return None

    def cancel(self) -> None:
        """See ``Pending``: leave the queue."""
        self._wheel.forget(self)
        if self._pool.queue is not None:
            self._pool.queue.leave(self)

    def _is_out(self) -> bool:
        return self._pool.queue is None or self not in self._pool.queue

    def _next_look(self) -> float:
        return max(0.0, min(LOOK_EVERY, self._until - self._pool.seconds()))
