"""A fifth of the connections may be retries, and three in any case."""

from __future__ import annotations

from twisted.internet.task import Clock

from tcpbalance.pool.retry_budget import COOLING, RetryBudget


def a_budget(active: int = 0, clock: Clock | None = None) -> RetryBudget:
    return RetryBudget(lambda: active, (clock or Clock()).seconds)


def taken(active: int) -> int:
    """How many retries can be under way at once beside so many connections."""
    budget = a_budget(active)
    while budget.take():
        pass
    return budget.taken


def test_the_bound() -> None:
    assert [taken(active) for active in (0, 10, 15, 16, 20, 100, 1000)] == [3, 3, 3, 4, 4, 20, 200]


def test_what_has_succeeded_can_be_taken_again() -> None:
    budget = a_budget()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    budget.give_back(failed=False)
    assert [budget.take() for _ in range(2)] == [True, False]


def test_what_has_failed_can_be_taken_a_second_later() -> None:
    clock = Clock()
    budget = a_budget(clock=clock)
    for _ in range(3):
        budget.take()
    budget.give_back(failed=True)
    clock.advance(COOLING / 2)
    budget.give_back(failed=True)
    assert (budget.taken, budget.take()) == (3, False)
    clock.advance(COOLING / 2)
    assert (budget.taken, budget.take(), budget.take()) == (2, True, False)
    clock.advance(COOLING)
    assert budget.taken == 2
