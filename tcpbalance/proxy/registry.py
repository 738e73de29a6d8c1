"""The open sessions of one frontend, and what is counted and reported of those that have ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.event import OneTimeEvent
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.accept_pause import AcceptPause
from tcpbalance.proxy.dry_run import DryRun, DryRunLimit
from tcpbalance.proxy.ending import SessionEnder
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.stats import FrontendStats, SessionStats

FULL = "max_sessions"
"""Why no clients are accepted while as many sessions are open as may be."""

_WARNED_OF = (
    EndReason.REQUEST_REFUSED,
    EndReason.RATE_LIMITED,
    EndReason.MAX_REQUESTS,
    EndReason.NO_BACKEND,
    EndReason.QUEUE_FULL,
    EndReason.QUEUE_TIMEOUT,
    EndReason.CONNECT_FAILED,
    EndReason.DIAL_TIMEOUT,
    EndReason.LOCAL_FAILURE,
    EndReason.OUT_OF_DESCRIPTORS,
    EndReason.BAD_PROXY_HEADER,
)
"""Reasons that the operator is warned of, whether or not there is an access log."""


class BytesCarrier(Protocol):
    """What bytes are counted by, until its end adds them to the counters."""

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes received from the client, and from the backend; they stay when it has ended."""
        ...


class OpenSession(Protocol):
    """What the registry knows of a session."""

    dry_run_limits: tuple[DryRunLimit, ...]
    """Limits that would have acted on it, were they enforced."""

    @property
    def started(self) -> float:
        """When the client was accepted, seconds since the epoch."""
        ...

    @property
    def served_by(self) -> Backend | None:
        """The backend that it is connected to, None while it is not."""
        ...

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        ...

    @property
    def over(self) -> bool:
        """Whether it has been recorded."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that are held for either side."""
        ...

    @property
    def cause(self) -> str:
        """What was wrong, in a few words; empty when nothing was."""
        ...

    def can_move(self, idle_for: float) -> bool:
        """Whether its client may be sent to another backend: affinity does not bind it to this one, and
        nothing has been under way for so many seconds: neither bytes nor a first answer."""
        ...

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes received from the client, and from the backend, which its end adds to the counters; none
        while its pool is not known."""
        ...

    @property
    def carrier(self) -> BytesCarrier:
        """What has these bytes: the session, or the one of its requests that is under way."""
        ...

    def facts(self) -> SessionFacts:
        """Give what is known of it now."""
        ...

    def can_return(self) -> bool:
        """Whether its client would be accepted now if it connected anew where it did before."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide its end."""
        ...

    def record(self, client_bytes: int, backend_bytes: int) -> SessionRecord | None:
        """Give the record of it, once it has ended; None where all that it has done is recorded.

        :param client_bytes: received from the client.
        :param backend_bytes: received from the backend.
        """
        ...


class EndedRequest(Protocol):
    """One of several requests of a session, once it has ended."""

    @property
    def cause(self) -> str:
        """What was wrong, in a few words; empty when nothing was."""
        ...

    def record(self) -> SessionRecord:
        """Give the record of it."""
        ...


