"""The factory of the client's side: makes a session of each connection that Twisted hands to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from random import Random
from socket import SocketType
from typing import Any, cast

import attrs
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.lists import admits_all, make_admission
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.frontends import SocketConfig, TimeoutsConfig
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.net.connecting import Connector, as_native
from tcpbalance.net.data_path import DataPath, begin
from tcpbalance.net.ends import end_on_close, reset_on_close
from tcpbalance.net.poller import READ_EDGES
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.bare_tls_session import BareTlsSession
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.debug_clients import DebugClients
from tcpbalance.proxy.dry_run import DryRun
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.proxy.logged_admission import LoggedAdmission
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.proxy.shared_limit import CountedRegistry, SharedLimit
from tcpbalance.proxy.trace import log_refused
from tcpbalance.proxy.traced_session import TracedConnection
from tcpbalance.reactor import Reactor
from tcpbalance.stats import FrontendStats

EVERYWHERE = NetworkSet(map(ip_network, ("0.0.0.0/0", "::/0")))
"""Each peer that has an IP address."""


class FrontendFactory(Factory):
    """Serves clients from a pool, on whatever Twisted endpoint it is given to.

    :param reactor: the reactor that the connections live on.
    :param pool: where the backends are chosen; None where each client has to ask for a route to another.
    :param name: the frontend's name in logs.
    :param timeouts: how long sessions may last.
    :param limits: how many sessions there may be, of all clients and of each, and how fast.
    :param access: which clients are admitted, by their address; None for all.
    :param socket: options of the sockets to the backends.
    :param preread: what clients have to send before a backend is chosen; None for nothing.
    :param admission: decides which clients are admitted; None for what *access* and *limits* say.
    :param on_record: called with the record of each session that has ended.
    :param connector: opens connections to backends; sockets of the system by default.
    :param clock: seconds on a monotonic clock, which times all that a session does.
    :param wall_clock: seconds since the epoch, for when a session began and for what certificates say.
    :param rng: spreads the ages at which connections end.
    :param stats: where to go on counting; counters of its own by default.
    :param shared_limit: the sessions of all processes that serve the frontend, where there are several.
    :param debug: the clients whose sessions are logged step by step; None for none.
    :cvar connection_kind: the side of a client.
    :cvar traced_kind: that of a client whose sessions are logged step by step.
    :ivar context: what the next sessions begin with; may be replaced, see ``serve_by``.
    :ivar registry: the open sessions.
    :ivar stats: counters of what has happened to the clients.
    :raises SettingError: for neither a pool nor routes to one, or a deny file with mistakes.
    """

    noisy = False
    connection_kind = ClientConnection
    traced_kind: type[ClientConnection] = TracedConnection

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        reactor: Reactor,
        pool: Pool | None,
        *,
        name: str = "frontend",
        timeouts: TimeoutsConfig | None = None,
        limits: LimitsConfig | None = None,
        access: AccessConfig | None = None,
        socket: SocketConfig | None = None,
        preread: PrereadSettings | None = None,
        admission: AdmissionControl | None = None,
        on_record: Callable[[SessionRecord], None] | None = None,
        connector: Connector | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        stats: FrontendStats | None = None,
        shared_limit: SharedLimit | None = None,
        debug: DebugClients | None = None,
    ) -> None:
        self.stats = stats = stats or FrontendStats()
        self._timer = timer = cast(IReactorTime, reactor)
        limits = limits or LimitsConfig()
        dry_run = DryRun(name, clock, timer, stats) if limits.dry_run else None
        if admission is None and not admits_all(access, limits):
            admission = make_admission(access, limits, clock)
        make_registry: Callable[..., SessionRegistry] = SessionRegistry
        if shared_limit is not None:
            make_registry = partial(CountedRegistry, shared_limit)
        self.registry = make_registry(
            name,
            timer,
            clock,
            stats,
            max_sessions=limits.connections,
            dry_run=dry_run,
            on_record=on_record,
            on_idle=self._on_idle,
        )
        if connector is None:
            connector = SocketConnector(reactor, SocketOptions.of(socket or SocketConfig()))
        self.context = self._make_context(
            name=name,
            timeouts=timeouts or TimeoutsConfig(),
            limits=limits,
            pool=pool,
            preread=preread,
            admission=(None if admission is None else LoggedAdmission(name, admission, clock, timer, stats)),
            dry_run=dry_run,
            connector=connector,
            native=as_native(connector),
            wheel=Wheel(timer, clock),
            clock=clock,
            wall_clock=wall_clock,
            rng=rng or Random(),
            registry=self.registry,
            debug=debug or DebugClients(),
        )
        self._arriving: tuple[SessionContext, dict[bool, SessionContext]] | None = None

    def _make_context(self, **fields: Any) -> SessionContext:
        """Make what the first sessions begin with."""
        return SessionContext(**fields)

    def prepare_context(
        self,
        pool: Pool | None,
        timeouts: TimeoutsConfig,
        limits: LimitsConfig,
        preread: PrereadSettings | None,
        admission: AdmissionControl | None,
        connector: Connector,
    ) -> SessionContext:
        """Make what sessions begin with that serve by other settings; see ``serve_by``.

        For the parameters see above. What is not given, and what still holds, stays as it is.

        :raises SettingError: for neither a pool nor routes to one.
        """
        present = self.context
        dry_run = None
        if limits.dry_run:
            dry_run = present.dry_run or DryRun(present.name, present.clock, self._timer, self.stats)
        return attrs.evolve(
            present,
            pool=pool,
            timeouts=timeouts,
            limits=limits,
            preread=preread,
            admission=self._logged(admission),
            dry_run=dry_run,
            connector=connector,
            native=as_native(connector),
        )

    def _logged(self, admission: AdmissionControl | None) -> LoggedAdmission | None:
        present = self.context
        if admission is None:
            return None
        if present.admission is not None and present.admission.control is admission:
            return present.admission
        return LoggedAdmission(present.name, admission, present.clock, self._timer, self.stats)

    def admit_by(self, admission: AdmissionControl | None) -> None:
        """Have the next clients admitted by this from now on; None for all of them."""
        before, logged = self.context.admission, self._logged(admission)
        if logged is not before:
            self.context = attrs.evolve(self.context, admission=logged)
            if before is not None:
                before.flush_logs()

    def serve_by(self, context: SessionContext) -> None:
        """Have the next sessions begin by what was prepared."""
        self.context = context

    def startFactory(self) -> None:
        """Twisted's call: clients are accepted."""
        self.registry.closed = False

    def stopFactory(self) -> None:
        """Twisted's call: no more clients are accepted. What the logs hold back is written now, and what
        comes after that with the end of the last session."""
        self.registry.closed = True
        self._flush_logs()

    def _on_idle(self) -> None:
        """The last session has ended, and no more clients are accepted or it was waited for."""
        self._flush_logs()

    def _flush_logs(self) -> None:
        self.context.flush_logs()
        self.registry.flush_logs()

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection | None:
        """Twisted's call: a client has come.

        :returns: its side of a session; None where it is refused.
        """
        return self._admitted(self.context, ClientAddress(addr))

    def serve_handed_over(self, connection: HandedOver, data_path: DataPath) -> None:
        """A client has come by another process, and is served as if it had come here.

        :param connection: its socket is the session's from here on.
        :param data_path: carries it.
        :raises OSError: the system cannot watch one more socket, which is still the caller's.
        """
        context = self._context_of_handed_over(connection)
        protocol = self._admitted(context, ClientAddress(connection.peer))
        if protocol is None:
            connection.sock.close()
            return
        end_on_close(connection.sock)
        try:
            begin(data_path, connection.sock, protocol, connection.peer)
        except OSError:
            reset_on_close(connection.sock)
            protocol.connectionLost()
            raise
        protocol.came_before(context.clock() - connection.born, connection.received)

    def _context_of_handed_over(self, connection: HandedOver) -> SessionContext:
        """Give what sessions begin with whose clients are not handed over again.

        Whether a PROXY header comes first is what the process has said that knew, not what holds here by now.
        """
        context, has_header = self.context, connection.has_header
        if context.preread is None and not has_header:
            return context
        if self._arriving is None or self._arriving[0] is not context:
            self._arriving = context, {}
        made = self._arriving[1]
        if has_header not in made:
            preread = context.preread or PrereadSettings()
            proxies = EVERYWHERE if has_header else NetworkSet(())
            made[has_header] = attrs.evolve(
                context, preread=attrs.evolve(preread, proxies=proxies, hand_over=None)
            )
        return made[has_header]

    def serve_bare(self, sock: SocketType, client: ClientAddress) -> bool:
        """A client has come by a socket of the native data path.

        :param sock: the session's from here on; its calls wait, but for those with ``MSG_DONTWAIT``.
        :returns: False where its session needs a transport from the beginning, or another data path serves.
        :raises OSError: the system cannot watch one more socket; *sock* is still the caller's.
        """
        context = self.context
        start, admission = context.bare, context.admission
        if start is None or not context.begins_bare(client):
            return False
        if context.debug.networks is not None and context.debug.has(client):
            return False
        if admission is not None and admission.admit(client) is not None:
            reset_on_close(sock)
            sock.close()
            return True
        try:
            kind = BareTlsSession if start.ends_tls else BareSession
            session = kind(context, start, sock, client, None if admission is None else client)
            start.poller.watch_new(sock.fileno(), session.on_client_events, READ_EDGES)
        except BaseException:
            self.stats.setup_failures += 1
            if admission is not None:
                admission.release(client)
            raise
        self.registry.add(session)
        session.begin()
        return True

    def _admitted(self, context: SessionContext, client: ClientAddress) -> ClientConnection | None:
        """Give the client's side of a session; None where the client is refused."""
        admission, preread = context.admission, context.preread
        kind = self.connection_kind if context.debug.networks is None else self._kind(context, client)
        # Where a PROXY header is to name the client, or another process serves it, the decision waits for
        # that.
        if admission is None or (preread is not None and preread.decides_later(client)):
            return kind(context, client)
        refusal = admission.admit(client)
        if refusal is None:
            return kind(context, client, client)
        if context.debug.networks is not None and context.debug.has(client):
            log_refused(context, client, refusal)
        return None

    def _kind(self, context: SessionContext, client: ClientAddress) -> type[ClientConnection]:
        """Give what kind of session a client gets; one that a proxy will name may be one to be logged."""
        is_behind_a_proxy = context.preread is not None and context.preread.expects_header(client)
        is_traced = is_behind_a_proxy or context.debug.has(client)
        return self.traced_kind if is_traced else self.connection_kind
