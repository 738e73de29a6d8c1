"""All workers end the sessions of a backend that drains at the same time, late ones, too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import pytest
from twisted.internet.task import Clock

from tcpbalance import Backend, Pool
from tcpbalance.pool.backend import AdminState
from tcpbalance.workers.common_drains import CommonDrains, FollowedDrains
from tcpbalance.workers.messages import Message


class MemoryWorker:
    """A worker with a pool of its own; see ``ToWorker``."""

    def __init__(self, place: int, clock: Clock) -> None:
        self.place = self.column = place
        self.pools = [a_pool()]
        self.limited: list[tuple[str, str, float]] = []
        balancer: Any = self
        self._followed = FollowedDrains(balancer, clock.seconds)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        self._followed.note(Message(json.loads(json.dumps(content, allow_nan=False))))

    def limit_drain(self, pool: Pool, backend: Backend, seconds: float) -> None:
        assert backend in pool.backends
        self.limited.append((pool.name, backend.name, seconds))


def a_pool() -> Pool:
    return Pool("web", [Backend("127.0.0.1:1", name="a"), Backend("127.0.0.1:2", name="b")])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_worker_gets_what_is_left_of_the_time(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    early, late = (MemoryWorker(place, clock) for place in (0, 1))
    drains.greet(early)
    pool.set_admin_state(pool.backends[1], AdminState.DRAIN)
    drains.limit(pool, pool.backends[1], 60.0)
    clock.advance(20)
    drains.greet(late)
    assert (early.limited, late.limited) == ([("web", "b", 60.0)], [("web", "b", 40.0)])


def test_one_that_comes_to_maintenance_keeps_its_time(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    b = pool.backends[1]
    pool.set_admin_state(b, AdminState.DRAIN)
    drains.limit(pool, b, 60.0)
    pool.set_admin_state(b, AdminState.MAINTENANCE)
    worker = MemoryWorker(0, clock)
    drains.greet(worker)
    assert worker.limited == [("web", "b", 60.0)]


def test_a_limit_that_is_taken_away_is_none_in_all_workers(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    early, late = (MemoryWorker(place, clock) for place in (0, 1))
    drains.greet(early)
    pool.set_admin_state(pool.backends[1], AdminState.DRAIN)
    drains.limit(pool, pool.backends[1], inf)
    drains.greet(late)
    assert early.limited == late.limited == [("web", "b", inf)]


def test_one_that_is_ready_again_is_forgotten(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    a, b = pool.backends
    for backend in (a, b):
        pool.set_admin_state(backend, AdminState.DRAIN)
        drains.limit(pool, backend, 60.0)
    pool.set_admin_state(a, AdminState.READY)
    pool.replace([a])
    worker = MemoryWorker(0, clock)
    drains.greet(worker)
    assert worker.limited == []


def test_the_deadline_of_an_earlier_drain_is_not_that_of_a_later_one(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    a = pool.backends[0]
    for state in (AdminState.DRAIN, AdminState.READY, AdminState.DRAIN):
        pool.set_admin_state(a, state)
        if not clock.seconds():
            drains.limit(pool, a, 60.0)
        clock.advance(1)
    worker = MemoryWorker(0, clock)
    drains.greet(worker)
    assert worker.limited == []


def test_one_that_has_ended_is_sent_nothing(clock: Clock) -> None:
    pool, drains = a_pool(), CommonDrains(clock.seconds)
    worker = MemoryWorker(0, clock)
    drains.greet(worker)
    drains.has_ended(worker)
    drains.limit(pool, pool.backends[0], 60.0)
    assert worker.limited == []
