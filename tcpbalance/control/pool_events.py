"""The events of pools: what was found out of backends, and what operators have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

from tcpbalance.event import OnEvent
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool


class _Seen(NamedTuple):
    """What a backend was when it was looked at last."""

    up: bool
    awaits_check: bool
    ejected: bool
    admin_state: AdminState
    weight: int

    @classmethod
    def of(cls, backend: Backend) -> Self:
        return cls(backend.up, backend.awaits_check, backend.ejected, backend.admin_state, backend.weight)


class PoolEvents:
    """Reports what changes in pools, by what it has seen of them before.

    :param on_event: called with each change.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._pools: dict[Pool, _SeenPool] = {}

    def follow(self, pools: Iterable[Pool]) -> None:
        """Report the changes of these pools from now on."""
        self._pools = {pool: self._pools.get(pool) or _SeenPool(pool, self._on_event) for pool in pools}

    def note(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Take note that some backends of a pool have changed, and perhaps its list."""
        if pool in self._pools:
            self._pools[pool].note(backends)


class _SeenPool:
    """One pool, and what was seen of its backends."""

    def __init__(self, pool: Pool, on_event: OnEvent) -> None:
        self._pool = pool
        self._on_event = on_event
        self._backends = pool.backends
        self._seen = {backend: _Seen.of(backend) for backend in pool.backends}

    def note(self, backends: Iterable[Backend]) -> None:
        if self._pool.backends is not self._backends:
            self._compare_lists()
        for backend in backends:
            before = self._seen.get(backend)
            if before is not None:
                now = self._seen[backend] = _Seen.of(backend)
                self._compare(backend, before, now)

    def _compare_lists(self) -> None:
        self._backends = self._pool.backends
        before, self._seen = self._seen, {b: self._seen.get(b) or _Seen.of(b) for b in self._backends}
        for backend in [backend for backend in before if backend not in self._seen]:
            self._report("backend_removed", backend)
        for backend in [backend for backend in self._seen if backend not in before]:
            self._report("backend_added", backend, weight=backend.weight)

    def _compare(self, backend: Backend, before: _Seen, now: _Seen) -> None:
        # A first check that passes is no news: no client has seen the backend down.
        if now.up and not before.up and not before.awaits_check:
            self._report("backend_up", backend)
        elif not (now.up or now.awaits_check) and (before.up or before.awaits_check):
            self._report("backend_down", backend, cause=backend.cause)
        if now.ejected and not before.ejected:
            self._report("backend_ejected", backend, cause=backend.host_stats.cause)
        elif before.ejected and not now.ejected:
            self._report("backend_readmitted", backend)
        if now.admin_state is not before.admin_state:
            self._report("backend_state", backend, state=now.admin_state.value)
        if now.weight != before.weight:
            self._report("backend_weight", backend, weight=now.weight, before=before.weight)

    def _report(self, kind: str, backend: Backend, **more: Any) -> None:
        names = {"pool": self._pool.name, "backend": backend.name, "address": str(backend.address)}
        self._on_event(kind, {**names, **more})


class SubscribedPools:
    """Has the changes of the pools of one process noted.

    :param events: notes them.
    """

    def __init__(self, events: PoolEvents) -> None:
        self._events = events
        self._unsubscribe: dict[Pool, Callable[[], object]] = {}

    def follow(self, pools: Iterable[Pool]) -> None:
        """Follow these pools from now on, and no others."""
        pools = list(pools)
        self._events.follow(pools)
        for pool in [pool for pool in self._unsubscribe if pool not in pools]:
            self._unsubscribe.pop(pool)()
        for pool in pools:
            if pool not in self._unsubscribe:
                self._unsubscribe[pool] = self._subscribe(pool)

    def _subscribe(self, pool: Pool) -> Callable[[], object]:
        pool.status.on_status = lambda backend: self._events.note(pool, [backend])
        return pool.subscribe(lambda change: self._events.note(pool, (*change.added, *change.changed)))
