"""Ends the sessions of backends that drain, when the time is over that their pool gives them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from weakref import WeakKeyDictionary

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool

LOOK_AGAIN_AFTER = 1.0
"""Seconds after which sessions are ended once more where some are left, because a dial may have been under
way, or a client may have been queued."""


@define(eq=False)
class _DueTogether:
    """Backends of one pool whose time is over at once.

    :ivar call: comes then.
    """

    backends: set[Backend]
    call: IDelayedCall


class Drains:
    """The backends that drain, with a limit on their time.

    :param reactor: the reactor.
    :param end_sessions: ends the sessions of backends of a pool; looks at all sessions, so it is called once
        for all backends of a pool that are due together.
    """

    def __init__(
        self, reactor: IReactorTime, end_sessions: Callable[[Pool, Collection[Backend]], None]
    ) -> None:
        self._reactor = reactor
        self._end_sessions = end_sessions
        self._due: dict[Backend, _DueTogether] = {}
        # By the reactor's clock, in the past once the time is over; infinite where an operator sets no limit.
        self._ends: WeakKeyDictionary[Backend, float] = WeakKeyDictionary()

    def begin(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Take note that backends get no new clients any more; nothing changes for those that drain already.

        :param pool: says how long their sessions may go on.
        """
        if pool.drain_timeout is not None:
            self._end_in(pool.drain_timeout, pool, {it for it in backends if it not in self._ends})

    def end_now(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Take note that the time of backends is over, whenever it began."""
        ended = set(backends)
        for backend in ended:
            self.cancel(backend)
        self._end_in(0.0, pool, ended)

    def limit(self, pool: Pool, backend: Backend, seconds: float) -> None:
        """Have the sessions of a backend that drains ended after a time, whatever its pool says.

        :param seconds: infinite for no limit.
        """
        self.cancel(backend)
        self._end_in(seconds, pool, {backend})

    def left(self, backend: Backend) -> float | None:
        """Give the seconds until the sessions of a backend are ended, 0.0 where they have been; None where
        they have no limit."""
        ends = self._ends.get(backend, inf)
        return None if ends == inf else max(0.0, ends - self._reactor.seconds())

    def cancel(self, backend: Backend) -> None:
        """Take note that a backend gets clients again."""
        self._ends.pop(backend, None)
        due = self._due.pop(backend, None)
        if due is not None:
            due.backends.remove(backend)
            if not due.backends and due.call.active():
                due.call.cancel()

    def stop(self) -> None:
        """Let all of them be."""
        for backend in list(self._due):
            self.cancel(backend)
        self._ends.clear()

    def _end_in(self, seconds: float, pool: Pool, backends: set[Backend]) -> None:
        ends = self._reactor.seconds() + seconds
        self._ends.update(dict.fromkeys(backends, ends))
        if ends < inf:
            self._wait(seconds, pool, backends)

    def _wait(self, seconds: float, pool: Pool, backends: set[Backend]) -> None:
        if backends:
            call = self._reactor.callLater(seconds, self._is_over, pool, backends)
            self._due.update(dict.fromkeys(backends, _DueTogether(backends, call)))

    def _is_over(self, pool: Pool, backends: set[Backend]) -> None:
        # Removed ones have no clients since they were removed, and those of a pool that is gone keep theirs.
        draining = {b for b in backends if not b.removed and b.admin_state is not AdminState.READY}
        # Clients whose sessions end come again at once, and are to go to others.
        pool.forget_clients(draining, lambda: self._end(pool, backends))

    def _end(self, pool: Pool, backends: set[Backend]) -> None:
        """End the sessions of those that still drain, and look again for what comes late."""
        for backend in backends:
            del self._due[backend]
        if backends:
            self._end_sessions(pool, backends)
            self._wait(LOOK_AGAIN_AFTER, pool, {backend for backend in backends if backend.active})
