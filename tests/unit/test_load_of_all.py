"""What a worker chooses by is the load of all workers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, cast

import pytest
from attrs import evolve

from support.pools import described, some_backends
from support.worker_loads import SharedWorkers
from tcpbalance.config.counted import backend_key, counted
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.pool.pool import Pool, Slot
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession
from tcpbalance.services.rebalancer import Rebalancer
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.worker_load import first_turn

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

WORKERS, BACKENDS = 4, 4
CLIENT = bytes((192, 0, 2, 1))


@pytest.fixture
def shared() -> Iterator[SharedWorkers]:
    backends = some_backends(*[1] * BACKENDS)
    shared = SharedWorkers(WORKERS, {backend_key("web", b.name, str(b.address)): None for b in backends})
    yield shared
    shared.close()


def a_pool(shared: SharedWorkers, column: int, balance: str, count: int = BACKENDS, **keys: Any) -> Pool:
    worker = shared.workers[column]
    description = described(some_backends(*[1] * count), balance=balance, **keys)
    return Pool.of(
        description, clock=worker.reactor.seconds, rng=Random(column), shared=worker.load.pool("web")
    )


def connect(pool: Pool, client: bytes | None = None) -> Slot:
    backend, _ = pool.selection.choose(client)
    assert backend is not None
    slot = pool.take(backend, client)
    slot.connected(0.001)
    return slot


def loads(pool: Pool) -> list[int]:
    return [backend.load for backend in pool.backends]


@pytest.mark.parametrize("balance", ["round_robin", "random", "source_hash"])
def test_nothing_is_counted_of_backends_without_a_limit_whose_load_is_not_read(balance: Any) -> None:
    backends = tuple(BackendConfig(address=f"192.0.2.{last}:80") for last in (1, 2))
    pool = PoolConfig(backends=backends, balance=balance)
    assert counted({"web": FrontendConfig(listen=("0.0.0.0:80",), pool="web")}, {"web": pool}) == {}
    limited = evolve(pool, backends=(evolve(backends[0], max_connections=5), backends[1]))
    assert [*counted({}, {"web": limited}).values()] == [5]


def test_the_least_connections_of_all(shared: SharedWorkers) -> None:
    pools = [a_pool(shared, column, "least_connections") for column in range(WORKERS)]
    for number in range(40):
        connect(pools[number % WORKERS])
        seen = loads(pools[0])
        assert max(seen) - min(seen) <= 1
    assert all(loads(pool) == [10] * BACKENDS for pool in pools)


@pytest.mark.parametrize("balance", ["power_of_two_choices", "peak_ewma"])
def test_the_less_loaded_of_two(shared: SharedWorkers, balance: str) -> None:
    first, second = (a_pool(shared, column, balance, count=2) for column in (0, 1))
    for backend in first.backends:
        for pool in (first, second):
            # Each has been measured, and by one as fast as the other.
            next(b for b in pool.backends if b.name == backend.name).connect_time.observe(0.001, 0.0)
    busy = first.backends[0]
    for _ in range(5):
        first.take(busy, None)
    assert {connect(second).backend.name for _ in range(4)} == {first.backends[1].name}


def test_bounded_load_is_bounded_by_the_load_of_all(shared: SharedWorkers) -> None:
    pools = [a_pool(shared, column, "source_hash", bounded_load=1.0) for column in range(WORKERS)]
    for number in range(20):
        connect(pools[number % WORKERS], CLIENT)
    assert sorted(loads(pools[0])) == [5, 5, 5, 5]


def test_what_a_worker_gives_back_is_seen_by_all(shared: SharedWorkers) -> None:
    first, second = (a_pool(shared, column, "least_connections") for column in (0, 1))
    slots = [connect(first) for _ in range(8)]
    slots[0].release()
    assert connect(second).backend.name == slots[0].backend.name


def test_turns_begin_with_another_backend_in_each_worker(shared: SharedWorkers) -> None:
    pools = [a_pool(shared, column, "round_robin") for column in range(WORKERS)]
    assert {connect(pool).backend.name for pool in pools} == {"a", "b", "c", "d"}
    assert sorted(first_turn(place) for place in range(8)) == [place / 8 for place in range(8)]


def test_backends_that_come_anew_are_counted_once_their_rows_are_known(shared: SharedWorkers) -> None:
    pools = [a_pool(shared, column, "least_connections", count=2) for column in range(2)]
    pools[0].replace(some_backends(1, 1, 1))
    connect(pools[0])
    assert [backend.shared is not None for backend in pools[0].backends] == [True] * 3


class Idle:
    """A session that may be closed at any time, and whose client comes back."""

    over = False

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._slot = connect(crowd.pool)

    @property
    def served_by(self) -> Any:
        return self._slot.backend

    def can_move(self, idle_for: float) -> bool:
        return True

    def can_return(self) -> bool:
        return True

    def end(self, reason: EndReason) -> None:
        self.over = True
        self._slot.release()
        self._crowd.closed += 1
        self._crowd.reactor.callLater(0.1, self._crowd.comes)


class Crowd:
    """The sessions of one worker, and what rebalances them."""

    def __init__(self, shared: SharedWorkers, column: int) -> None:
        self.pool = a_pool(shared, column, "least_connections", count=1)
        self.reactor = reactor = shared.workers[column].reactor
        self.sessions: list[Idle] = []
        self.closed = 0
        timer: Any = reactor
        self.rebalancer = Rebalancer(self.pool, self.open, timer, reactor.seconds, Random(column))

    def comes(self) -> None:
        self.sessions.append(Idle(self))

    def open(self) -> list[OpenSession]:
        return [cast(OpenSession, session) for session in self.sessions if not session.over]


def test_workers_close_what_is_above_the_share_of_all_together(shared: SharedWorkers) -> None:
    crowds = [Crowd(shared, column) for column in range(WORKERS)]
    for crowd in crowds:
        for _ in range(20):
            crowd.comes()
    for crowd in crowds:
        crowd.pool.replace(some_backends(1, 1))
        crowd.rebalancer.start(RebalanceConfig(rate="20/s", idle_for=0.5))
    closed: list[int] = []
    for _ in range(600):
        for crowd in crowds:
            crowd.reactor.turn(0.01)
        closed.append(sum(crowd.closed for crowd in crowds))
    assert loads(crowds[0].pool) == [40, 40]
    assert 40 <= closed[-1] <= 40 + WORKERS
    assert closed[150] <= 30, "20 in a second, of all workers together"
    for crowd in crowds:
        crowd.rebalancer.stop()
