"""The services of all frontends and pools that are served, and how others come to take their place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred

from tcpbalance.admission.access import Access
from tcpbalance.config.addresses import Address
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.description import PoolDescription
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession, SessionRegistry
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.frontend_service import FrontendService
from tcpbalance.services.pool_service import PoolService
from tcpbalance.services.shared import Shared
from tcpbalance.services.spare_sockets import SpareSockets
from tcpbalance.services.stepped import PreparedChange, prepare_all


class ServiceSet:
    """The services of frontends, and of the pools that these use.

    :param shared: what they share.
    :param parent: whose children they are; they run while it does.
    :param on_new: called with a frontend that begins while the parent runs.
    :param on_registries: called with the registries of open sessions when there are others.
    :ivar frontends: by name.
    :ivar pools: by pool.
    :ivar retiring: those that are gone and have not ended, and others that are waited for; each with what
        fires when it has.
    :ivar registries: the open sessions of all frontends, those that are gone among them.
    """

    def __init__(
        self,
        shared: Shared,
        parent: MultiService,
        on_new: Callable[[FrontendService], object],
        on_registries: Callable[[Sequence[SessionRegistry]], object],
    ) -> None:
        self.frontends: dict[str, FrontendService] = {}
        self.pools: dict[Pool, PoolService] = {}
        self.retiring: dict[Service, Deferred[None]] = {}
        self.registries: list[SessionRegistry] = []
        self._shared = shared
        self._parent = parent
        self._on_new = on_new
        self._on_registries = on_registries

    def all(self) -> list[FrontendService | PoolService]:
        """Give the services; an application may have added others to the parent."""
        return [*self.pools.values(), *self.frontends.values()]

    def named(self, name: str) -> list[FrontendService]:
        """Give the frontend of a name, and those that had it before and have not ended, the latest first."""
        retiring = [it for it in self.retiring if isinstance(it, FrontendService)]
        services = [*self.frontends.values(), *reversed(retiring)]
        return [service for service in services if service.frontend.name == name]

    # Changing

    def prepare(
        self,
        frontends: Sequence[Frontend],
        become: Mapping[Pool, PoolDescription] = {},
        lists: Mapping[str, Access] = {},
        found: Mapping[Address, Sequence[Address]] = {},
    ) -> PreparedChange:
        """Prepare to serve these frontends.

        Those that are served already stay as they are; others of their names take their places. While the
        parent runs, what is new or changes is prepared, all of it or none, then committed; and those that are
        gone are retired.

        :param become: pools that become something else.
        :param lists: made for frontends, by their names.
        :param found: addresses of names to listen on.
        :raises SettingError: the policy of a pool cannot be made; nothing has changed then.
        :raises ListenError: an address of a new one cannot be had; nothing has changed then.
        """
        used = dict.fromkeys(pool for frontend in frontends for pool in frontend.pools)
        serving = {pool for service in self.frontends.values() for pool in service.factory.context.pools}
        pools = {
            pool: self.pools.get(pool)
            or PoolService(
                self._shared,
                pool,
                self._reset_sessions_of,
                self._sessions_of,
                serves=bool(self._parent.running) and pool in serving,
            )
            for pool in used
        }
        spare = self._spare_sockets(frontends, found)
        services = {it.name: self._frontend_service(it, pools, spare, lists) for it in frontends}
        kept = {*pools.values(), *services.values()}
        gone = [service for service in self.all() if service not in kept]
        with ExitStack() as undo:
            pool_changes = [self._prepare_pool(pool, other, pools) for pool, other in become.items()]
            frontend_changes = self._prepare_frontends(
                frontends, services, pools, become, lists=lists, spare=spare, undo=undo
            )
            if self._parent.running:
                new = [it for it in (*pools.values(), *services.values()) if it.parent is None]
                prepare_all(new)
                for service in new:
                    undo.callback(service.abandon)
            held = undo.pop_all()

        def commit() -> None:
            spare.commit()
            self._adopt(pools, services, pool_changes, frontend_changes)
            for service in gone:
                self._retire(service)
            self._note_registries()

        return PreparedChange(commit, held.close)

    def _adopt(
        self,
        pools: dict[Pool, PoolService],
        frontends: dict[str, FrontendService],
        pool_changes: Iterable[Callable[[], None]],
        frontend_changes: Iterable[Callable[[], None]],
    ) -> None:
        """Go on with these services; those that are new begin, and the others change."""
        self.pools, self.frontends = pools, frontends
        for change in pool_changes:
            change()
        self._add([pool for pool in pools.values() if pool.parent is None])
        for change in frontend_changes:
            change()
        new = [frontend for frontend in frontends.values() if frontend.parent is None]
        self._add(new)
        if self._parent.running:
            for begun in new:
                self._on_new(begun)

    def _prepare_pool(
        self, pool: Pool, description: PoolDescription, services: Mapping[Pool, PoolService]
    ) -> Callable[[], None]:
        # A pool that no frontend uses has no service; it may have had one so far.
        service = services.get(pool) or self.pools.get(pool)
        return (service or pool).prepare_as(description)

    def _prepare_frontends(
        self,
        frontends: Iterable[Frontend],
        services: Mapping[str, FrontendService],
        pools: Mapping[Pool, PoolService],
        become: Mapping[Pool, PoolDescription],
        *,
        lists: Mapping[str, Access],
        spare: SpareSockets,
        undo: ExitStack,
    ) -> list[Callable[[], None]]:
        """Prepare the frontends that change, and those whose pools do.

        :param undo: gets what gives back what is taken.
        :returns: makes the changes.
        """
        commits: list[Callable[[], None]] = []
        for frontend in frontends:
            service = services[frontend.name]
            if service.frontend is not frontend:
                its_pools = [pools[pool] for pool in frontend.pools]
                change = service.prepare_change(frontend, its_pools, spare, lists.get(frontend.name))
                undo.callback(change.abandon)
                commits.append(change.commit)
            elif service.parent is not None and any(pool in become for pool in frontend.pools):
                commits.append(service.refresh)
        return commits

    def _add(self, services: Iterable[FrontendService | PoolService]) -> None:
        for service in services:
            if self._parent.running:
                # Its files were read when the configuration was prepared, which may be some time ago.
                service.expect_changes()
            service.setServiceParent(self._parent)  # type: ignore[no-untyped-call]  # Twisted's

    def _spare_sockets(
        self, frontends: Iterable[Frontend], found: Mapping[Address, Sequence[Address]]
    ) -> SpareSockets:
        """Give the sockets that close when these frontends are served instead of the present ones."""
        wanted = {frontend.name: frontend for frontend in frontends}
        spare = []
        for name, service in self.frontends.items():
            other = wanted.get(name)
            stays = other is not None and service.can_become(other)
            spare += service.listening.spare_sockets(other if stays else None)
        return SpareSockets(spare, found)

    def _frontend_service(
        self,
        frontend: Frontend,
        pools: Mapping[Pool, PoolService],
        spare: SpareSockets,
        lists: Mapping[str, Access],
    ) -> FrontendService:
        """Give the service of a frontend, which one of its name has already."""
        present = self.frontends.get(frontend.name)
        if present is not None and not present.failed and present.can_become(frontend):
            return present
        awaited = [pools[pool] for pool in frontend.pools]
        has_predecessor = self._shared.inherited.is_handed_over and self._shared.following is None
        if has_predecessor and not self._parent.running:
            # A predecessor serves until all frontends are open, and goes on where the last of them fails.
            awaited = list(pools.values())
        return FrontendService(self._shared, frontend, awaited, spare, lists.get(frontend.name), present)

    # Retiring

    def _retire(self, service: FrontendService | PoolService) -> None:
        """Retire a service that is gone; stopping the balancer waits for it, too."""
        ended = service.leave()
        service.disownServiceParent()  # type: ignore[no-untyped-call]  # Twisted's
        self.wait_for(service, ended)

    def wait_for(self, service: Service, ended: Deferred[None]) -> None:
        """Have stopping the parent wait until something has ended.

        :param service: what; it is one of those that retire until then.
        """
        if not ended.called:
            self.retiring[service] = ended
            ended.addBoth(self._forget, service)

    def _forget(self, _: object, service: Service) -> None:
        del self.retiring[service]
        self._note_registries()

    # Sessions

    def end_sessions(self, reason: EndReason, backends: Collection[Backend]) -> None:
        """End the sessions that some backends serve."""
        for registry in self.registries:
            registry.end_sessions(reason, served_by=backends)

    def _reset_sessions_of(self, backend: Backend) -> None:
        self.end_sessions(EndReason.BACKEND_DOWN, {backend})

    def _sessions_of(self, pool: Pool) -> list[OpenSession]:
        """Give the open sessions of the frontends that a pool serves."""
        sessions: list[OpenSession] = []
        for service in self.frontends.values():
            if pool in service.frontend.pools:
                sessions.extend(service.factory.registry.sessions)
        return sessions

    def _note_registries(self) -> None:
        """Know the open sessions of all frontends, those that are gone among them."""
        services = [*self.frontends.values(), *self.retiring]
        self.registries = [it.factory.registry for it in services if isinstance(it, FrontendService)]
        self._on_registries(self.registries)
