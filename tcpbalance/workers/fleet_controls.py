"""The controls of a supervisor with its workers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from time import monotonic, time
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tcpbalance.config.models import Config
from tcpbalance.config.shown import shown_config
from tcpbalance.control.affinity import AffinityQuery, Forgotten, forget_affinity, list_affinity
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.ban_events import FewerBans
from tcpbalance.control.bans import Ban, BansQuery, check_space, frontends_meant, keys_meant, list_bans
from tcpbalance.control.change_queue import ChangeQueue
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.control.events import Events
from tcpbalance.control.explain import put_together
from tcpbalance.control.explain_query import ExplainQuery, check_listeners, check_mode
from tcpbalance.control.finding import check_frontend, check_names, find_backend, find_pool
from tcpbalance.control.in_pieces import in_pieces
from tcpbalance.control.one_config import of_one_config
from tcpbalance.control.pool_events import PoolEvents
from tcpbalance.control.reloading import ConfigFile, ConfigState
from tcpbalance.control.report import EVERYTHING, Entry, Report, Scope, add_status, process_entry, sum_of
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import SessionsPage, the_session
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.state_orders import StateOrders
from tcpbalance.control.view import View, shown_backend, view_of
from tcpbalance.health.history import CheckResult
from tcpbalance.overload.loop_lag import LoopLag
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.owner import owner
from tcpbalance.workers.questions import (
    END_SESSION,
    EXPLAIN,
    FORGET_AFFINITY,
    LOOK_AT_SESSION,
    REPORT,
    SESSIONS,
    Answers,
)
from tcpbalance.workers.supervisor import Supervisor


class FleetControls:
    """See ``Controls``.

    :param reactor: IReactorTime.
    :param supervisor: has the workers.
    :param file: that the configuration is from.
    """

    def __init__(self, reactor: Any, supervisor: Supervisor, file: ConfigFile) -> None:
        self.events = Events(reactor)
        self.configured = ConfigState(file, self.events)
        self._changes = ChangeQueue()
        self._state_orders = StateOrders()
        self._reactor = reactor
        self._supervisor = supervisor
        self._lag = LoopLag(reactor)
        self._lag.start()
        pools, events = supervisor.pools, PoolEvents(self.events.add)
        events.follow(pools.pools)
        pools.subscribe(events.note)
        pools.call_after_reloads(lambda: events.follow(pools.pools))
        supervisor.report_events_to(FewerBans(self.events.add, monotonic, reactor).report)

    @property
    def config(self) -> Config:
        """See ``Controls``."""
        return self._supervisor.config

    def view(self, scope: Scope = EVERYTHING) -> Deferred[View]:
        """See ``Controls``."""
        return of_one_config(lambda: self.config, lambda: self._look(scope))

    def _look(self, scope: Scope) -> Deferred[View]:
        if not scope.counters:
            return in_pieces(self._reactor, self._view(scope, {}))
        asked = self._supervisor.questions.ask(REPORT, {"scope": scope.content})
        return asked.addCallback(
            lambda answers: in_pieces(
                self._reactor, self._sum(scope, self._supervisor.questions.counted(scope, answers))
            )
        )

    def _sum(self, scope: Scope, counted: list[Iterable[Entry]]) -> Generator[None, None, View]:
        if scope.processes:
            key, takes = process_entry(self._lag)
            counted.append([(key, {"supervisor": 1, **takes})])
        total = yield from sum_of(counted)
        yield from add_status(total, scope, self._supervisor.pools.pools)
        view = yield from self._view(scope, total)
        return view

    def _view(self, scope: Scope, total: Report) -> Generator[None, None, View]:
        supervisor = self._supervisor
        workers = supervisor.shown_workers()
        return view_of(self.config, supervisor.pools.pools, total, scope, self._shown, workers)

    def sessions(self, query: SessionsQuery) -> Deferred[SessionsPage]:
        """See ``Controls``."""
        answers = self._supervisor.questions.ask(SESSIONS, {"query": query.parameters})
        return answers.addCallback(
            lambda found: in_pieces(
                self._reactor, SessionsPage.of(query, [lines for _, lines in found.complete()])
            )
        )

    def session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return self._about_session(session_id, LOOK_AT_SESSION)

    def end_session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return self._about_session(session_id, END_SESSION)

    def _about_session(self, session_id: SessionId, about: str) -> Deferred[dict[str, Any]]:
        found = self._supervisor.questions.find(about, {"id": str(session_id)}, session_id.worker)
        return found.addCallback(the_session, session_id)

    def checks(self, pool: str, backend: str) -> Sequence[CheckResult]:
        """See ``Controls``."""
        its, found = find_backend(self._supervisor.pools.pools, pool, backend)
        return self._supervisor.pools.checks(its).of(found)

    def _shown(self, pool: Pool, backend: Backend) -> dict[str, Any]:
        pools = self._supervisor.pools
        last_check, drain_left = pools.checks(pool).last(backend), pools.drain_left(backend)
        return shown_backend(backend, last_check, drain_left, self._state_orders.shown(backend))

    def bans(self, query: BansQuery) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        frontends_meant(self.config.frontends, query.frontend)
        return in_pieces(self._reactor, list_bans(self._supervisor.bans.bans(), query, time()))

    def ban(self, frontend: str | None, banned: bytes, seconds: float, *, replace: bool) -> Sequence[Ban]:
        """See ``Controls``."""
        bans, meant = self._supervisor.bans, frontends_meant(self.config.frontends, frontend)
        for name in meant:
            check_space(name, bans.banned_networks(name, banned))
        return [(name, *bans.ban_for(name, banned, seconds, replace=replace)) for name in meant]

    def lift_ban(self, frontend: str | None, banned: bytes, by: str | None) -> Sequence[str]:
        """See ``Controls``."""
        bans, keys = self._supervisor.bans, keys_meant(banned, by)
        meant = frontends_meant(self.config.frontends, frontend)
        # All of them, not only up to the first.
        return [name for name in meant if sum(bans.lift_ban(name, key) for key in keys)]

    def affinity(self, query: AffinityQuery) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        pools = self._supervisor.pools.pools
        check_names(pools, query.pool, query.backend)
        return in_pieces(self._reactor, list_affinity(pools, query))

    @inlineCallbacks
    def forget_affinity(self, query: AffinityQuery) -> Generator[Deferred[Any], Any, Forgotten]:
        """See ``Controls``."""
        pools = self._supervisor.pools.pools
        check_names(pools, query.pool, query.backend)
        # First here, so that no worker is sent it any more; then there; and then what they had sent before.
        count: int = yield in_pieces(self._reactor, forget_affinity(pools, query))
        answers: Answers = yield self._supervisor.questions.ask(FORGET_AFFINITY, {"query": query.parameters})
        count += yield in_pieces(self._reactor, forget_affinity(pools, query))
        return Forgotten(count, tuple(sorted({missing.place for missing in answers.missing})))

    @inlineCallbacks
    def explain(self, query: ExplainQuery) -> Generator[Deferred[Any], Any, dict[str, Any]]:
        """See ``Controls``: asks the worker that the client belongs to, or all where it belongs to none."""
        check_frontend(list(self.config.frontends), query.frontend)
        check_listeners(self.config.frontends[query.frontend].listen, query)
        check_mode(self.config.frontends[query.frontend], query)
        client = query.packed
        place = None if client is None else owner(client, self.config.workers)
        answers: Answers = yield self._supervisor.questions.ask(EXPLAIN, {"query": query.parameters}, place)
        for worker, found in answers.given:
            if found and self._supervisor.serves(worker):
                return _explained(put_together(found), place)
        answers.complete()
        which = "no worker serves" if place is None else f"worker {place} does not serve"
        raise ApiError(503, "not_serving", f"{which} {query.frontend} now: ask again")

    def shown_config(self) -> Deferred[dict[str, Any]]:
        """See ``Controls``."""
        return in_pieces(self._reactor, shown_config(self.config))

    def set_admin_state(self, pool: str, backend: str, state: AdminState, by: str) -> None:
        """See ``Controls``."""
        its, found = find_backend(self._supervisor.pools.pools, pool, backend)
        self._state_orders.note(found, state, by)
        its.set_admin_state(found, state)

    def limit_drain(self, pool: str, backend: str, seconds: float) -> None:
        """See ``Controls``."""
        self._supervisor.limit_drain(*find_backend(self._supervisor.pools.pools, pool, backend), seconds)

    def check_names(self, frontend: str | None, pool: str | None, backend: str | None) -> None:
        """See ``Controls``."""
        frontends_meant(self.config.frontends, frontend)
        check_names(self._supervisor.pools.pools, pool, backend)

    def check_pool(self, pool: str) -> None:
        """See ``Controls``."""
        find_pool(self._supervisor.pools.pools, pool)

    def backend(self, pool: str, backend: str) -> dict[str, Any]:
        """See ``Controls``."""
        its, found = find_backend(self._supervisor.pools.pools, pool, backend)
        return self._shown(its, found)

    def change_config(self, change: ChangeConfig, order: Order) -> Deferred[Any]:
        """See ``Controls``."""
        changed = self._changes.run(partial(self._supervisor.change_config, change, order))
        return changed.addCallback(lambda _: self.configured.note_change())


def _explained(answer: dict[str, Any], place: int | None) -> dict[str, Any]:
    """Say which worker serves the client; where it may be any, the order of one is not that of the next."""
    if place is None and answer["pool"] is not None:
        answer["pool"]["exact"] = False
    return {**answer, "worker": place}
