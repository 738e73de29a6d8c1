"""The factory of the client's side in mode "http"."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import attrs

from tcpbalance import threads
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.http.answers import DateClock
from tcpbalance.http.banned_clients import BannedClients
from tcpbalance.http.client import HttpClientConnection
from tcpbalance.http.connect.access import ConnectAccess
from tcpbalance.http.context import HttpContext
from tcpbalance.http.idle import IdleOfPools
from tcpbalance.http.mirrors import Mirrors
from tcpbalance.http.request_limits import RequestLimits, limits_requests
from tcpbalance.http.routes import Routes
from tcpbalance.http.session import HttpSession
from tcpbalance.http.settings import HttpSettings
from tcpbalance.http.traced_session import TracedHttpConnection
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.shared_limit import SharedLimit
from tcpbalance.reactor import Reactor
from tcpbalance.threads import InThread


class HttpFrontendFactory(FrontendFactory):
    """Serves the requests of clients, each from a pool.

    For the parameters not named here see ``FrontendFactory``.

    :param pool: for requests that no route takes; None where there is no answer for them.
    :param http: what holds for requests.
    :param routes: which of them go where.
    :param share_requests: gives the requests that all processes have under way which serve the frontend;
        None where this one is alone.
    :param in_thread: calls what works for long; a thread of the system by default.
    """

    connection_kind = HttpClientConnection
    traced_kind = TracedHttpConnection
    context: HttpContext

    def __init__(
        self,
        reactor: Reactor,
        pool: Pool | None,
        *,
        http: HttpSettings,
        routes: Routes,
        share_requests: Callable[[], SharedLimit] | None = None,
        in_thread: InThread | None = None,
        **others: Any,
    ) -> None:
        self._http, self._routes = http, routes
        self._share_requests = share_requests
        self._request_limits: RequestLimits | None = None
        self._in_thread = in_thread or threads.in_thread(reactor)
        super().__init__(reactor, pool, **others)
        self._banned = BannedClients(self._http_sessions, self.context.clock, self._timer)
        self._follow_bans()

    def _http_sessions(self) -> list[HttpSession]:
        """Give those that take requests; the others are connections that have become another protocol."""
        return [session for session in self.registry.sessions if isinstance(session, HttpSession)]

    def _follow_bans(self) -> None:
        """Have bans count for the requests on open connections, by what admits clients now."""
        admission = self.context.admission
        self._banned.follow(None if admission is None else admission.control)

    def admit_by(self, admission: AdmissionControl | None) -> None:
        """See ``FrontendFactory``."""
        super().admit_by(admission)
        self._follow_bans()

    def _make_context(self, **fields: Any) -> SessionContext:
        """See ``FrontendFactory``."""
        self._idle = IdleOfPools(fields["wheel"], fields["clock"])
        return HttpContext(
            **fields,
            http=self._http,
            routes=self._routes,
            frontend=self,
            idle=self._idle,
            next_turn=partial(self._timer.callLater, 0),
            date=DateClock(fields["wall_clock"]),
            mirrors=Mirrors(fields["name"], self.stats, fields["clock"], self._timer),
            request_limits=self._limit_requests(fields["limits"], fields["clock"]),
            connect=self._connect_by(self._http, fields["clock"]),
        )

    def _limit_requests(self, limits: LimitsConfig, clock: Callable[[], float]) -> RequestLimits | None:
        """Give what bounds the requests from now on; None where nothing does.

        What is known of clients stays, and what is under way.
        """
        if not limits_requests(limits):
            return None
        if self._request_limits is None:
            shared = None if self._share_requests is None else self._share_requests()
            self._request_limits = RequestLimits(limits, clock, shared)
        else:
            self._request_limits.limit_by(limits)
        return self._request_limits

    def _connect_by(self, http: HttpSettings, clock: Callable[[], float]) -> ConnectAccess | None:
        """Make what lets clients have tunnels."""
        return None if http.connect is None else ConnectAccess(http.connect, self._in_thread, clock)

    def prepare_http(
        self, context: SessionContext, http: HttpSettings | None, routes: Routes | None
    ) -> SessionContext:
        """Make what requests begin by that are served by other settings.

        :param context: of ``prepare_context``.
        """
        assert http is not None
        assert routes is not None
        limits = self._limit_requests(context.limits, context.clock)
        connect = self.context.connect
        if connect is None or connect.settings is not http.connect:
            connect = self._connect_by(http, context.clock)
        return attrs.evolve(
            cast(HttpContext, context), http=http, routes=routes, request_limits=limits, connect=connect
        )

    def serve_by(self, context: SessionContext) -> None:
        """See ``FrontendFactory``."""
        before = self.context
        super().serve_by(context)
        self._follow_bans()
        pools = set(context.pools)
        is_same = context.connector is before.connector
        for pool in [pool for pool in self._idle if not (is_same and pool in pools)]:
            self._idle.pop(pool).close()

    def startFactory(self) -> None:
        """Twisted's call: clients are accepted."""
        super().startFactory()
        self._follow_bans()

    def stopFactory(self) -> None:
        """Twisted's call: no more clients are accepted. Those that wait between two requests are closed, the
        others with their next answer."""
        super().stopFactory()
        sessions = cast(set[HttpSession], self.registry.sessions)
        self.registry.end([session for session in sessions if session.is_idle], EndReason.SHUTDOWN)
        if not sessions:
            self._close_connections()

    def _on_idle(self) -> None:
        """See ``FrontendFactory``."""
        super()._on_idle()
        if self.registry.closed:
            self._close_connections()

    def _close_connections(self) -> None:
        self.context.mirrors.close()
        self._banned.close()
        while self._idle:
            _, idle = self._idle.popitem()
            idle.close()