class SessionRegistry:
    """Knows the open sessions of a frontend; counts, records and reports those that end.

    :param name: the frontend's name in logs.
    :param reactor: for what is done in later turns, and logged a little later.
    :param clock: seconds on a monotonic clock.
    :param stats: the frontend's counters.
    :param max_sessions: how many may be open before no more clients are accepted; None for no limit.
    :param dry_run: takes note of clients beyond ``max_sessions`` where that is not enforced, else None.
    :param on_record: called with the record of each session that has ended; None to make none.
    :param on_idle: called when the last session has ended, if ``when_idle`` waits for that or ``closed`` is
        set.
    :ivar sessions: those that are open.
    :ivar accept_pause: pauses the listening ports that the clients come by.
    :ivar closed: whether no more clients are accepted.
    :ivar on_record: see above; may be replaced.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        reactor: IReactorTime,
        clock: Callable[[], float],
        stats: FrontendStats,
        *,
        max_sessions: int | None = None,
        dry_run: DryRun | None = None,
        on_record: Callable[[SessionRecord], None] | None = None,
        on_idle: Callable[[], None],
    ) -> None:
        self.sessions: set[OpenSession] = set()
        self.accept_pause = AcceptPause()
        self.closed = False
        self._name = name
        self.stats = stats
        self._max_sessions = math.inf if max_sessions is None else max_sessions
        self._dry_run = dry_run
        self.on_record = on_record
        self._on_idle = on_idle
        self._ender = SessionEnder(reactor, clock)
        self._idle: OneTimeEvent[None] | None = None  # made for the first that waits
        self._warnings: dict[EndReason, RateLimitedLog[EndReason, str]] = {
            reason: RateLimitedLog(self._write_warning, clock, reactor) for reason in _WARNED_OF
        }

    def limit(self, max_sessions: int | None, dry_run: DryRun | None) -> None:
        """Bound the open sessions in another way from now on; those that are open beyond the bound go on.

        :param max_sessions: as above.
        :param dry_run: as above.
        """
        self._max_sessions = math.inf if max_sessions is None else max_sessions
        self._dry_run = dry_run
        if dry_run is None and len(self.sessions) >= self._max_sessions:
            self.accept_pause.pause(FULL)
        else:
            self.accept_pause.resume(FULL)

    @property
    def count(self) -> int:
        """How many sessions are open, in all processes that keep the limit."""
        return len(self.sessions)

    @property
    def total(self) -> int | None:
        """How many sessions are open in all processes; None where this one does not know of the others."""
        return len(self.sessions)

    @property
    def max_sessions(self) -> int | None:
        """How many may be open before no more clients are accepted; None without a limit in force."""
        is_enforced = self._dry_run is None and not math.isinf(self._max_sessions)
        return int(self._max_sessions) if is_enforced else None

    def claim(self) -> bool:
        """Claim a place for the next client, where several processes keep one limit.

        :returns: False where there is none: no client is to be accepted then, until there is.
        """
        return True

    def give_up_claim(self) -> None:
        """Give back a place for which no client has come."""

    def add(self, session: OpenSession) -> None:
        """Take in a session that begins."""
        self.stats.connections_total += 1
        if self._dry_run is not None:
            if len(self.sessions) >= self._max_sessions:
                self._dry_run.would_limit(session, DryRunLimit.CONNECTIONS)
            self.sessions.add(session)
            return
        self.sessions.add(session)
        if len(self.sessions) >= self._max_sessions:
            self.accept_pause.pause(FULL)

    def remove(  # noqa: C901 - each connection passes here once
        self,
        session: OpenSession,
        reason: EndReason,
        upstream: SessionStats | None,
        client_bytes: int,
        backend_bytes: int,
        lasted: float,
    ) -> None:
        """Take out a session that has ended; count, record and report it.

        :param upstream: the counters of the backend that served it, or of its pool where none did; None where
            no backend was looked for.
        :param client_bytes: received from the client.
        :param backend_bytes: received from the backend.
        :param lasted: seconds since the client was accepted.
        """
        sessions, stats = self.sessions, self.stats
        sessions.discard(session)
        if self._ender.waiting:
            self._ender.forget(session)
        stats.ended[reason] += 1
        stats.bytes_in += client_bytes
        stats.bytes_out += backend_bytes
        stats.session_time.note(lasted)
        if upstream is not None:
            # Not in a loop over both: CPython makes the access to an attribute fast for one class.
            upstream.ended[reason] += 1
            upstream.bytes_in += client_bytes
            upstream.bytes_out += backend_bytes
        if len(sessions) == self._max_sessions - 1:
            self.accept_pause.resume(FULL)
        if self.on_record is not None:
            # It may be foreign code; the end of the session must not depend on it.
            try:
                record = session.record(client_bytes, backend_bytes)
                if record is not None:
                    self.on_record(record)
            except Exception:
                self._log.failure("frontend {name}: the record of a session was not taken", name=self._name)
        if reason in self._warnings:
            self._warnings[reason].note(reason, session.cause)
        if not sessions and (self._idle is not None or self.closed):
            self._report_idle()

    def request_ended(self, request: EndedRequest, reason: EndReason) -> None:
        """Record and report a request that has ended; its session may go on."""
        if self.on_record is not None:
            try:
                self.on_record(request.record())
            except Exception:
                self._log.failure("frontend {name}: the record of a request was not taken", name=self._name)
        if reason in self._warnings:
            self._warnings[reason].note(reason, request.cause)

    def replace(self, session: OpenSession, successor: OpenSession) -> None:
        """Have another session go on with the connection of one."""
        self.sessions.discard(session)
        self.sessions.add(successor)

    def forget(self, session: OpenSession) -> None:
        """Take out a session that has not ended: another process goes on with it, and counts it."""
        sessions = self.sessions
        sessions.discard(session)
        self.stats.connections_total -= 1
        if len(sessions) == self._max_sessions - 1:
            self.accept_pause.resume(FULL)
        if not sessions and (self._idle is not None or self.closed):
            self._report_idle()

    def _report_idle(self) -> None:
        idle, self._idle = self._idle, None
        self._on_idle()
        if idle is not None:
            idle.settle(None)

    def when_idle(self) -> Deferred[None]:
        """Fires once no session is open; at once when none is."""
        if not self.sessions:
            return succeed(None)
        self._idle = self._idle or OneTimeEvent()
        return self._idle.wait()

    def end(self, sessions: Iterable[OpenSession], reason: EndReason) -> None:
        """End some of the sessions: the first of them now, and if there are many, the others in the next
        turns of the reactor."""
        self._ender.end(sessions, reason, None)

    def end_sessions(self, reason: EndReason, served_by: Collection[Backend] | None = None) -> None:
        """End all sessions, or all that some backends serve, as ``end`` does.

        :param served_by: the backends, quick to ask for one; None for all sessions.
        """
        found = [session for session in self.sessions if served_by is None or session.served_by in served_by]
        # Those that wait for a backend come first: they would be given the places of the others.
        found.sort(key=lambda session: session.served_by is not None)
        self._ender.end(found, reason, served_by)

    def flush_logs(self) -> None:
        """Write what the log holds back."""
        for warnings in self._warnings.values():
            warnings.flush()

    def _write_warning(self, clients: Counter[EndReason], cause: str) -> None:
        ((reason, count),) = clients.items()
        self._log.warn(
            "frontend {name}: clients not served: {clients} ({reason}: {meaning}{last})",
            name=self._name,
            clients=count,
            reason=reason.word,
            meaning=reason.meaning,
            last=f", the last: {cause}" if cause else "",
        )
