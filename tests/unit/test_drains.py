"""The time of backends that drain."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from twisted.internet.task import Clock

from support.pools import a_pool, choices, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.services.drains import LOOK_AGAIN_AFTER, Drains

ANNE = b"\xc0\0\2\1"


class Stage:
    """A clock, and the backends whose sessions were ended."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ended: list[str] = []
        self.drains = Drains(self.clock, self.end)

    def end(self, backends: Collection[Backend]) -> None:
        self.ended.append("".join(sorted(backend.name for backend in backends)))


def test_sessions_are_ended_when_the_time_is_over() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    backend = pool.backends[0]
    stage.drains.begin(pool, [backend])
    stage.clock.advance(5)
    stage.drains.begin(pool, [backend])
    stage.clock.advance(4.9)
    assert stage.ended == []
    stage.clock.advance(0.1)
    assert stage.ended == [backend.name]
    assert not stage.clock.getDelayedCalls()


def test_without_a_limit_nothing_is_waited_for() -> None:
    stage, pool = Stage(), a_pool(some_backends(1))
    stage.drains.begin(pool, pool.backends)
    assert not stage.clock.getDelayedCalls()


def test_one_that_gets_clients_again_and_all_at_the_end() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    stage.drains.begin(pool, pool.backends)
    stage.drains.cancel(pool.backends[0])
    assert len(stage.clock.getDelayedCalls()) == 1
    stage.clock.advance(10)
    assert stage.ended == ["b"]
    stage.drains.begin(pool, pool.backends)
    stage.drains.stop()
    assert not stage.clock.getDelayedCalls()


def test_those_that_are_due_together_are_ended_together() -> None:
    stage = Stage()
    pool = a_pool(some_backends(1, 1, 1), affinity=AffinityConfig(), drain_timeout=10.0)
    a, b, c = pool.backends
    for backend in (a, b):
        pool.set_admin_state(backend, AdminState.DRAIN)
    pool.replace([a, b])
    forgotten: list[set[Backend]] = []
    pool.forget_clients = lambda backends: forgotten.append(set(backends))  # type: ignore[method-assign]
    stage.drains.begin(pool, [a, b, c])
    stage.clock.advance(10)
    assert stage.ended == ["abc"]
    assert forgotten == [{a, b}], "those of a removed one were forgotten with it"


def remove(pool: Pool, backend: Backend) -> None:
    pool.replace([other for other in pool.backends if other is not backend])


def maintain(pool: Pool, backend: Backend) -> None:
    pool.set_admin_state(backend, AdminState.MAINTENANCE)


def leave_without_frontend(pool: Pool, backend: Backend) -> None:
    """The backend of a pool that no frontend uses any more stays as it is."""


@pytest.mark.parametrize("drain", [remove, maintain, leave_without_frontend])
def test_one_is_looked_at_until_no_connection_is_left(drain: Callable[[Pool, Backend], None]) -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    a, _ = pool.backends
    slot = pool.take(a, None)
    drain(pool, a)
    stage.drains.begin(pool, [a])
    stage.clock.advance(10)
    stage.clock.advance(LOOK_AGAIN_AFTER)
    assert stage.ended == ["a", "a"]
    slot.release()
    stage.clock.advance(LOOK_AGAIN_AFTER)
    assert not stage.clock.getDelayedCalls()


def test_clients_that_belong_to_it_go_to_others_then() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), affinity=AffinityConfig(), drain_timeout=10.0)
    backend = pool.backends[1]
    slot = pool.take(backend, ANNE)
    slot.connected(0.001)
    pool.set_admin_state(backend, AdminState.DRAIN)
    stage.drains.begin(pool, [backend])
    assert choices(pool, ANNE) == "ba"
    stage.clock.advance(10)
    assert choices(pool, ANNE) == "a"
    assert stage.ended == [backend.name]
