"""The queue of a pool: connections wait while all backends are full, and are served when one is not."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.fair_queue import FairQueue, Waiter
from tcpbalance.pool.shared_load import PoolLoad
from tcpbalance.stats import PoolStats

LOOK_EVERY = 1.0
"""Seconds after which the queue is looked at without a cause: time alone can give capacity, as the end of an
ejection does."""

BackendsWithCapacity = frozenset[Backend]
"""The backends that may have another connection now."""


class ConnectionQueue:
    """The queue of one pool.

    :param max_waiters: how many may wait at once, at least 1.
    :param clock: the clock.
    :param find_capacity: gives the backends with capacity.
    :param can_serve: whether one of them is for a client, by its packed address.
    :param has_backend_for: whether any backend would serve a client if it had capacity.
    :param stats: the pool's counters.
    :param shared: learns how many clients wait; None where no other process gives anything back.
    """

    __slots__ = (
        "__weakref__",
        "_able",
        "_can_serve",
        "_clock",
        "_find_capacity",
        "_has_backend_for",
        "_is_serving",
        "_next_look",
        "_queue",
        "_shared",
        "_stats",
        "_useless",
    )

    def __init__(
        self,
        max_waiters: int,
        clock: Callable[[], float],
        find_capacity: Callable[[], BackendsWithCapacity],
        can_serve: Callable[[BackendsWithCapacity, bytes | None], bool],
        has_backend_for: Callable[[bytes | None], bool],
        stats: PoolStats,
        *,
        shared: PoolLoad | None = None,
    ) -> None:
        self._queue = FairQueue(max_waiters)
        self._clock = clock
        self._find_capacity = find_capacity
        self._can_serve = can_serve
        self._has_backend_for = has_backend_for
        self._stats = stats
        self._shared = shared
        self._is_serving = False
        self._next_look = -inf
        # Whether one of those that wait may be able to use what is free, as far as is known.
        self._able = True
        # Backends with capacity of which it is known that no waiter can be served by them.
        self._useless: BackendsWithCapacity = frozenset()

    @property
    def max_waiters(self) -> int:
        """How many may wait at once; those that wait when it is lowered stay."""
        return self._queue.max_waiters

    @max_waiters.setter
    def max_waiters(self, count: int) -> None:
        self._queue.max_waiters = count

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def __contains__(self, waiter: Waiter) -> bool:
        """Whether a certain one waits."""
        return waiter in self._queue

    def has_place_for(self, client: bytes | None) -> bool:
        """Whether a client may wait that comes now, before others give way in other processes."""
        return self._queue.has_place_for(client)

    def join(self, waiter: Waiter) -> bool:
        """Let a connection wait.

        :returns: False when the queue is full.
        """
        self.ask_again()
        if self._queue.full and self._shared is not None:
            # What another process has given back goes to those that are in front of it.
            self.serve()
        stats, was_full = self._stats, self._queue.full
        if not self._queue.join(waiter):
            stats.queue_overflows += 1
            return False
        stats.queue_total += 1
        if was_full:
            stats.queue_displacements += 1  # Another has lost its place to it.
        if self._shared is not None:
            self._report_lines(self._shared)
        return True

    def now(self) -> float:
        """The time by which `note_wait` counts."""
        return self._clock()

    def note_wait(self, joined: float) -> None:
        """Count how long a connection has waited whose turn it is.

        :param joined: when it joined.
        """
        self._stats.queue_time.note(self._clock() - joined)

    def put_back(self, waiter: Waiter) -> None:
        """Let a connection wait on where it was: it had its turn, and another process was quicker."""
        self._queue.put_back(waiter)
        if self._shared is not None:
            self._report_lines(self._shared)

    def _report_lines(self, shared: PoolLoad) -> None:
        shared.lines_wait(self._queue.lines, self._able)

    def leave(self, waiter: Waiter) -> None:
        """Let a connection wait no longer."""
        self._queue.leave(waiter)
        if self._shared is not None:
            self._report_lines(self._shared)

    def time_out(self, waiter: Waiter) -> None:
        """Let a connection wait no longer whose time is over."""
        self.leave(waiter)
        self._stats.queue_timeouts += 1

    def has_no_backend_for(self, waiter: Waiter) -> bool:
        """Whether no backend is left that could ever serve a waiter."""
        return not self._has_backend_for(waiter.client)

    def no_backend_left(self) -> None:
        """Have all waiters find out whether a backend is left for them, each in a later call."""
        for waiter in self._queue:
            waiter.look_soon()

    def look(self) -> None:
        """Serve where time alone has given capacity; all waiters ask for it, and one look serves for all."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            self.serve_anew()

    def ask_again(self) -> None:
        """Let the next look consider all waiters, because capacity that was of no use to them may be now."""
        self._useless = frozenset()
        self._able = True
        if self._shared is not None:
            self._report_lines(self._shared)

    def serve_anew(self) -> None:
        """Serve, now that more has changed than that a backend has more capacity."""
        self.ask_again()
        self.serve()

    def serve(self) -> None:
        """Give their turn to waiters for which there is capacity."""
        # At most as many turns as there are waiters: one that is served may join again.
        self._serve(len(self._queue))

    def on_release(self, _: Backend) -> None:
        """Serve, now that a slot has been given back."""
        if self._queue:
            self.serve()

    def serve_one(self) -> bool:
        """Give its turn to one waiter, if there is capacity for one.

        :returns: whether there was.
        """
        return self._serve(1) > 0

    def has_capacity(self) -> bool:
        """Whether a backend has capacity, be it of use to those that wait here or not."""
        was_ahead = self._go_ahead(True)
        try:
            return bool(self._find_capacity())
        finally:
            self._go_ahead(was_ahead)

    def _serve(self, turns: int) -> int:
        """Give at most so many turns.

        :returns: how many were given.
        """
        # One that is served may end at once, and give its slot back within this call.
        if self._is_serving or not self._queue:
            return 0
        self._is_serving = True
        self._go_ahead(True)
        try:
            for given in range(turns):
                waiter = self._next()
                if waiter is None:
                    return given
                waiter.its_turn()
        finally:
            self._is_serving = False
            self._go_ahead(False)
        return turns

    def _go_ahead(self, ahead: bool) -> bool:
        """Have what waits here come before what comes anew, for which backends are full while others wait.

        :returns: whether it did before.
        """
        shared = self._shared
        if shared is None:
            return False
        before, shared.serving = shared.serving, ahead
        return before

    def _next(self) -> Waiter | None:
        """Take out the next waiter to be served; None where none can be, as far as is known already."""
        capacity = self._find_capacity()
        if capacity <= self._useless:
            return None
        waiter = self._queue.take(lambda client: self._can_serve(capacity, client))
        if waiter is None:
            self._useless = capacity
            self._able = not capacity
        if self._shared is not None:
            self._report_lines(self._shared)
        return waiter
