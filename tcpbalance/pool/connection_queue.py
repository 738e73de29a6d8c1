"""Where a pool's clients wait while all its backends are full: serves the queue when there is room."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.fair_queue import FairQueue, Waiter

LOOK_EVERY = 1.0
"""Seconds after which those who wait are looked at without a reason: time alone can make room, as the end of
an ejection does."""

BackendsWithCapacity = frozenset[Backend]
"""The backends that have any."""


class ConnectionQueue:
    """The queue of one pool.

    :param most: who may wait at once, at least 1.
    :param clock: the clock.
    :param find_room: tells which backends have room.
    :param is_for: tells whether some room is for a client, by its packed address.
    :param has_backend: tells whether a client, by its packed address, can expect any room at all.
    """

    __slots__ = (
        "_clock",
        "_find_room",
        "_has_backend",
        "_in_vain",
        "_is_for",
        "_next_look",
        "_queue",
        "_serves",
    )

    def __init__(
        self,
        most: int,
        clock: Callable[[], float],
        find_room: Callable[[], BackendsWithCapacity],
        is_for: Callable[[BackendsWithCapacity, bytes | None], bool],
        has_backend: Callable[[bytes | None], bool],
    ) -> None:
        self._queue = FairQueue(most)
        self._clock = clock
        self._find_room = find_room
        self._is_for = is_for
        self._has_backend = has_backend
        self._serves = False
        self._next_look = -inf
        self._in_vain: BackendsWithCapacity = frozenset()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def __contains__(self, waiter: Waiter) -> bool:
        """Whether somebody waits."""
        return waiter in self._queue

    def join(self, waiter: Waiter) -> bool:
        """Let somebody wait.

        :returns: False when there is no place.
        """
        self.ask_again()
        return self._queue.join(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Let somebody wait no longer."""
        self._queue.leave(waiter)

    def waits_in_vain(self, waiter: Waiter) -> bool:
        """Whether no backend is left that could ever serve somebody."""
        return not self._has_backend(waiter.client)

    def no_backend_left(self) -> None:
        """Let all find out for themselves that the last backend has gone: there may be many, and whoever
        brings the news does not wait for their ends."""
        for waiter in self._queue:
            waiter.look_soon()

    def look(self) -> None:
        """Serve where time alone has made room: those who wait ask for it, and one look does for all."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            self.serve_anew()

    def ask_again(self) -> None:
        """Let the next look ask all who wait, because room that was not for them may be now."""
        self._in_vain = frozenset()

    def serve_anew(self) -> None:
        """Serve, now that more has changed than that some backend has more room."""
        self.ask_again()
        self.serve()

    def serve(self) -> None:
        """Let those have their turn for whom there is room."""
        if self._serves:
            return
        self._serves = True
        try:
            for _ in range(len(self._queue)):
                waiter = self._next()
                if waiter is None:
                    break
                waiter.its_turn()
        finally:
            self._serves = False

    def _next(self) -> Waiter | None:
        """Whose turn it is; nobody's where those who wait have been asked about the same room before."""
        room = self._find_room()
        if room <= self._in_vain:
            return None
        waiter = self._queue.take(lambda client: self._is_for(room, client))
        if waiter is None:
            self._in_vain = room
        return waiter
