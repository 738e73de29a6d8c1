"""A fifth of the connections may be retries, and three in any case."""

from __future__ import annotations

from support.pools import some_backends
from tcpbalance.pool.retry_budget import RetryBudget


def taken(active: int) -> int:
    """How many retries can be under way at once beside so many connections."""
    backends = some_backends(1, 1)
    backends[0].active, backends[1].active = active // 2, active - active // 2
    budget = RetryBudget(backends)
    while budget.take():
        pass
    return budget.under_way


def test_the_bound() -> None:
    assert [taken(active) for active in (0, 10, 15, 16, 20, 100, 1000)] == [3, 3, 3, 4, 4, 20, 200]


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = RetryBudget(some_backends(1))
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    budget.give_back()
    assert [budget.take() for _ in range(2)] == [True, False]
