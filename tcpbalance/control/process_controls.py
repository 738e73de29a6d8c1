"""The controls of a balancer that is one process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from time import monotonic, time
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tcpbalance.balancer import Balancer
from tcpbalance.build import PreparedConfig
from tcpbalance.config.models import Config
from tcpbalance.config.shown import shown_config
from tcpbalance.control.affinity import AffinityQuery, Forgotten, forget_affinity, list_affinity
from tcpbalance.control.ban_events import FewerBans
from tcpbalance.control.bans import Ban, BansQuery, check_space, frontends_meant, keys_meant, list_bans
from tcpbalance.control.change_queue import ChangeQueue
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.control.events import Events
from tcpbalance.control.explain import explain, put_together
from tcpbalance.control.explain_query import ExplainQuery, check_listeners, check_mode
from tcpbalance.control.finding import check_frontend, check_names, find_backend, find_pool
from tcpbalance.control.in_pieces import in_pieces
from tcpbalance.control.one_config import of_one_config
from tcpbalance.control.pool_events import PoolEvents, SubscribedPools
from tcpbalance.control.reloading import ConfigFile, ConfigState
from tcpbalance.control.report import EVERYTHING, Scope, process_entry, report_of
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import (
    ActOnSession,
    SessionsPage,
    end_session,
    list_sessions,
    look_at_session,
    no_such_session,
    the_session,
)
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.state_orders import StateOrders
from tcpbalance.control.view import View, shown_backend, shown_workers, view_of
from tcpbalance.health.history import CheckResult
from tcpbalance.overload.loop_lag import LoopLag
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.threads import give_way, in_thread

ONLY_PROCESS = 0
"""The number of the process in ids of sessions, like that of the first worker."""


class ProcessControls:
    """See ``Controls``.

    :param reactor: IReactorTime.
    :param balancer: made of a configuration.
    :param file: that the configuration is from.
    """

    def __init__(self, reactor: Any, balancer: Balancer, file: ConfigFile) -> None:
        self.events = Events(reactor)
        self.configured = ConfigState(file, self.events, self._follow_pools)
        self._changes = ChangeQueue()
        self._state_orders = StateOrders()
        self._reactor = reactor
        self._balancer = balancer
        self._lag = LoopLag(reactor)
        self._lag.start()
        self._event_pools = SubscribedPools(PoolEvents(self.events.add))
        self._follow_pools()
        balancer.report_events_to(FewerBans(self.events.add, monotonic, reactor).report)

    def _follow_pools(self) -> None:
        self._event_pools.follow(self._balancer.pools)

    @property
    def config(self) -> Config:
        """See ``Controls``."""
        config = self._balancer.config
        assert config is not None
        return config

    def view(self, scope: Scope = EVERYTHING) -> Deferred[View]:
        """See ``Controls``."""
        return of_one_config(lambda: self.config, lambda: in_pieces(self._reactor, self._view(scope)))

    def _view(self, scope: Scope) -> Generator[None, None, View]:
        balancer = self._balancer
        entries = yield from report_of(scope, balancer.factories, balancer.pools, balancer.registries)
        if scope.processes:
            entries.append(process_entry(self._lag))
        workers = shown_workers(serving=1)
        view = yield from view_of(self.config, balancer.pools, dict(entries), scope, self._shown, workers)
        return view

    def sessions(self, query: SessionsQuery) -> Deferred[SessionsPage]:
        """See ``Controls``."""
        return in_pieces(self._reactor, self._sessions(query))

    def _sessions(self, query: SessionsQuery) -> Generator[None, None, SessionsPage]:
        found = yield from list_sessions(self._balancer.registries, ONLY_PROCESS, query)
        page = yield from SessionsPage.of(query, [found])
        return page

    def session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return self._about_session(session_id, look_at_session)

    def end_session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return self._about_session(session_id, end_session)

    def _about_session(self, session_id: SessionId, act: ActOnSession) -> Deferred[dict[str, Any]]:
        if session_id.worker != ONLY_PROCESS:
            raise no_such_session(session_id)
        found = in_pieces(self._reactor, act(self._balancer.registries, session_id))
        return found.addCallback(the_session, session_id)

    def checks(self, pool: str, backend: str) -> Sequence[CheckResult]:
        """See ``Controls``."""
        its, found = find_backend(self._balancer.pools, pool, backend)
        return self._balancer.checks(its).of(found)

    def _shown(self, pool: Pool, backend: Backend) -> dict[str, Any]:
        last_check, drain_left = self._balancer.checks(pool).last(backend), self._balancer.drain_left(backend)
        return shown_backend(backend, last_check, drain_left, self._state_orders.shown(backend))

    def bans(self, query: BansQuery) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        # All at once: a reload may remove a frontend before its turn comes.
        admissions = self._balancer.admissions
        frontends_meant(admissions, query.frontend)
        found = ((name, key, left) for name, its in admissions.items() for key, left in its.bans())
        return in_pieces(self._reactor, list_bans(found, query, time()))

    def ban(self, frontend: str | None, banned: bytes, seconds: float, *, replace: bool) -> Sequence[Ban]:
        """See ``Controls``."""
        admissions = self._balancer.admissions
        meant = frontends_meant(admissions, frontend)
        for name in meant:
            check_space(name, admissions[name].banned_networks(banned))
        return [(name, *admissions[name].ban_for(banned, seconds, replace=replace)) for name in meant]

    def lift_ban(self, frontend: str | None, banned: bytes, by: str | None) -> Sequence[str]:
        """See ``Controls``."""
        admissions, keys = self._balancer.admissions, keys_meant(banned, by)
        meant = frontends_meant(admissions, frontend)
        # All of them, not only up to the first.
        return [name for name in meant if sum(admissions[name].lift_ban(key) for key in keys)]

    def affinity(self, query: AffinityQuery) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        check_names(self._balancer.pools, query.pool, query.backend)
        return in_pieces(self._reactor, list_affinity(self._balancer.pools, query))

    def forget_affinity(self, query: AffinityQuery) -> Deferred[Forgotten]:
        """See ``Controls``."""
        check_names(self._balancer.pools, query.pool, query.backend)
        return in_pieces(self._reactor, forget_affinity(self._balancer.pools, query)).addCallback(Forgotten)

    def explain(self, query: ExplainQuery) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        factories, name = self._balancer.factories, query.frontend
        check_frontend(list(factories), name)
        check_listeners(self.config.frontends[name].listen, query)
        check_mode(self.config.frontends[name], query)
        parts = in_pieces(self._reactor, explain(factories[name], query, self._balancer.waits_for(name)))
        return parts.addCallback(lambda found: {**put_together(found), "worker": ONLY_PROCESS})

    def shown_config(self) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return in_pieces(self._reactor, shown_config(self.config))

    def set_admin_state(self, pool: str, backend: str, state: AdminState, by: str) -> None:
        """See ``Controls``."""
        its, found = find_backend(self._balancer.pools, pool, backend)
        self._state_orders.note(found, state, by)
        its.set_admin_state(found, state)

    def limit_drain(self, pool: str, backend: str, seconds: float) -> None:
        """See ``Controls``."""
        self._balancer.limit_drain(*find_backend(self._balancer.pools, pool, backend), seconds)

    def check_names(self, frontend: str | None, pool: str | None, backend: str | None) -> None:
        """See ``Controls``."""
        frontends_meant(self.config.frontends, frontend)
        check_names(self._balancer.pools, pool, backend)

    def check_pool(self, pool: str) -> None:
        """See ``Controls``."""
        find_pool(self._balancer.pools, pool)

    def backend(self, pool: str, backend: str) -> dict[str, Any]:
        """See ``Controls``."""
        its, found = find_backend(self._balancer.pools, pool, backend)
        return self._shown(its, found)

    def change_config(self, change: ChangeConfig, order: Order) -> Deferred[Any]:
        """See ``Controls``."""
        return self._changes.run(partial(self._change_config, change, order))

    @inlineCallbacks
    def _change_config(self, change: ChangeConfig, order: Order) -> Generator[Deferred[Any], Any, None]:
        while True:
            before = self.config
            prepared = yield in_thread(self._reactor)(partial(self._prepare, change, before))
            if self.config is before:
                with order():
                    self._balancer.apply(prepared)
                self.configured.note_change()
                return
            # It was reloaded meanwhile.

    def _prepare(self, change: ChangeConfig, before: Config) -> PreparedConfig:
        """Prepare another configuration; called in a thread."""
        return self._balancer.prepare_config(change(before), give_way)
