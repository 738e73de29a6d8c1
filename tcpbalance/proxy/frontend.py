"""The client's side: makes a session of each connection, keeps count of them, and renders their accounts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance import bounds
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.gcra import MINUTE
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.connecting import Connector, SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.accept_pause import Acceptor, AcceptPause
from tcpbalance.proxy.arrival import Arrival
from tcpbalance.proxy.client_info import ClientInfo
from tcpbalance.proxy.dry_run import DryRun, DryRunLimit
from tcpbalance.proxy.ending import SessionEnder
from tcpbalance.proxy.logged_admission import LoggedAdmission
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.preread import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.session import Session
from tcpbalance.rate_limited_log import RateLimitedLog

AGE_JITTER = 0.1
"""Share of ``max_connection_age`` by which ages differ, so that connections opened together do not all end
together."""

_FULL = "max_sessions"

_COMPLAINTS = (
    EndReason.NO_BACKEND,
    EndReason.QUEUE_FULL,
    EndReason.QUEUE_TIMEOUT,
    EndReason.CONNECT_FAILED,
    EndReason.DIAL_TIMEOUT,
    EndReason.LOCAL_FAILURE,
    EndReason.OUT_OF_DESCRIPTORS,
    EndReason.BAD_PROXY_HEADER,
)


@implementer(IHandshakeListener)
class ClientConnection(Peer):
    """The client's side of a session."""

    session: Session | Arrival
    admitted: Any = None
    """Whose connection it is at the gate; None where it was not asked, or not yet."""
    dry_run_limits: tuple[DryRunLimit, ...] = ()
    """The limits that would have done something to it, were they more than tried."""

    def __init__(self, frontend: FrontendFactory) -> None:
        self._frontend = frontend

    def connectionMade(self) -> None:
        """A client has come."""
        self._frontend.client_connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone; or could not be served at all, for want of something of ours."""
        if hasattr(self, "session"):
            super().connectionLost(reason)
        else:
            self._frontend.release_admission(self)

    def handshakeCompleted(self) -> None:
        """The client speaks TLS now."""
        self.session.secured()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the client."""
        self.session.client_sent(data)


@frozen
class FrontendSettings:
    """How long things may last at a frontend, in seconds, how many sessions there may be, and how fast they
    are.

    :param idle_timeout: without a byte either way.
    :param half_close_timeout: without a byte once one side has finished sending, and for the last bytes to
        go out at the end.
    :param max_connection_age: from accepting a client, give or take a tenth; None for no limit.
    :param max_sessions: open at once; beyond it nobody is accepted, and who comes waits in the kernel's
        backlog. None for no limit.
    :param bandwidth_per_connection: bytes a second that are read from either side of a session; None for no
        limit.
    :param min_rate: bytes a second, both directions together, that a session in which anything moves has to
        reach in each minute; None for no such bound.
    :param dry_run: whether these three are only tried: what they would have done is counted, and not done.
    :raises SettingError: for a time that is not above 0 and finite, fewer than one session or byte a second,
        or a rate that has to be reached and cannot.
    """

    idle_timeout: float = 3600.0
    half_close_timeout: float = 30.0
    max_connection_age: float | None = None
    max_sessions: int | None = None
    bandwidth_per_connection: int | None = None
    min_rate: int | None = None
    dry_run: bool = False
    look_every: float = field(init=False, default=math.inf, eq=False, repr=False)
    """How long a session may go without being looked at: half the shorter of the two limits that follow from
    silence, and no more than a quarter of the minute in which ``min_rate`` has to be reached."""

    def __attrs_post_init__(self) -> None:
        for name in ("idle_timeout", "half_close_timeout", "max_connection_age"):
            if getattr(self, name) is not None:
                bounds.above_zero(f"frontend settings: {name}", getattr(self, name))
        for name in ("max_sessions", "bandwidth_per_connection", "min_rate"):
            if getattr(self, name) is not None:
                bounds.count(f"frontend settings: {name}", getattr(self, name), 1)
        bandwidth, min_rate = self.bandwidth_per_connection, self.min_rate
        if bandwidth is not None and min_rate is not None and min_rate >= bandwidth:
            raise SettingError(
                f"frontend settings: min_rate must be less than bandwidth_per_connection, {bandwidth}, got "
                f"{min_rate}"
            )
        quiet = min(self.idle_timeout, self.half_close_timeout) / 2
        look_every = quiet if min_rate is None else min(quiet, MINUTE / 4)
        object.__setattr__(self, "look_every", look_every)  # It is frozen from here on.


