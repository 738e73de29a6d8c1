"""Backends of a pool that are ejected, and come back."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from support.pools import a_pool, some_backends
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.net.tcp_info import NOTICEABLE
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.outlier import ENOUGH
from tcpbalance.pool.pool import Pool


def a_pool_that_ejects(
    count: int = 3, rules: dict[str, Any] | None = None, **settings: Any
) -> tuple[Pool, Clock]:
    clock = Clock()
    outlier = OutlierConfig(**{"consecutive_failures": 2, "eject_for": 30.0, **(rules or {})})
    return a_pool(some_backends(*[1] * count), clock, outlier=outlier, **settings), clock


def fail(pool: Pool, backend: Backend, times: int = 2, cause: str = "refused") -> None:
    for _ in range(times):
        slot = pool.take(backend, None)
        slot.failed(0.001, cause)
        slot.release()


def rotation(pool: Pool) -> str:
    return "".join(sorted({next(pool.selection.choices(None)).name for _ in range(20)}))


def test_it_is_out_of_rotation_for_its_time() -> None:
    pool, clock = a_pool_that_ejects()
    with capturedLogs() as events:
        fail(pool, pool.backends[0])
        assert (pool.backends[0].state, rotation(pool)) == ("ejected", "bc")
        clock.advance(29.9)
        assert rotation(pool) == "bc"
        clock.advance(0.2)
        assert (rotation(pool), pool.backends[0].state) == ("abc", "up")
    a = "pool web: backend a (10.1.0.1:80)"
    assert [formatEvent(event) for event in events] == [
        f"{a} is ejected for 30 s: consecutive failures, the last: refused",
        f"{a} is no longer ejected",
    ]


def test_it_does_not_rest_after_a_single_failure() -> None:
    pool, _ = a_pool_that_ejects()
    fail(pool, pool.backends[0], times=1)
    assert rotation(pool) == "abc"


def test_slow_ones_are_ejected_too() -> None:
    pool, _ = a_pool_that_ejects(rules={"slow_factor": 5})
    with capturedLogs() as events:
        for _ in range(ENOUGH):
            for backend in pool.backends:
                pool.take(backend, None).took(0.01, NOTICEABLE)
        for _ in range(2):
            pool.take(pool.backends[2], None).took(0.2, NOTICEABLE)
    assert rotation(pool) == "ab"
    (line,) = map(formatEvent, events)
    assert line.endswith(" is ejected for 30 s: slow, 200.0 ms to connect, the median is 10.0 ms")


def test_where_it_is_checked_a_check_has_to_pass_besides() -> None:
    pool, clock = a_pool_that_ejects(health="external")
    ill = pool.backends[0]
    fail(pool, ill)
    pool.passed_a_check(ill)
    assert ill.ejected
    clock.advance(31)
    assert rotation(pool) == "bc"
    pool.passed_a_check(pool.backends[1])
    assert rotation(pool) == "bc"
    pool.passed_a_check(ill)
    assert rotation(pool) == "abc"


def test_health_and_ejection_are_separate_facts() -> None:
    pool, clock = a_pool_that_ejects()
    ill = pool.backends[0]
    fail(pool, ill)
    pool.mark_down(ill, "status 503")
    assert ill.state == "down"
    pool.mark_up(ill)
    assert ill.state == "ejected"
    clock.advance(31)
    assert rotation(pool) == "abc"


def test_at_least_one_stays() -> None:
    pool, _ = a_pool_that_ejects(rules={"max_ejected": 1.0})
    for backend in pool.backends:
        fail(pool, backend, times=5)
    assert [backend.state for backend in pool.backends] == ["ejected", "ejected", "up"]


def test_the_one_that_stays_is_one_that_can_serve() -> None:
    pool, _ = a_pool_that_ejects(rules={"max_ejected": 1.0})
    pool.mark_down(pool.backends[1], "refused")
    pool.set_admin_state(pool.backends[2], AdminState.DRAIN)
    fail(pool, pool.backends[0], times=5)
    assert rotation(pool) == "a"


def test_those_that_are_ejected_serve_when_nobody_else_is_left() -> None:
    pool, _ = a_pool_that_ejects(2)
    fail(pool, pool.backends[0])
    assert rotation(pool) == "b"
    pool.mark_down(pool.backends[1], "refused")
    assert rotation(pool) == "a"
    pool.mark_up(pool.backends[1])
    assert rotation(pool) == "b"


def test_no_more_than_may_be_are_ejected_and_then_the_next_one_is() -> None:
    pool, clock = a_pool_that_ejects(4)
    for backend in pool.backends[:3]:
        fail(pool, backend)
    assert rotation(pool) == "cd"
    clock.advance(31)
    assert rotation(pool) == "abcd"
    fail(pool, pool.backends[2], times=1)  # it has not answered since
    assert rotation(pool) == "abd"


def test_failures_of_one_that_is_ejected_do_not_count() -> None:
    pool, clock = a_pool_that_ejects()
    open_before = pool.take(pool.backends[0], None)
    fail(pool, pool.backends[0])
    for _ in range(10):
        open_before.failed(0.001, "reset")
    clock.advance(31)
    assert rotation(pool) == "abc"
    fail(pool, pool.backends[0], times=1)
    assert rotation(pool) == "abc"


def test_one_that_comes_back_starts_slowly() -> None:
    pool, clock = a_pool_that_ejects(slow_start=30.0)
    clock.advance(31)
    assert rotation(pool) == "abc"
    fail(pool, pool.backends[0])
    clock.advance(31)
    first = []
    for _ in range(30):
        slot = pool.take(next(pool.selection.choices(None)), None)
        first.append(slot.backend.name)
        slot.release()
    assert first.count("a") == 1


def test_two_that_are_due_together_come_back_once_each() -> None:
    """Also where somebody waits who then looks for room himself."""
    pool, clock = a_pool_that_ejects(4, queue=5)
    for backend in pool.backends:
        backend.max_connections = 1
    for backend in pool.backends[:2]:
        fail(pool, backend)
    for backend in pool.backends[2:]:
        pool.take(backend, None)
    waiter = Waiting(pool)
    assert pool.queue is not None
    assert pool.queue.join(waiter)
    clock.advance(31)
    with capturedLogs() as events:
        pool.queue.serve()
    assert [formatEvent(event) for event in events] == [
        f"pool web: backend {backend.described} is no longer ejected" for backend in pool.backends[:2]
    ]
    assert waiter.served


class Waiting:
    """Takes the first slot that it is offered."""

    client: bytes | None = None

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.served = False

    def its_turn(self) -> None:
        self.pool.take(next(self.pool.selection.choices(None)), None)
        self.served = True

    def look_soon(self) -> None:
        raise AssertionError

    def displaced(self) -> None:
        raise AssertionError
