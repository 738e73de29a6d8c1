"""A pool while it runs: its health checks, its files, and the names of its backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger

from tcpbalance.config.pools import HealthConfig
from tcpbalance.health.monitor import HealthMonitor
from tcpbalance.net.local_route import why_no_way_to
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.reload import Reloader
from tcpbalance.services.shared import Shared
from tcpbalance.services.stepped import SteppedService
from tcpbalance.threads import in_thread

LOOKUP_TIMEOUT = 5.0
"""Seconds that looking names up beforehand may take."""


class PoolService(SteppedService):
    """Checks the backends of one pool, keeps the addresses of their names known and the pool's files read.

    :param shared: what all services of the balancer share.
    :param pool: whose backends they are.
    :param on_down: called with a backend that has gone down and whose sessions are to be reset.
    :ivar monitor: makes the checks, None where there are none.
    :ivar unanswered: fires with the names that had no answer when there was time for one.
    """

    _log = Logger()

    def __init__(self, shared: Shared, pool: Pool, on_down: Callable[[Backend], None]) -> None:
        self.pool = pool
        self._shared = shared
        self.monitor: HealthMonitor | None = None
        if isinstance(pool.health, HealthConfig):
            self.monitor = self._make_monitor(pool.health, on_down)
        self.unanswered: Deferred[list[str]] = succeed([])
        self._followed: list[str] = []
        self._unsubscribe: Callable[[], object] = lambda: None
        files = [] if pool.tls is None else [(f"pool {pool.name}", pool.tls)]
        self._reloader = Reloader(shared.reactor, files, in_thread(shared.reactor))

    def _make_monitor(self, health: HealthConfig, on_down: Callable[[Backend], None]) -> HealthMonitor:
        return HealthMonitor(
            self.pool,
            health,
            reactor=self._shared.reactor,
            rng=self._shared.rng,
            # Where not, sessions of a backend that has gone down go on.
            on_down=on_down if health.on_down == "reset" else lambda _: None,
            resolver=self._shared.resolver,
        )

    def begin(self) -> None:
        """Look names up and start checking."""
        self._reloader.startService()
        self._warn_of_addresses_out_of_reach(self.pool.backends)
        if self.monitor is not None:
            self.monitor.startService()
        self._followed = self._names(self.pool.backends)
        self.unanswered = self._shared.resolver.follow(self._followed, LOOKUP_TIMEOUT)
        self._unsubscribe = self.pool.subscribe(self._on_change)

    def end(self) -> Deferred[None]:
        """Stop checking.

        :returns: fires when the checks under way have ended.
        """
        self._reloader.stopService()
        self._unsubscribe()
        self._shared.resolver.unfollow(self._followed)
        return succeed(None) if self.monitor is None else maybeDeferred(self.monitor.stopService)

    def reload_files(self) -> None:
        """Read the pool's files again."""
        self._reloader.reload()

    @property
    def delays_opening(self) -> bool:
        """Whether frontends wait for the first checks, which decide here which backends are up at first."""
        return self.monitor is not None and self.monitor.config.initial == "checked"

    def _on_change(self, change: PoolChange) -> None:
        """Follow the names of backends that are added, and no longer those of backends that are removed."""
        self._warn_of_addresses_out_of_reach(change.added)
        if change.added or change.removed:
            before, self._followed = self._followed, self._names(self.pool.backends)
            added = [name for name in self._followed if name not in before]
            self._shared.resolver.follow(added, LOOKUP_TIMEOUT)
            self._shared.resolver.unfollow(set(before).difference(self._followed))

    def _names(self, backends: Iterable[Backend]) -> list[str]:
        """Host names of backends, and of where else they are checked."""
        addresses = [backend.address for backend in backends]
        if isinstance(self.pool.health, HealthConfig):
            addresses += [self.pool.health.checked_address(address) for address in addresses]
        return list(dict.fromkeys(str(address.host) for address in addresses if address.is_name))

    def _warn_of_addresses_out_of_reach(self, backends: Iterable[Backend]) -> None:
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
