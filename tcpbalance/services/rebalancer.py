"""Closes idle sessions of backends that have more than their share, so that their clients come to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tcpbalance.admission.gcra import Gcra
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.net.wheel import CHECKS_TIME_A_TURN
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.departures import Departures
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession
from tcpbalance.steady_loop import SteadyLoop

TOLERATED, TOLERATED_PART = 1, 0.05
"""Connections above its share, and their part of it, up to which a backend keeps them: as clients come and
go, the numbers come near the shares and do not stay there. Once there were more, all of them are closed."""

MIN_INTERVAL, MAX_INTERVAL = 0.02, 0.2
"""Seconds from one look to the next: below the tolerance of ``Gcra``, so that the rate is kept."""

CALM = 1.0
"""Seconds until the next look where nothing is to be closed, or no session was found that could be."""

CHECKED_A_LOOK = 500
"""Sessions that one look examines at most, and only for ``CHECKS_TIME_A_TURN``."""


class Rebalancer:
    """Looks now and then whether a backend of a pool has more than its share, and closes some of the surplus.

    A session is asked at that moment whether it is idle: it notes nothing for this.

    :param pool: the pool.
    :param open_sessions: gives the sessions whose clients would come back to the pool, and may give others.
    :param reactor: for the loop.
    :param clock: seconds on a monotonic clock.
    """

    def __init__(
        self,
        pool: Pool,
        open_sessions: Callable[[], list[OpenSession]],
        reactor: Any,
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._open_sessions = open_sessions
        self._clock = clock
        self._config: RebalanceConfig | None = None
        self._idle_for = 0.0
        self._pace = Gcra(1.0)
        self._next_look = self._next_close = clock()
        self._departures = Departures()
        self._since: dict[Backend, float] = {}
        self._unseen: list[OpenSession] = []
        self._leaving: dict[OpenSession, Backend] = {}
        self._loop = SteadyLoop(f"rebalancing of pool {pool.name}", self._look, reactor)

    def start(self, config: RebalanceConfig) -> None:
        """Begin to look, or go on by other settings.

        :param config: how fast sessions are closed, and when they are idle.
        """
        if config == self._config:
            return
        self._loop.stop()
        rate = config.rate.per_second
        self._config, self._idle_for, self._pace = config, config.idle_for, Gcra(rate)
        self._next_look = self._next_close = self._clock()
        self._loop.start(min(MAX_INTERVAL, max(MIN_INTERVAL, 1 / rate)), now=False)

    def stop(self) -> None:
        """Look no more; calling it again does nothing."""
        self._loop.stop()
        self._config = None
        self._since = {}
        self._unseen = []

    def _look(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        self._leaving = {session: b for session, b in self._leaving.items() if not session.over}
        leaving = Counter(self._leaving.values())
        staying = {backend: backend.active - leaving[backend] for backend in self._pool.backends}
        away = self._departures.count(now, sum(staying.values()))
        found = self._pool.surplus(leaving, away)
        begun = {b: n for b, n in found.by_backend.items() if b in self._since or _is_much(n, staying[b])}
        lasting = self._lasting(begun, now)
        if not lasting or not found.closable:
            self._unseen = []
            self._next_look = now + min(CALM, self._idle_for)
        elif now >= self._next_close:
            self._close_some(lasting, found.closable, now)
        else:
            self._unseen = []  # Until the next may be closed, many of them end.

    def _lasting(self, surplus: Mapping[Backend, int], now: float) -> dict[Backend, int]:
        """Give the surplus of the backends that have had some for as long as a session has to be idle.

        Where connections are short, backends have more and less than their share all the time.
        """
        self._since = {backend: self._since.get(backend, now) for backend in surplus}
        return {b: count for b, count in surplus.items() if now - self._since[b] >= self._idle_for}

    def _close_some(self, surplus: dict[Backend, int], closable: int, now: float) -> None:
        """Close sessions, as many as the rate and the time of one look allow.

        :param surplus: how many of each backend.
        :param closable: how many together.
        """
        until = now + CHECKS_TIME_A_TURN
        self._unseen = self._unseen or self._open_sessions()
        for _ in range(CHECKED_A_LOOK):
            if not self._unseen:
                self._next_look = now + CALM
                return
            if self._closes(self._unseen.pop(), surplus, now):
                closable -= 1
                wait = self._pace.spent(1, now)
                self._next_close = now + wait
                if wait or not closable:
                    self._next_look = now + min(wait, CALM)
                    return
            if self._clock() >= until:
                return

    def _closes(self, session: OpenSession, surplus: dict[Backend, int], now: float) -> bool:
        """Close a session if it belongs to the surplus and its client may go to another backend."""
        backend = session.served_by
        if backend is None or not surplus.get(backend) or not self._may_close(session):
            return False
        surplus[backend] -= 1
        self._departures.add(now)
        self._leaving[session] = backend
        session.end(EndReason.REBALANCED)
        return True

    def _may_close(self, session: OpenSession) -> bool:
        return session.can_move(self._idle_for) and session.can_return()


def _is_much(surplus: int, active: int) -> bool:
    """Whether a backend with so many connections has more above its share than is tolerated."""
    return surplus > max(TOLERATED, TOLERATED_PART * (active - surplus))
