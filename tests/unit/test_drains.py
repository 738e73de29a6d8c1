"""The time of backends that drain."""

from __future__ import annotations

from twisted.internet.task import Clock

from support.pools import a_pool, choices, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.services.drains import LOOK_AGAIN_AFTER, Drains

ANNE = b"\xc0\0\2\1"


class Stage:
    """A clock, and the backends whose sessions were ended."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ended: list[Backend] = []
        self.drains = Drains(self.clock, self.ended.append)


def test_sessions_are_ended_when_the_time_is_over() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    backend = pool.backends[0]
    stage.drains.begin(pool, backend)
    stage.clock.advance(5)
    stage.drains.begin(pool, backend)
    stage.clock.advance(4.9)
    assert stage.ended == []
    stage.clock.advance(0.1)
    assert stage.ended == [backend]
    assert not stage.clock.getDelayedCalls()


def test_without_a_limit_nothing_is_waited_for() -> None:
    stage, pool = Stage(), a_pool(some_backends(1))
    stage.drains.begin(pool, pool.backends[0])
    assert not stage.clock.getDelayedCalls()


def test_one_that_gets_clients_again_and_all_at_the_end() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    for backend in pool.backends:
        stage.drains.begin(pool, backend)
    stage.drains.cancel(pool.backends[0])
    assert len(stage.clock.getDelayedCalls()) == 1
    stage.drains.stop()
    assert not stage.clock.getDelayedCalls()


def test_a_removed_one_is_looked_at_until_no_connection_is_left() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    a, b = pool.backends
    slot = pool.take(a, None)
    pool.replace([b])
    stage.drains.begin(pool, a)
    stage.clock.advance(10)
    stage.clock.advance(LOOK_AGAIN_AFTER)
    assert stage.ended == [a, a]
    slot.release()
    stage.clock.advance(LOOK_AGAIN_AFTER)
    assert not stage.clock.getDelayedCalls()


def test_clients_that_belong_to_it_go_to_others_then() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), affinity=AffinityConfig(), drain_timeout=10.0)
    backend = pool.backends[1]
    slot = pool.take(backend, ANNE)
    slot.connected(0.001)
    pool.set_admin_state(backend, AdminState.DRAIN)
    stage.drains.begin(pool, backend)
    assert choices(pool, ANNE) == "ba"
    stage.clock.advance(10)
    assert choices(pool, ANNE) == "a"
    assert stage.ended == [backend]
