"""A pool while it runs: its health checks, its files, and the names of its backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger

from tcpbalance.config.pools import HealthConfig
from tcpbalance.health.history import CheckHistory
from tcpbalance.net import resolver
from tcpbalance.net.local_route import why_no_way_to
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.description import PoolDescription
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity
from tcpbalance.proxy.registry import OpenSession
from tcpbalance.reload import Part, Reloader
from tcpbalance.services.following import AffinityKeeper, Monitor
from tcpbalance.services.rebalancer import Rebalancer
from tcpbalance.services.shared import Shared
from tcpbalance.services.stepped import SteppedService
from tcpbalance.threads import in_thread


class PoolService(SteppedService):
    """Checks the backends of one pool, keeps the addresses of their names known and the pool's files read.

    :param shared: what all services of the balancer share.
    :param pool: whose backends they are.
    :param on_down: called with a backend that has gone down and whose sessions are to be reset.
    :param sessions_of: gives the open sessions of the frontends that a pool serves, those that it does not
        serve among them.
    :param watches_files: whether the pool's files are read again when they change; else others see to that.
    :param serves: whether clients are served by it already, as those of a frontend are that comes back to it
        before it has begun with another one.
    :ivar monitor: makes the checks, or stands for those of another process; None where there are none.
    :ivar checks: the last results of the checks that are made here.
    :ivar unanswered: fires with the names that had no answer when there was time for one.
    :ivar restored: fires when affinity is as it was before the last restart, or cannot be.
    """

    _log = Logger()

    def __init__(
        self,
        shared: Shared,
        pool: Pool,
        on_down: Callable[[Backend], None],
        sessions_of: Callable[[Pool], list[OpenSession]],
        *,
        watches_files: bool = True,
        serves: bool = False,
    ) -> None:
        self.pool = pool
        self._shared = shared
        self._on_down = on_down
        self._watches_files = watches_files
        self._serves = serves
        self._following = shared.following
        self.checks = CheckHistory(shared.wall_clock)
        self.monitor: Monitor | None = None
        if isinstance(pool.health, HealthConfig):
            self.monitor = self._make_monitor(pool.health)
        self.unanswered: Deferred[list[str]] = succeed([])
        self.restored: Deferred[None] = succeed(None)
        self._journal: AffinityKeeper | None = None
        self._followed: list[str] = []
        self._unsubscribe: Callable[[], object] = lambda: None
        self._given_up: set[Deferred[Any]] = set()
        self._rebalancer = Rebalancer(
            pool, lambda: sessions_of(pool), shared.reactor, shared.clock, shared.rng
        )
        self._reloader = Reloader(shared.reactor, self._files(), in_thread(shared.reactor))

    def _make_monitor(self, health: HealthConfig) -> Monitor:
        if self._following is not None:
            return self._following.monitor(self.pool, health)
        # A process that follows makes no checks.
        from tcpbalance.health.monitor import HealthMonitor

        return HealthMonitor(
            self.pool,
            health,
            reactor=self._shared.reactor,
            rng=self._shared.rng,
            on_down=self._went_down,
            on_result=self.checks.note,
            resolver=self._shared.resolver,
        )

    def _went_down(self, backend: Backend) -> None:
        """Have the sessions of a backend that has gone down reset, where they do not go on."""
        if isinstance(self.pool.health, HealthConfig) and self.pool.health.on_down == "reset":
            self._on_down(backend)

    def _files(self) -> list[tuple[str, Part]]:
        if self.pool.tls is None or not self._watches_files:
            return []
        return [(f"pool {self.pool.name}", self.pool.tls)]

    def begin(self) -> None:
        """Look names up, restore affinity and start checking."""
        self._reloader.startService()
        if self._following is None:
            self.pool.begin_to_report()
        else:
            self._following.begin(self.pool, self._went_down, self._have_drained)
        self._drain_where_asked(self.pool.backends)
        self._warn_of_addresses_out_of_reach(self.pool.backends)
        if self.monitor is not None:
            begin = self.monitor.take_over if self._serves else self.monitor.startService
            begin()
        self._followed = self._names(self.pool.backends)
        self.unanswered = self._shared.resolver.follow(self._followed, resolver.LOOKUP_TIMEOUT)
        self._unsubscribe = self.pool.subscribe(self._on_change)
        self._keep_affinity()
        self._rebalance()

    def end(self) -> Deferred[None]:
        """Stop checking, and write affinity down.

        :returns: fires when the checks under way have ended, and affinity is written.
        """
        self._reloader.stopService()
        self._rebalancer.stop()
        self._unsubscribe()
        if self._following is not None:
            self._following.end(self.pool)
        self._shared.resolver.unfollow(self._followed)
        checks = succeed(None) if self.monitor is None else maybeDeferred(self.monitor.stopService)
        self._end_journal()
        return DeferredList([checks, *self._given_up]).addCallback(lambda _: None)

    def _rebalance(self) -> None:
        if self.pool.rebalance is None:
            self._rebalancer.stop()
        else:
            self._rebalancer.start(self.pool.rebalance)

    def _keep_affinity(self) -> None:
        """Keep the pool's affinity in its file, where it has one and is not kept there already."""
        affinity = self.pool.affinity if isinstance(self.pool.affinity, RecordedAffinity) else None
        if self._journal is not None and self._journal.table is affinity:
            return
        self._end_journal()
        if affinity is not None:
            self._journal = self._make_journal(affinity)
            self._journal.start()
            self.restored = self._journal.restored.wait()

    def _make_journal(self, affinity: RecordedAffinity) -> AffinityKeeper:
        if self._following is not None:
            return self._following.journal(self.pool, affinity)
        # It writes no journals either.
        from tcpbalance.journal.affinity_journal import AffinityJournal

        assert affinity.state_file is not None
        return AffinityJournal(
            self.pool.name,
            affinity.state_file,
            affinity,
            lambda: self.pool.backends,
            clock=self.pool.clock,
            reactor=self._shared.reactor,
            in_thread=in_thread(self._shared.reactor),
        )

    def _end_journal(self) -> None:
        if self._journal is not None:
            self._give_up(self._journal.stop())
            self._journal = None

    def _give_up(self, ended: Deferred[Any]) -> None:
        def forget(result: object) -> object:
            self._given_up.discard(ended)
            return result

        self._given_up.add(ended)
        ended.addBoth(forget)

    def prepare_as(self, description: PoolDescription) -> Callable[[], None]:
        """Check whether the pool can become what a description says; nothing changes yet.

        :param description: see ``Pool.prepare_as``.
        :returns: takes over its backends and settings, and checks and follows them; cannot fail.
        :raises SettingError: see ``Pool.prepare_as``.
        """
        commit = self.pool.prepare_as(description)
        return lambda: self._become(description, commit)

    def _become(self, description: PoolDescription, commit: Callable[[], None]) -> None:
        if not isinstance(description.health, HealthConfig) and self.monitor is not None:
            # It would have backends that are added wait for a check.
            self._give_up(self.monitor.give_up())
            self.monitor = None
        checked_before_by = None if self.monitor is None else self.monitor.config
        if self.monitor is not None and isinstance(description.health, HealthConfig):
            # Backends that are added begin as the settings say that come with them.
            self.monitor.config = description.health
        commit()
        health = self.pool.health
        if isinstance(health, HealthConfig) and health != checked_before_by:
            self._check_by(health)
        if self.running:
            self._follow_names()
            self._keep_affinity()
            self._rebalance()
        self._reloader.watch(self._files())

    def _check_by(self, health: HealthConfig) -> None:
        if self.monitor is None:
            self.monitor = self._make_monitor(health)
            if self.running:
                self.monitor.take_over()
        else:
            self.monitor.check_by(health)

    def reload_files(self) -> None:
        """Read the pool's files again."""
        self._reloader.reload()

    def expect_changes(self) -> None:
        """Read the pool's files again soon: they may have changed since they were read."""
        self._reloader.expect_changes()

    @property
    def delays_opening(self) -> bool:
        """Whether frontends wait for the first checks, which decide here which backends are up at first."""
        return self.monitor is not None and self.monitor.config.initial == "checked"

    def _on_change(self, change: PoolChange) -> None:
        """Follow the names of backends that are added, and no longer those of backends that are removed; and
        limit the time of sessions of those that get no new clients any more."""
        self._warn_of_addresses_out_of_reach(change.added)
        if change.added or change.removed:
            self._follow_names()
        self._shared.drains.begin(self.pool, change.removed)
        self.checks.forget(change.removed)
        self._drain_where_asked([*change.added, *change.changed])

    def _drain_where_asked(self, backends: Sequence[Backend]) -> None:
        for backend in backends:
            if backend.admin_state is AdminState.READY:
                self._shared.drains.cancel(backend)
        self._shared.drains.begin(self.pool, [b for b in backends if b.admin_state is not AdminState.READY])

    def _have_drained(self, backends: Iterable[Backend]) -> None:
        self._shared.drains.end_now(self.pool, backends)

    def leave(self) -> Deferred[None]:
        """Retire because no frontend uses the pool any more: its sessions have a limited time from now on.

        :returns: see ``retire``.
        """
        if self.running:
            self._shared.drains.begin(self.pool, self.pool.backends)
        return self.retire()

    def _follow_names(self) -> None:
        before, self._followed = self._followed, self._names(self.pool.backends)
        added = [name for name in self._followed if name not in before]
        self._shared.resolver.follow(added, resolver.LOOKUP_TIMEOUT)
        self._shared.resolver.unfollow(set(before).difference(self._followed))

    def _names(self, backends: Iterable[Backend]) -> list[str]:
        """Host names of backends, and of where else they are checked."""
        addresses = [backend.address for backend in backends]
        if isinstance(self.pool.health, HealthConfig):
            addresses += [self.pool.health.checked_address(address) for address in addresses]
        return list(dict.fromkeys(str(address.host) for address in addresses if address.is_name))

    def _warn_of_addresses_out_of_reach(self, backends: Iterable[Backend]) -> None:
        if self._following is not None:
            return  # The other process says so.
        if self._shared.connector is not None:
            return  # The routes of this machine say nothing about another way to connect.
        for backend in backends:
            if why := why_no_way_to(backend.address):
                self._log.warn(
                    "pool {pool}: backend {backend} cannot be reached: {why}; correct its address, or give "
                    "this machine one of the same kind and a route",
                    pool=self.pool.name,
                    backend=backend.described,
                    why=why,
                )
