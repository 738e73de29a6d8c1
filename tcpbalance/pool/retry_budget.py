"""How many connections of a pool may be on a further attempt at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

RETRY_SHARE = 0.2
MIN_RETRIES = 3
"""Of the connections that a pool has, a fifth may be retries under way, and three in any case: the defaults
of Envoy's ``retry_budget`` (its documentation, ``config.cluster.v3.CircuitBreakers``)."""

COOLING = 1.0
"""Seconds for which the part of a retry that came to nothing is kept back. Backends that refuse at once would
else see many more attempts in a second than there are retries at a time."""


class RetryBudget:
    """Keeps retries from doubling the load of an outage.

    A retry that succeeds gives its part back at once: connections that move on together because one backend
    has died are all served, one after the other.

    :param count_active: counts the connections of the pool.
    :param clock: the clock.
    """

    __slots__ = ("_clock", "_cooling", "_count_active", "_under_way")

    def __init__(self, count_active: Callable[[], int], clock: Callable[[], float]) -> None:
        self._count_active = count_active
        self._clock = clock
        self._under_way = 0
        self._cooling: deque[float] = deque()

    @property
    def taken(self) -> int:
        """How many parts are taken, or kept back."""
        now = self._clock()
        while self._cooling and self._cooling[0] <= now:
            self._cooling.popleft()
        return self._under_way + len(self._cooling)

    @property
    def has_capacity(self) -> bool:
        """Whether there is a part to be taken."""
        return self.taken < max(MIN_RETRIES, RETRY_SHARE * self._count_active())

    def take(self) -> bool:
        """Take part of the budget for one connection.

        :returns: whether there was any left; then it is to be given back when no more attempts follow.
        """
        if not self.has_capacity:
            return False
        self._under_way += 1
        return True

    def give_back(self, failed: bool) -> None:
        """Give back what one connection has taken.

        :param failed: whether no attempt of it succeeded.
        """
        self._under_way -= 1
        if failed:
            self._cooling.append(self._clock() + COOLING)
