"""Closes idle sessions of backends that have more than their share, so that their clients come to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil
from random import Random
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tcpbalance.admission.gcra import Gcra
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.net.wheel import CHECKS_TIME_A_TURN
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.departures import Departures
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession

TOLERATED, TOLERATED_PART = 1, 0.05
"""Connections above its share, and their part of it, up to which a backend keeps them: as clients come and
go, the numbers come near the shares and do not stay there. Once there were more, all of them are closed."""

PAUSE = 0.05
"""Seconds from one look to the next at least: below the tolerance of ``Gcra``, so that the rate is kept."""

CALM = 1.0
"""Seconds from one look to the next at most: where nothing is to be closed, or none was found that can be."""

AFTER_FAILURE = 30.0
"""Seconds until the next look behind one that has failed."""

CHECKED_A_LOOK = 500
"""Sessions that one look examines at most, and only for ``CHECKS_TIME_A_TURN``."""

LISTED_FOR = 30.0
"""Seconds for which the sessions that were open once are examined; many of them have ended by then."""


class Rebalancer:
    """Looks now and then whether a backend of a pool has more than its share, and closes some of the surplus.

    A session is asked at that moment whether it is idle: it notes nothing for this.

    :param pool: the pool.
    :param open_sessions: gives the sessions whose clients would come back to the pool, and may give others.
    :param reactor: for the looks.
    :param clock: seconds on a monotonic clock.
    :param rng: decides which sessions are examined first.
    """

    _log = Logger()

    def __init__(
        self,
        pool: Pool,
        open_sessions: Callable[[], list[OpenSession]],
        reactor: Any,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._pool = pool
        self._open_sessions = open_sessions
        self._reactor = reactor
        self._clock = clock
        self._rng = rng
        self._config: RebalanceConfig | None = None
        self._idle_for = 0.0
        self._pace = Gcra(1.0)
        self._next_look: IDelayedCall | None = None
        self._next_close = self._listed_at = clock()
        self._departures = Departures()
        self._since: dict[Backend, float] = {}
        self._unseen: list[OpenSession] = []
        self._leaving: dict[OpenSession, Backend] = {}
        self._closed: int | None = None

    def start(self, config: RebalanceConfig) -> None:
        """Begin to look, or go on by other settings.

        :param config: how fast sessions are closed, and when they are idle.
        """
        if config == self._config:
            return
        self._cancel()
        self._config, self._idle_for, self._pace = config, config.idle_for, Gcra(config.rate.per_second)
        self._next_close = self._clock()
        self._look_after(PAUSE)

    def stop(self) -> None:
        """Look no more; calling it again does nothing."""
        self._cancel()
        self._config = None
        self._since = {}
        self._unseen = []
        self._forget_ended()
        self._log_end()

    def _cancel(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _look_after(self, seconds: float) -> None:
        self._next_look = self._reactor.callLater(seconds, self._look_safely)

    def _look_safely(self) -> None:
        self._next_look = None
        try:
            wait = min(CALM, max(PAUSE, self._look()))
        except Exception:
            self._log.failure("rebalancing of pool {pool} has failed", pool=self._pool.name)
            wait = AFTER_FAILURE
        # What hears of the end of a session may have stopped this, or started it anew.
        if self._config is not None and self._next_look is None:
            self._look_after(wait)

    def _look(self) -> float:
        """Close what may be closed now.

        :returns: seconds until there may be more.
        """
        now = self._clock()
        self._forget_ended()
        leaving = Counter(self._leaving.values())
        staying = {backend: backend.load - leaving[backend] for backend in self._pool.backends}
        away = self._departures.count(now, sum(staying.values()))
        found = self._pool.selection.surplus(leaving, away)
        begun = {b: n for b, n in found.by_backend.items() if b in self._since or _is_much(n, staying[b])}
        lasting = self._lasting(begun, now)
        if not lasting or not found.closable:
            self._unseen = []
            if not lasting:
                self._log_end()
            return self._idle_for
        self._log_begin(sum(lasting.values()))
        if now < self._next_close:
            self._unseen = []
            return self._next_close - now
        own = {backend: ceil(count * backend.part_here) for backend, count in lasting.items()}
        closable = ceil(found.closable * sum(own.values()) / sum(lasting.values()))
        return self._close_some(own, closable, now)

    def _forget_ended(self) -> None:
        self._leaving = {session: b for session, b in self._leaving.items() if not session.over}

    def _lasting(self, surplus: Mapping[Backend, int], now: float) -> dict[Backend, int]:
        """Give the surplus of the backends that have had some for as long as a session has to be idle.

        Where connections are short, backends have more and less than their share all the time.
        """
        self._since = {backend: self._since.get(backend, now) for backend in surplus}
        return {b: count for b, count in surplus.items() if now - self._since[b] >= self._idle_for}

    def _close_some(self, surplus: dict[Backend, int], closable: int, now: float) -> float:
        """Close sessions, as many as the rate and the time of one look allow.

        :param surplus: how many of each backend, of this process.
        :param closable: how many together.
        :returns: seconds until there may be more.
        """
        until = now + CHECKS_TIME_A_TURN
        if not self._unseen or now - self._listed_at >= LISTED_FOR:
            self._list_sessions(now)
        for _ in range(CHECKED_A_LOOK):
            if not self._unseen or not closable:
                break
            if self._closes(self._unseen.pop(), surplus, now):
                closable -= 1
                # The rate is that of all processes together.
                wait = self._pace.spent(self._pool.processes, now)
                self._next_close = now + wait
                if wait:
                    return wait
            if self._clock() >= until:
                break
        return PAUSE if self._unseen and closable else CALM

    def _list_sessions(self, now: float) -> None:
        """List the open sessions anew, from a random one on: one list may be too long for its time."""
        sessions = self._open_sessions()
        first = self._rng.randrange(len(sessions)) if sessions else 0
        self._unseen = sessions[first:] + sessions[:first]
        self._listed_at = now

    def _closes(self, session: OpenSession, surplus: dict[Backend, int], now: float) -> bool:
        """Close a session if it belongs to the surplus and its client may go to another backend."""
        backend = session.served_by
        if backend is None or not surplus.get(backend) or not self._may_close(session):
            return False
        surplus[backend] -= 1
        self._departures.add(now)
        self._leaving[session] = backend
        self._closed = (self._closed or 0) + 1
        session.end(EndReason.REBALANCED)
        return True

    def _may_close(self, session: OpenSession) -> bool:
        # One that is there already could not be ended.
        return session not in self._leaving and session.can_move(self._idle_for) and session.can_return()

    def _log_begin(self, surplus: int) -> None:
        assert self._config is not None
        if self._closed is None:
            self._closed = 0
            self._log.info(
                "pool {pool}: {count} connections above the shares of their backends, idle ones are closed, "
                "{rate:g}/s at most",
                pool=self._pool.name,
                count=surplus,
                rate=self._config.rate.per_second,
            )

    def _log_end(self) -> None:
        if self._closed is not None:
            self._log.info(
                "pool {pool}: rebalancing is over, {count} connections were closed",
                pool=self._pool.name,
                count=self._closed,
            )
            self._closed = None


def _is_much(surplus: int, active: int) -> bool:
    """Whether a backend with so many connections has more above its share than is tolerated."""
    return surplus > max(TOLERATED, TOLERATED_PART * (active - surplus))
