"""The time of backends that drain."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf

import pytest

from support.pools import a_pool, choices, some_backends
from support.turning_clock import TurningClock
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.affinity import FORGOTTEN_AT_ONCE
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.services.drains import LOOK_AGAIN_AFTER, Drains

ANNE = b"\xc0\0\2\1"


class Stage:
    """A clock, and the backends whose sessions were ended."""

    def __init__(self) -> None:
        self.clock = TurningClock()
        self.ended: list[str] = []
        self.drains = Drains(self.clock, self.end)

    def end(self, _: Pool, backends: Collection[Backend]) -> None:
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


def test_one_backend_has_a_time_of_its_own() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    a, b = pool.backends
    stage.drains.begin(pool, [a, b])
    stage.drains.limit(pool, a, 20.0)
    stage.drains.begin(pool, [a])
    stage.clock.advance(10)
    assert stage.ended == ["b"]
    stage.drains.limit(pool, a, 1.0)
    stage.clock.advance(1)
    assert stage.ended == ["b", "a"]
    stage.drains.limit(pool, a, 1.0)
    stage.drains.cancel(a)
    assert not stage.clock.getDelayedCalls()


def test_what_is_left_of_the_time_is_known_also_when_it_is_over() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    a, b = pool.backends
    slot = pool.take(a, None)
    assert stage.drains.left(a) is None
    stage.drains.begin(pool, [a])
    stage.drains.limit(pool, b, 20.0)
    stage.clock.advance(4)
    assert (stage.drains.left(a), stage.drains.left(b)) == (6.0, 16.0)
    stage.clock.advance(6)
    stage.clock.advance(LOOK_AGAIN_AFTER / 2)
    assert stage.drains.left(a) == 0.0
    slot.release()
    stage.clock.advance(LOOK_AGAIN_AFTER)
    stage.drains.begin(pool, [a])
    assert stage.drains.left(a) == 0.0, "a change of its weight gives it no further time"
    stage.drains.cancel(a)
    assert stage.drains.left(a) is None


def test_an_operator_may_take_the_limit_away() -> None:
    stage, pool = Stage(), a_pool(some_backends(1), drain_timeout=10.0)
    backend = pool.backends[0]
    stage.drains.begin(pool, [backend])
    stage.drains.limit(pool, backend, inf)
    stage.drains.begin(pool, [backend])
    assert stage.drains.left(backend) is None
    assert not stage.clock.getDelayedCalls()
    stage.drains.cancel(backend)
    stage.drains.begin(pool, [backend])
    assert stage.drains.left(backend) == 10.0


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


def test_the_time_may_be_over_earlier() -> None:
    stage, pool = Stage(), a_pool(some_backends(1, 1), drain_timeout=10.0)
    a, b = pool.backends
    slot = pool.take(b, None)
    stage.drains.begin(pool, [a])
    stage.drains.end_now(pool, [a, b])
    stage.clock.advance(0)
    assert stage.ended == ["ab"]
    slot.release()
    stage.clock.advance(10)
    assert stage.ended == ["ab", "b"]
    assert not stage.clock.getDelayedCalls()


def test_those_that_are_due_together_are_ended_together() -> None:
    stage = Stage()
    pool = a_pool(some_backends(1, 1, 1), affinity=AffinityConfig(), drain_timeout=10.0)
    a, b, c = pool.backends
    for backend in (a, b):
        pool.set_admin_state(backend, AdminState.DRAIN)
    pool.replace([a, b])
    forgotten: list[set[Backend]] = []

    def forget(backends: Collection[Backend], then: Callable[[], None]) -> None:
        forgotten.append(set(backends))
        then()

    pool.forget_clients = forget  # type: ignore[assignment, method-assign]
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


def many_clients(stage: Stage) -> Pool:
    """A pool whose clients all belong to its first backend, which drains; one of them is looked at last."""
    clock = stage.clock
    pool = a_pool(
        some_backends(1, 1), clock, timer=clock, affinity=AffinityConfig(ttl=600.0), drain_timeout=10.0
    )
    a, _ = pool.backends
    for number in range(2 * FORGOTTEN_AT_ONCE + 1):
        slot = pool.take(a, number.to_bytes(4, "big"))
        slot.connected(0.001)
        slot.release()
    pool.set_admin_state(a, AdminState.DRAIN)
    stage.drains.begin(pool, [a])
    return pool


LAST = (2 * FORGOTTEN_AT_ONCE).to_bytes(4, "big")


def test_sessions_end_when_the_last_client_is_forgotten() -> None:
    stage = Stage()
    pool = many_clients(stage)
    steps = []
    for seconds in (10, 0, 0):
        stage.clock.turn(seconds)
        steps.append((choices(pool, LAST), stage.ended[:]))
    assert steps == [("ab", []), ("ab", []), ("b", ["a"])]
    assert not stage.clock.getDelayedCalls()


@pytest.mark.parametrize("let_be", ["cancel", "stop"])
def test_one_that_gets_clients_again_while_clients_are_forgotten(let_be: str) -> None:
    stage = Stage()
    pool = many_clients(stage)
    stage.clock.turn(10)
    if let_be == "cancel":
        stage.drains.cancel(pool.backends[0])
    else:
        stage.drains.stop()
    assert stage.clock.run_out() == 2
    assert stage.ended == []
    assert not stage.clock.getDelayedCalls()