class FrontendFactory(Factory):
    """Serves clients from a pool, on whatever Twisted endpoint it is given to.

    :param reactor: the reactor that the connections live on.
    :param pool: where the backends are chosen; None where each client has to ask for a route to another.
    :param name: the frontend's name in logs.
    :param settings: how long things may last.
    :param socket: options of the sockets to the backends.
    :param gate: decides who comes in; None for everybody.
    :param entrance: what clients have to say before a backend is chosen; None for nothing.
    :param account: called with the record of each session that has ended.
    :param connector: opens connections to backends; sockets of the system by default.
    :param seconds: a monotonic clock, which times all that a session does.
    :param wall_seconds: seconds since the epoch, for when a session began and for what certificates say.
    :param random: spreads the ages at which connections end.
    :ivar latch: pauses what accepts its clients.
    :ivar trial: what limits would have done to sessions, where they are only tried, else None.
    :raises SettingError: for neither a pool nor routes to one.
    """

    noisy = False
    _log = Logger()

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        reactor: Any,
        pool: Pool | None,
        *,
        name: str = "frontend",
        settings: FrontendSettings | None = None,
        socket: SocketConfig | None = None,
        preread: PrereadSettings | None = None,
        admission: AdmissionControl | None = None,
        account: Callable[[SessionRecord], None] | None = None,
        connector: Connector | None = None,
        seconds: Callable[[], float] = time.monotonic,
        wall_seconds: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.pool = pool
        if pool is None and (preread is None or preread.routes is None):
            raise SettingError(f"frontend {name}: without a pool it must have an entrance with routes to one")
        self.settings = settings or FrontendSettings()
        self._preread_settings = preread
        self.connector = connector or SocketConnector(reactor, SocketOptions.of(socket or SocketConfig()))
        self.seconds = seconds
        self.wall_seconds = wall_seconds
        self.wheel = Wheel(reactor, seconds)
        self._admission = (
            LoggedAdmission(name, admission, seconds, reactor) if admission is not None else None
        )
        self.sessions: set[Session | Arrival] = set()
        self._ender = SessionEnder(reactor, seconds)
        self.ended: Counter[EndReason] = Counter()
        self._account = account
        self._random = random or Random()
        self._waiters: list[Deferred[None]] = []
        self._stopped = False
        self._most = math.inf if self.settings.max_sessions is None else self.settings.max_sessions
        self.accept_pause = AcceptPause()
        self.dry_run = DryRun(name, seconds, reactor) if self.settings.dry_run else None
        self._complaints: dict[EndReason, RateLimitedLog[EndReason, str]] = {
            reason: RateLimitedLog(self._write_complaint, seconds, reactor) for reason in _COMPLAINTS
        }

    def startFactory(self) -> None:
        """Twisted's call: clients are let in."""
        self._stopped = False

    def stopFactory(self) -> None:
        """Twisted's call: nobody is let in any more. What the logs hold back is written now, and what comes
        after that with the end of the last session."""
        self._stopped = True
        self._flush_logs()

    def _flush_logs(self) -> None:
        if self._admission is not None:
            self._admission.flush_logs()
        if self.dry_run is not None:
            self.dry_run.flush_logs()
        for complaints in self._complaints.values():
            complaints.flush()
        for pool in self._pools:
            pool.flush_logs()

    @property
    def _pools(self) -> Iterator[Pool]:
        if self.pool is not None:
            yield self.pool
        if self._preread_settings is not None and self._preread_settings.routes is not None:
            yield from self._preread_settings.routes.values()

    def buildProtocol(self, addr: Any) -> ClientConnection | None:
        """Twisted's call: a client has come; None where it does not get in."""
        if self._admission is None or (
            self._preread_settings is not None and self._preread_settings.asks(addr)
        ):
            return ClientConnection(self)
        if self._admission.refuses(addr) is not None:
            return None
        protocol = ClientConnection(self)
        protocol.admitted = addr
        return protocol

    def refuses(self, client: ClientConnection, address: Any) -> Refusal | None:
        """Let a client in, or refuse it, now that a proxy has said who it is.

        :param address: the client's.
        :returns: why it was refused.
        """
        if self._admission is None or client.admitted is not None:
            return None
        refusal = self._admission.refuses(address)
        if refusal is None:
            client.admitted = address
        return refusal

    def release_admission(self, client: ClientConnection) -> None:
        """Give back what a client holds at the gate."""
        if client.admitted is not None and self._admission is not None:
            self._admission.leave(client.admitted)
            client.admitted = None

    def pause_on(self, door: Acceptor) -> None:
        """Pause what accepts clients for this factory while there are ``max_sessions``, or an overload.

        :param door: a listening port, ours or one of Twisted's.
        """
        self.accept_pause.pause_on(door)

    def leave(self, door: Acceptor) -> None:
        """Attend to a door no more that has been closed."""
        self.accept_pause.leave(door)

    def age_limit(self) -> float:
        """How old the next session may get, in seconds; infinite without a limit."""
        age = self.settings.max_connection_age
        if age is None:
            return math.inf
        return age * self._random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER)

    def client_connected(self, client: ClientConnection) -> None:
        """Make a session of a client, or hear first what it has to say."""
        if self.dry_run is not None and len(self.sessions) >= self._most:
            self.dry_run.would_limit(client, DryRunLimit.CONNECTIONS)
        preread = self._preread_settings.begin(client.transport.getPeer()) if self._preread_settings else None
        if preread is not None:
            self._begin(client, Arrival(self, client, preread))
        else:
            assert self.pool is not None, "an entrance with routes hears every client"
            self._begin(client, Session(self, client, self.pool))

    def introduce(
        self, arrival: Arrival, client: ClientConnection, pool: Pool, introduction: ClientInfo
    ) -> None:
        """Make a session of a client that has said all it has to."""
        self.sessions.discard(arrival)
        session = Session(self, client, pool, introduction)
        self._ender.replaced(arrival, session)
        self._begin(client, session)

    def _begin(self, client: ClientConnection, session: Session | Arrival) -> None:
        """Enter a session in the books and let it start."""
        client.session = session
        self.sessions.add(session)
        if len(self.sessions) >= self._most and self.dry_run is None:
            self.accept_pause.pause(_FULL)
        try:
            session.start()
        except Exception:
            self._log.failure("frontend {name}: a session could not be started", name=self.name)
            session.end(EndReason.INTERNAL_ERROR)

    def account(self, session: Session | Arrival, reason: EndReason) -> None:
        """Strike an ended session from the books, count it, and report it."""
        self.sessions.discard(session)
        self._ender.forget(session)
        self.release_admission(session.client)
        self.ended[reason] += 1
        if len(self.sessions) == self._most - 1:
            self.accept_pause.resume(_FULL)
        if self._account is not None:
            self._report(self._account, session)
        if reason in self._complaints:
            self._complaints[reason].note(reason, session.cause)
        if not self.sessions:
            self._tell_idle()

    def _report(self, account: Callable[[SessionRecord], None], session: Session | Arrival) -> None:
        # Whoever listens may be anybody's code; the session's end must not depend on it.
        try:
            account(session.record())
        except Exception:
            self._log.failure("frontend {name}: the account of a session could not be taken", name=self.name)

    def _write_complaint(self, clients: Counter[EndReason], cause: str) -> None:
        ((reason, count),) = clients.items()
        self._log.warn(
            "frontend {name}: clients turned away: {clients} ({reason}: {meaning}{last})",
            name=self.name,
            clients=count,
            reason=reason.word,
            meaning=reason.meaning,
            last=f", the last: {cause}" if cause else "",
        )

    def _tell_idle(self) -> None:
        waiters, self._waiters = self._waiters, []
        if waiters or self._stopped:
            self._flush_logs()
        for waiter in waiters:
            waiter.callback(None)

    def when_idle(self) -> Deferred[None]:
        """Fires once no session is open; at once when none is."""
        waiter: Deferred[None] = Deferred()
        if self.sessions:
            self._waiters.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def end(self, sessions: Iterable[Session | Arrival], reason: EndReason) -> None:
        """End sessions of this frontend: some now, and if there are many, the others in the next turns of the
        reactor."""
        self._ender.end(sessions, reason, None)

    def end_sessions(self, reason: EndReason, served_by: Backend | None = None) -> None:
        """End the open sessions, or only those that one backend serves: some now, and if there are many, the
        others in the next turns of the reactor.

        :param reason: why.
        :param served_by: a ``Backend``, None for all sessions.
        """
        found = [session for session in self.sessions if served_by is None or session.served_by is served_by]
        # Those first who wait for a backend: they would be given the places of the others.
        found.sort(key=lambda session: session.served_by is not None)
        self._ender.end(found, reason, served_by)
