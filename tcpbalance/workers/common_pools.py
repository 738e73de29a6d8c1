"""The pools as the supervisor has them: it checks their backends, ejects them, and keeps affinity in files.

No connection goes through these. The status of backends here is that in all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from random import Random
from time import time
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tcpbalance.build import Parts, PreparedConfig
from tcpbalance.health.history import CheckHistory
from tcpbalance.net.data_path import choose
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.pool import Pool
from tcpbalance.services.drains import Drains
from tcpbalance.services.pool_service import PoolService
from tcpbalance.services.shared import Shared
from tcpbalance.services.stepped import PreparedChange, prepare_all
from tcpbalance.workers.backend_table import BackendTable, key_of

OnStatus = Callable[[Pool, Iterable[Backend]], object]
"""Called with backends whose status is another now; with none where the first checks of the pool are over."""

OnTimeOver = Callable[[Pool, Collection[Backend]], object]
"""Called with backends that drain or are removed, when the time of their sessions is over."""


class CommonPools(Service):
    """The pools of a configuration that frontends use, without the frontends.

    :param reactor: runs their checks.
    :param parts: what the configuration is made into.
    :param clock: seconds on a monotonic clock, that of the pools.
    :param rng: spreads checks.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, parts: Parts, *, clock: Callable[[], float], rng: Random | None = None
    ) -> None:
        rng = rng or Random()
        self._reactor = reactor
        self._shared = Shared(
            reactor=reactor,
            data_path=choose("portable", reactor),
            resolver=Resolver(reactor, parts.config.resolver, random=rng),
            connector=None,
            clock=clock,
            wall_clock=time,
            rng=rng,
            on_record=None,
            inherited=InheritedSockets(),
            drains=Drains(reactor, self._publish_time_over),
            grace=0.0,
        )
        self._watched: dict[Pool, _WatchedPool] = {pool: self._make(pool) for pool in _used_by(parts)}
        self._by_name = {pool.name: pool for pool in self._watched}
        self._leaving: set[Deferred[Any]] = set()
        self._subscribers: list[OnStatus] = []
        self._time_over: list[OnTimeOver] = []
        self._after_reloads: list[Callable[[], object]] = []

    def _make(self, pool: Pool) -> _WatchedPool:
        service = PoolService(self._shared, pool, lambda _: None, lambda _: [], watches_files=False)
        return _WatchedPool(service, self._reactor, self._publish)

    def _publish(self, pool: Pool, backends: Iterable[Backend]) -> None:
        for on_status in self._subscribers:
            on_status(pool, backends)

    def _publish_time_over(self, pool: Pool, backends: Collection[Backend]) -> None:
        if self.has(pool):
            # One that was removed may be back: no connection here has kept the object that it was.
            table = self.table(pool)
            present = {backend: table.get(key_of(backend)) for backend in backends}
            backends = [
                b for b, now in present.items() if now is None or now.admin_state is not AdminState.READY
            ]
        for on_time_over in self._time_over:
            on_time_over(pool, backends)

    def subscribe(self, on_status: OnStatus, on_time_over: OnTimeOver = lambda *_: None) -> None:
        """Have callables called with each change."""
        self._subscribers.append(on_status)
        self._time_over.append(on_time_over)

    def call_after_reloads(self, call: Callable[[], object]) -> None:
        """Have a callable called when other pools may have become those that there are."""
        self._after_reloads.append(call)

    @property
    def pools(self) -> Sequence[Pool]:
        """Those that there are."""
        return list(self._watched)

    def find(self, name: object) -> Pool | None:
        """Find a pool by its name."""
        return self._by_name.get(name) if isinstance(name, str) else None

    def has(self, pool: Pool) -> bool:
        """Whether a pool is one of them."""
        return pool in self._watched

    def table(self, pool: Pool) -> BackendTable:
        """Give how messages name the backends of a pool."""
        return self._watched[pool].table

    def checks(self, pool: Pool) -> CheckHistory:
        """Give the last results of the checks of a pool."""
        return self._watched[pool].service.checks

    def are_known(self, pool: Pool) -> bool:
        """Whether clients need not wait any more for the first checks of a pool."""
        return self._watched[pool].are_known

    def when_restored(self, pool: Pool) -> Deferred[None]:
        """Fires when affinity of a pool is as it was before the last restart, or cannot be."""
        restored: Deferred[None] = Deferred()
        self._watched[pool].service.restored.addCallback(lambda _: restored.callback(None))
        return restored

    def addresses_of(self, host: str) -> list[str]:
        """The IP addresses that a host name is known to have now; none is asked for."""
        return self._shared.resolver.resolution(host).addresses

    def set_admin_state(self, pool: str, backend: str, admin_state: AdminState) -> bool:
        """Let a backend serve, be drained, or be left alone, in all workers.

        :returns: whether there is such a pool and such a backend.
        """
        found = self.find(pool)
        for its in () if found is None else found.backends:
            if its.name == backend:
                assert found is not None
                found.set_admin_state(its, admin_state)
                return True
        return False

    def limit_drain(self, pool: Pool, backend: Backend, seconds: float) -> None:
        """Have clients leave a backend that drains after a time, see ``Balancer``."""
        self._shared.drains.limit(pool, backend, seconds)

    def drain_left(self, backend: Backend) -> float | None:
        """Give what is left of that time, see ``Balancer``."""
        return self._shared.drains.left(backend)

    # Steps

    def startService(self) -> None:
        """Start the checks, and read affinity."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        for watched in self._watched.values():
            watched.service.startService()
            watched.begin()
        self._log_awaited(self._watched.values())

    def prepare(self, config: PreparedConfig) -> PreparedChange:
        """Prepare another configuration; nothing changes yet.

        :raises SettingError: the policy of a pool cannot be made.
        """
        watched = {pool: self._watched.get(pool) or self._make(pool) for pool in _used_by(config.parts)}
        changes: dict[Pool, Callable[[], None]] = {}
        for pool, description in config.become.items():
            present = watched.get(pool) or self._watched.get(pool)
            changes[pool] = (present.service if present else pool).prepare_as(description)
        new = [it for pool, it in watched.items() if pool not in self._watched]
        prepare_all([it.service for it in new])

        def abandon() -> None:
            for it in new:
                it.service.abandon()

        return PreparedChange(partial(self._become, watched, changes), abandon)

    def _become(self, watched: dict[Pool, _WatchedPool], changes: Mapping[Pool, Callable[[], None]]) -> None:
        before, self._watched = self._watched, watched
        self._by_name = {pool.name: pool for pool in watched}
        for change in changes.values():
            change()
        for pool, it in before.items():
            if pool not in watched:
                it.end()
                self._wait_for(it.service.leave())
            elif pool in changes:
                it.note_reload()
        new = [it for pool, it in watched.items() if pool not in before]
        for it in new:
            it.service.commit()
            it.begin()
        self._log_awaited(new)
        for call in self._after_reloads:
            call()

    def _wait_for(self, ended: Deferred[Any]) -> None:
        self._leaving.add(ended)
        ended.addBoth(lambda _: self._leaving.discard(ended))

    def stopService(self) -> Deferred[Any]:
        """End the checks, and write affinity down.

        :returns: fires when that is done.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._shared.drains.stop()
        for it in self._watched.values():
            it.end()
        ended = DeferredList([*(it.service.stopService() for it in self._watched.values()), *self._leaving])
        return ended.addCallback(lambda _: self._shared.resolver.stop())

    def _log_awaited(self, watched: Iterable[_WatchedPool]) -> None:
        monitors = [it.service.monitor for it in watched if not it.are_known]
        awaited = [monitor for monitor in monitors if monitor is not None]
        if awaited:
            self._log.info(
                "frontends wait for the first checks of {pools}, {seconds:g} s at most",
                pools=", ".join(f"pool {monitor.pool.name}" for monitor in awaited),
                seconds=max(monitor.config.timeout for monitor in awaited),
            )


