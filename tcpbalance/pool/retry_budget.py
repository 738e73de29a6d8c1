"""How many connections of a pool may be on their second try at once."""

from __future__ import annotations

from collections.abc import Sequence

from tcpbalance.pool.backend import Backend

SHARE = 0.2
LEAST = 3
"""Of the connections that a pool has, a fifth may be retries under way, and three in any case: the defaults
of Envoy's ``retry_budget`` (its documentation, ``config.cluster.v3.CircuitBreakers``)."""


class RetryBudget:
    """Keeps retries from doubling the load of an outage: with the budget spent, who fails has failed.

    :param backends: of the pool.
    :ivar under_way: retries that have taken their part of it, and not given it back.
    """

    __slots__ = ("_backends", "under_way")

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self.under_way = 0

    def take(self) -> bool:
        """Take part of the budget for one retry.

        :returns: whether there was any left; then it is to be given back when the retry is over.
        """
        running = sum(backend.active for backend in self._backends)
        if self.under_way >= max(LEAST, SHARE * running):
            return False
        self.under_way += 1
        return True

    def give_back(self) -> None:
        """Give back what one retry has taken."""
        self.under_way -= 1
