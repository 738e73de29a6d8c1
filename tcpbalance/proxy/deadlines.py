"""When a session has lasted too long: its clocks, which the frontend's wheel has looked at now and then."""

from __future__ import annotations

import math
from typing import Protocol

from twisted.python.failure import Failure

from tcpbalance.admission.gcra import MinRate
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.reasons import EndReason

SILENT_CLIENT_GRACE = 0.5
"""Seconds for which a dial goes on for a client that has finished without a byte. It may have closed, or it
only reads, as ``nc -N`` does with an empty input: the two look the same. A healthy backend accepts within
this time."""


class Timed(Protocol):
    """A session as its deadlines see it."""

    active: float
    """When the last event came, by the wheel's clock."""

    aged_at: float
    """When it is too old, by the frontend's clock."""

    client: Peer
    backend: Peer | None
    dry_run_limits: tuple[DryRunLimit, ...]

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        ...

    @property
    def over(self) -> bool:
        """Whether it has ended, and was recorded."""
        ...

    @property
    def dials(self) -> bool:
        """Whether it tries to reach a backend: not while it waits for one in the queue."""
        ...

    @property
    def half_closed(self) -> bool:
        """Whether one side has finished sending."""
        ...

    @property
    def quiet_since(self) -> float:
        """When the last byte came, by the wheel's clock."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide its end."""
        ...

    def dial_timed_out(self) -> None:
        """The time to reach a backend is over."""
        ...

    def abort(self) -> None:
        """Close both sides at once."""
        ...


class Deadlines:
    """The clocks of one session; the two hold each other until the session forgets them.

    A byte only notes the time. Where bytes pass the session by, its sides note it instead.

    :param session: ended when a deadline has passed; not started yet.
    :param context: settings, clock and wheel.
    :param dial_until: when the dial has taken too long, by that clock, its time in the queue aside.
    """

    __slots__ = (
        "_context",
        "_dial_until",
        "_in_flight",
        "_looked",
        "_min_rate",
        "_session",
        "slot",
    )

    def __init__(self, session: Timed, context: SessionContext, dial_until: float) -> None:
        self._session = session
        self._context = context
        self._dial_until = dial_until
        self._in_flight = (0, 0)
        self._looked = -math.inf
        self._min_rate: MinRate | None = None
        self.slot: int | None = None

    def start(self) -> None:
        """Begin to look."""
        left = max(0.0, min(self._session.aged_at, self._dial_until) - self._session.active)
        self._context.wheel.watch(self, min(self._context.look_every, left))

    def allow(self, seconds: float) -> None:
        """The dial goes on after *seconds* in which it was not trying, and which do not count."""
        self._dial_until += seconds
        self.look()

    def end_dial_soon(self) -> None:
        """The client has finished without a byte."""
        self._dial_until = min(self._dial_until, self._context.clock() + SILENT_CLIENT_GRACE)
        self.look()

    def look(self) -> None:
        """Look when the first of them may come, by how things stand now."""
        self._context.wheel.watch(self, self._next_check())

    def connected(self) -> None:
        """A backend is there, and the two sides are joined: bytes can move from now on."""
        least = self._context.limits.min_rate
        if least is not None and DryRunLimit.MIN_RATE not in self._session.dry_run_limits:
            self._min_rate = MinRate(least, self._context.clock())

    def stop(self) -> None:
        """Look no more."""
        self._context.wheel.forget(self)

    def check(self, now: float) -> float | None:
        """The wheel's call: end what has lasted too long.

        :param now: seconds on the frontend's clock.
        :returns: the seconds until the next check, None when the session is over.
        """
        session = self._session
        if now >= session.aged_at:
            session.end(EndReason.MAX_CONNECTION_AGE)
        elif now >= self._dial_until and session.dials:
            session.dial_timed_out()
        elif self._is_too_slow(now):
            self._end_as_too_slow()
        elif now < self._next_look() or self._looks_alive(now):
            pass
        elif not session.ending:
            session.end(EndReason.HALF_CLOSE_TIMEOUT if session.half_closed else EndReason.IDLE_TIMEOUT)
        else:
            session.abort()
        return None if session.over else self._next_check()

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``: without its clocks, the session must not go on."""
        self._session.end(EndReason.INTERNAL_ERROR)

    def _is_too_slow(self, now: float) -> bool:
        """Whether something goes on here, and too little for a minute."""
        client, backend = self._session.client, self._session.backend
        if self._min_rate is None or backend is None or self._session.ending:
            return False
        waiting = client.in_flight() + backend.in_flight()
        return self._min_rate.is_missed(client.received + backend.received - waiting, waiting > 0, now)

    def _end_as_too_slow(self) -> None:
        if self._context.dry_run is None:
            self._session.end(EndReason.TOO_SLOW)
        else:
            self._context.dry_run.would_limit(self._session, DryRunLimit.MIN_RATE)
            self._min_rate = None

    def _looks_alive(self, now: float) -> bool:
        """Whether a slow reader has fetched something since the last look, or a limiter holds a side back: no
        byte comes, and yet this is not idle.

        The first look since a byte came only notes what there is to compare with.
        """
        client, backend = self._session.client, self._session.backend
        in_flight = (client.in_flight(), backend.in_flight() if backend is not None else 0)
        first = self._looked < self._session.quiet_since
        held_back = client.held_back or (backend is not None and backend.held_back)
        alive = held_back or (not first and in_flight != self._in_flight)
        self._in_flight, self._looked = in_flight, now
        if alive:
            self._session.active = now
        return first or alive

    def _next_look(self) -> float:
        """When to see what is in flight: at half the limit, and when it has been quiet for too long."""
        session, timeouts = self._session, self._context.timeouts
        if session.backend is None and not session.ending:
            # In the queue, ``queue_timeout`` counts instead.
            return self._dial_until if session.dials else math.inf
        quiet_since = session.quiet_since
        limit = (
            timeouts.half_close_timeout if session.ending or session.half_closed else timeouts.idle_timeout
        )
        # A time read off the wheel may be one turn old.
        return quiet_since + RESOLUTION + (limit if self._looked >= quiet_since else limit / 2)

    def _next_check(self) -> float:
        """Seconds until the first look or deadline that may come.

        Never longer than half the shorter limit: so a side that connects or finishes meanwhile needs no
        earlier look.
        """
        first = min(self._next_look(), self._session.aged_at)
        if self._min_rate is not None and self._session.backend is not None and not self._session.ending:
            first = min(first, self._min_rate.due)
        until = first - self._context.clock()
        return min(max(0.0, until), self._context.look_every)