class _WatchedPool:
    """One pool, and what has to be done as the status of its backends changes.

    :param service: of the pool.
    :param reactor: IReactorTime.
    :param publish: called with what has changed.
    :ivar table: how messages name the backends.
    """

    def __init__(self, service: PoolService, reactor: Any, publish: OnStatus) -> None:
        self.service = service
        self.table = BackendTable(service.pool)
        self._pool = service.pool
        self._reactor = reactor
        self._publish = publish
        self._unsubscribe: Callable[[], object] = lambda: None
        self._monitor: object = None
        self._readmits: IDelayedCall | None = None

    @property
    def are_known(self) -> bool:
        """Whether the first checks are over, where clients wait for them."""
        monitor = self.service.monitor
        return monitor is None or not self.service.delays_opening or monitor.first_round.called

    def begin(self) -> None:
        """Take note of all that changes from now on."""
        self._unsubscribe = self._pool.subscribe(self._on_change)
        self._pool.status.on_status = self._on_status
        self.note_reload()

    def note_reload(self) -> None:
        """Take note that the pool may have other settings, and other checks."""
        monitor, before = self.service.monitor, self._monitor
        self._monitor = monitor
        if monitor is not None and monitor is not before:
            monitor.first_round.addCallback(lambda _: self._end_first_round())
        self._on_change(PoolChange(changed=self._pool.backends))

    def end(self) -> None:
        """Take note of nothing any more."""
        self._unsubscribe()
        self._pool.status.on_status = lambda _: None
        self._cancel()

    def _end_first_round(self) -> None:
        self._report_panic()
        self._publish(self._pool, ())

    def _on_status(self, backend: Backend) -> None:
        self._report_panic()
        self._publish(self._pool, [backend])

    def _report_panic(self) -> None:
        """Log it, as no connection comes here that would have it logged; not before the first checks."""
        if not any(backend.awaits_check for backend in self._pool.backends):
            self._pool.report_panic()

    def _on_change(self, change: PoolChange) -> None:
        self._report_panic()
        self._readmit_in_time()
        self._publish(self._pool, [*change.added, *change.changed, *change.available])

    def _readmit_in_time(self) -> None:
        """Have ejections end at their time, which in a process that serves the next connection sees to."""
        self._cancel()
        ejections = self._pool.ejections
        expiry = ejections.next_expiry if isinstance(ejections, Ejections) else inf
        if expiry < inf:
            self._readmits = self._reactor.callLater(max(0.0, expiry - self._pool.clock()), self._readmit)

    def _readmit(self) -> None:
        self._readmits = None
        if self._pool.ejections is not None:
            self._pool.ejections.readmit_expired(self._pool.clock())
        self._readmit_in_time()

    def _cancel(self) -> None:
        if self._readmits is not None:
            self._readmits.cancel()
            self._readmits = None


def _used_by(parts: Parts) -> Iterable[Pool]:
    """Give the pools that frontends use."""
    return dict.fromkeys(pool for frontend in parts.frontends.values() for pool in frontend.pools)
