"""Ends the sessions of backends that drain, when the time is over that their pool gives them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

LOOK_AGAIN_AFTER = 1.0
"""Seconds after which the sessions of a removed backend are ended once more, because a dial may have been
under way."""


class Drains:
    """The backends that drain, with a limit on their time.

    :param reactor: the reactor.
    :param end_sessions: ends the sessions of a backend.
    """

    def __init__(self, reactor: IReactorTime, end_sessions: Callable[[Backend], None]) -> None:
        self._reactor = reactor
        self._end_sessions = end_sessions
        self._calls: dict[Backend, IDelayedCall] = {}

    def begin(self, pool: Pool, backend: Backend) -> None:
        """Take note that a backend gets no new clients any more; nothing changes for one that drains already.

        :param pool: says how long its sessions may go on.
        """
        if pool.drain_timeout is not None and backend not in self._calls:
            self._calls[backend] = self._reactor.callLater(pool.drain_timeout, self._is_over, pool, backend)

    def cancel(self, backend: Backend) -> None:
        """Take note that a backend gets clients again."""
        call = self._calls.pop(backend, None)
        if call is not None:
            call.cancel()

    def stop(self) -> None:
        """Let all of them be."""
        for backend in list(self._calls):
            self.cancel(backend)

    def _is_over(self, pool: Pool, backend: Backend) -> None:
        del self._calls[backend]
        pool.forget_clients(backend)
        self._end_sessions(backend)
        if backend.removed and backend.active:
            self._calls[backend] = self._reactor.callLater(LOOK_AGAIN_AFTER, self._is_over, pool, backend)
