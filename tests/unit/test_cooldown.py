"""The log of cooldowns: which backend refused, and for how long it is passed over."""

from __future__ import annotations

from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance.pool.cooldown import COOLDOWN
from tcpbalance.pool.pool import Pool


def fail(pool: Pool, number: int = 0) -> None:
    slot = pool.take(pool.backends[number], None)
    slot.failed(0.001, "refused")
    slot.release()


A, B = "backend a (10.1.0.1:80)", "backend b (10.1.0.2:80)"


def test_each_cooldown_is_one_line(lines: list[str]) -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, timer=clock)
    for _ in range(3):
        fail(pool)
    fail(pool, 1)
    assert lines == [f"pool web: {who}: refused; not used for 10 s" for who in (A, B)]
    clock.advance(COOLDOWN)
    fail(pool)
    assert lines[2:] == [f"pool web: {A}: refused; not used for 10 s"]
    assert clock.getDelayedCalls() == []


def test_where_there_are_checks_it_is_a_second(lines: list[str]) -> None:
    pool = a_pool(some_backends(1, 1), health="external")
    fail(pool)
    assert lines == [f"pool web: {A}: refused; not used for 1 s"]


def test_one_that_fails_every_other_dial_does_not_flood_the_log(lines: list[str]) -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, timer=clock)
    for _ in range(1000):
        fail(pool)
        pool.take(pool.backends[0], None).connected(0.001)
    assert len(lines) == 1
    clock.advance(10)
    assert lines[1:] == [f"pool web: {A}: refused; not used for 10 s (999 times)"]


def test_what_is_held_back_is_written_at_the_end(lines: list[str]) -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, timer=clock)
    for _ in range(2):
        fail(pool)
        pool.take(pool.backends[0], None).connected(0.001)
    pool.flush_logs()
    assert len(lines) == 2
    assert clock.getDelayedCalls() == []
