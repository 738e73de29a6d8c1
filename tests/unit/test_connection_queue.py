"""Those who wait have their turn when there is room for them, and are not asked in vain."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.connection_queue import LOOK_EVERY, ConnectionQueue
from tcpbalance.pool.pool import Pool

ANNE, BOB = b"\xc0\0\2\1", b"\xc0\0\2\2"


class Waiting:
    """Takes the first slot that it is offered."""

    def __init__(self, pool: Pool, client: bytes | None) -> None:
        self.pool = pool
        self.client = client
        self.backend: Backend | None = None

    def its_turn(self) -> None:
        self.backend = next(self.pool.selection.choices(self.client))
        self.pool.take(self.backend, self.client)

    def look_soon(self) -> None:
        raise AssertionError

    def displaced(self) -> None:
        raise AssertionError


def a_full_pool(limit: int = 1, **settings: Any) -> tuple[Pool, ConnectionQueue, Clock]:
    """Two backends, a and b, without room."""
    clock = Clock()
    backends = some_backends(1, 1)
    for backend in backends:
        backend.max_connections = backend.active = limit
    affinity = AffinityConfig(ttl=600.0, max_entries=100)
    pool = a_pool(backends, clock, queue=100, affinity=affinity, **settings)
    assert pool.queue is not None
    return pool, pool.queue, clock


def wait(pool: Pool, *clients: bytes | None) -> list[Waiting]:
    waiting = [Waiting(pool, client) for client in clients]
    assert pool.queue is not None
    assert all(map(pool.queue.join, waiting))
    return waiting


def is_home(pool: Pool, number: int, client: bytes) -> None:
    assert pool.affinity is not None
    pool.affinity.opened(client, pool.backends[number])


def names(waiting: list[Waiting]) -> list[str | None]:
    return [None if waiter.backend is None else waiter.backend.name for waiter in waiting]


def test_all_have_their_turn_for_whom_there_is_room() -> None:
    pool, queue, _ = a_full_pool(limit=3)
    pool.mark_down(pool.backends[0], "refused")
    waiting = wait(pool, ANNE, BOB, ANNE, BOB)
    pool.backends[0].active = 0
    pool.mark_up(pool.backends[0])
    assert names(waiting) == ["a", "a", "a", None]
    assert len(queue) == 1


def test_a_stand_in_is_a_home_too() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    is_home(pool, 1, ANNE)
    waiting = wait(pool, ANNE)
    pool.backends[1].active = 0
    pool.queue.serve()
    assert names(waiting) == ["b"]


def test_who_is_at_home_at_one_that_is_drained_waits_for_it() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    waiting = wait(pool, ANNE, BOB)
    pool.set_admin_state(pool.backends[0], AdminState.DRAIN)
    pool.backends[0].active = 0
    pool.queue.serve()
    assert names(waiting) == ["a", None]


def test_nobody_is_asked_twice_about_the_same_room() -> None:
    """A thousand who wait for one backend must not be asked at each connection of the other."""
    pool, queue, clock = a_full_pool()
    is_home(pool, 0, ANNE)
    wait(pool, *[ANNE] * 50)
    asked = 0
    lookup = pool.affinity.lookup

    def count(client: bytes) -> Any:
        nonlocal asked
        asked += 1
        return lookup(client)

    pool.affinity.lookup = count  # type: ignore[method-assign]
    pool.backends[1].active = 0
    pool.queue.serve()
    assert asked == 1  # they are one line
    for _ in range(10):
        pool.queue.serve()
    assert asked == 1
    for _ in range(10):
        queue.look()
    assert asked == 2
    clock.advance(LOOK_EVERY)
    queue.look()
    assert asked == 3


def test_who_joins_later_is_asked() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    wait(pool, ANNE)
    pool.backends[1].active = 0
    pool.queue.serve()
    waiting = wait(pool, BOB)
    pool.queue.serve()
    assert names(waiting) == ["b"]


def test_who_loses_the_home_is_asked_again() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    waiting = wait(pool, ANNE)
    pool.backends[1].active = 0
    pool.queue.serve()
    assert names(waiting) == [None]
    pool.mark_down(pool.backends[0], "refused")
    assert names(waiting) == ["b"]


def test_one_that_rests_is_no_room_while_others_may_have_some() -> None:
    pool, _, _ = a_full_pool()
    waiting = wait(pool, ANNE)
    slot = pool.take(pool.backends[0], None)
    slot.failed(0.001, "refused")
    pool.backends[0].active = 1
    slot.release()
    assert names(waiting) == [None]
    pool.mark_down(pool.backends[1], "refused")
    assert names(waiting) == ["a"]


def rest(pool: Pool, number: int) -> None:
    """Have a connection to a backend fail, and leave it room for one."""
    backend = pool.backends[number]
    backend.active -= 1
    slot = pool.take(backend, None)
    slot.failed(0.001, "refused")
    slot.release()


def test_who_is_at_home_at_one_that_rests_goes_where_a_newcomer_would() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    waiting = wait(pool, ANNE)
    rest(pool, 0)
    assert names(waiting) == [None]
    pool.backends[1].active = 0
    pool.queue.serve()
    assert names(waiting) == ["b"]


def test_a_home_that_begins_to_rest_is_waited_for_no_longer() -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    waiting = wait(pool, ANNE)
    pool.backends[1].active = 0
    pool.queue.serve()
    assert names(waiting) == [None]
    rest(pool, 0)
    assert names(waiting) == ["b"]


@pytest.mark.parametrize("others", ["down", "cooling_down"])
def test_a_home_that_is_drained_and_rests_is_better_than_none(others: str) -> None:
    pool, _, _ = a_full_pool()
    is_home(pool, 0, ANNE)
    waiting = wait(pool, ANNE)
    pool.set_admin_state(pool.backends[0], AdminState.DRAIN)
    rest(pool, 0)
    assert names(waiting) == [None]
    if others == "down":
        pool.mark_down(pool.backends[1], "refused")
    else:
        rest(pool, 1)
        pool.backends[1].active = 1
        pool.queue.serve()
    assert names(waiting) == ["a"]
