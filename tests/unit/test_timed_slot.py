"""What a pool with peak EWMA learns of requests."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from support.pools import described
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.slot import Slot
from tcpbalance.pool.timed_slot import TimedSlot


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> Pool:
    return a_pool(clock, balance="peak_ewma")


def a_pool(clock: Clock, **how: Any) -> Pool:
    return Pool("pool", ["10.0.0.1:80"], clock=clock.seconds, connect_timeout=3.0, **how)


def begun(pool: Pool) -> Slot:
    """Give the slot of a request that is sent on a connection that was open."""
    slot = pool.take_for_request(pool.backends[0], None)
    slot.reused()
    return slot


def answered(pool: Pool, clock: Clock, seconds: float, status: int = 200) -> None:
    """Have a request answered after some time."""
    slot = begun(pool)
    clock.advance(seconds)
    slot.responded(status)
    slot.release()


def average(pool: Pool, clock: Clock) -> float:
    return pool.backends[0].response_time.value(clock.seconds())


def test_the_head_of_a_response_ends_the_time(pool: Pool, clock: Clock) -> None:
    slot = begun(pool)
    clock.advance(0.25)
    slot.responded(200)
    assert average(pool, clock) == 0.25
    clock.advance(0.5)
    slot.release()
    assert average(pool, clock) < 0.25


def test_connecting_does_not_count(pool: Pool, clock: Clock) -> None:
    slot = pool.take_for_request(pool.backends[0], None)
    clock.advance(0.5)
    slot.connected(0.5)
    clock.advance(0.25)
    slot.responded(200)
    assert average(pool, clock) == 0.25
    assert pool.backends[0].connect_time.measured


def test_an_upload_does_not_count(pool: Pool, clock: Clock) -> None:
    slot = begun(pool)
    slot.request_unfinished()
    clock.advance(60.0)
    slot.request_sent()
    clock.advance(0.25)
    slot.responded(200)
    assert average(pool, clock) == 0.25


def test_an_upload_that_is_given_up_says_nothing(pool: Pool, clock: Clock) -> None:
    slot = begun(pool)
    slot.request_unfinished()
    clock.advance(60.0)
    slot.release()
    assert not pool.backends[0].response_time.measured


def test_a_request_that_ends_unanswered_has_taken_at_least_so_long(pool: Pool, clock: Clock) -> None:
    answered(pool, clock, 0.25)
    slot = begun(pool)
    clock.advance(60.0)
    slot.release()
    assert average(pool, clock) == 60.0


def test_one_that_ends_unanswered_soon_is_no_merit(pool: Pool, clock: Clock) -> None:
    answered(pool, clock, 0.25)
    stamp = clock.seconds()
    slot = begun(pool)
    clock.advance(0.01)
    slot.release()
    assert pool.backends[0].response_time.value(stamp) == 0.25


def test_an_error_that_comes_quickly_is_no_merit(pool: Pool, clock: Clock) -> None:
    answered(pool, clock, 0.25)
    stamp = clock.seconds()
    answered(pool, clock, 0.001, 503)
    assert pool.backends[0].response_time.value(stamp) == 0.25
    answered(pool, clock, 0.5, 503)
    assert average(pool, clock) == 0.5


def test_a_failure_costs_at_least_the_connect_timeout(pool: Pool, clock: Clock) -> None:
    slot = pool.take_for_request(pool.backends[0], None)
    slot.failed(0.001, "refused")
    slot.release()
    assert average(pool, clock) == 3.0


def test_connections_of_mode_tcp_are_not_timed_so(pool: Pool, clock: Clock) -> None:
    slot = pool.take(pool.backends[0], None)
    slot.connected(0.5)
    clock.advance(60.0)
    slot.release()
    assert not pool.backends[0].response_time.measured
    assert pool.backends[0].connect_time.measured


def test_for_other_policies_nothing_is_timed(clock: Clock) -> None:
    pool = a_pool(clock, balance=LeastConnections)
    assert type(begun(pool)) is Slot
    assert not pool.times_responses


def test_a_reload_counts_for_the_next_request(pool: Pool, clock: Clock) -> None:
    slot = begun(pool)
    pool.prepare_as(described(pool.backends, "pool", balance=LeastConnections))()
    assert type(begun(pool)) is Slot
    clock.advance(0.25)
    slot.responded(200)
    assert average(pool, clock) == 0.25
    pool.prepare_as(described(pool.backends, "pool", balance=PeakEwmaPolicy))()
    assert type(begun(pool)) is TimedSlot


class TestCost:
    def policy(self, pool: Pool) -> PeakEwmaPolicy:
        return PeakEwmaPolicy(pool.backends, pool._tools)

    def test_a_backend_that_serves_requests_costs_what_its_responses_take(
        self, pool: Pool, clock: Clock
    ) -> None:
        (backend,) = pool.backends
        backend.connect_time.observe(0.001, clock.seconds())
        backend.stats.requests_total += 1
        answered(pool, clock, 0.25)
        assert self.policy(pool)._cost(backend) == 0.25

    def test_before_its_first_response_it_costs_what_one_does_that_was_never_measured(
        self, pool: Pool, clock: Clock
    ) -> None:
        (backend,) = pool.backends
        backend.connect_time.observe(0.001, clock.seconds())
        backend.stats.requests_total += 1
        begun(pool)
        assert self.policy(pool)._cost(backend) == 2.0
