"""What the connections of a worker show of backends, reported to the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.backend_table import first_that_fit, key_of
from tcpbalance.workers.outcomes import MAX_SENT_CAUSE, Outcomes
from tcpbalance.workers.paced_messages import Content, PacedMessages


class FailureReports:
    """What is still to be reported of all pools.

    :param reactor: IReactorTime.
    :param say: sends the supervisor a message.
    """

    def __init__(self, reactor: Any, say: Callable[[Content], object]) -> None:
        self._outcomes: dict[Pool, dict[Backend, Outcomes]] = {}
        self._paced = PacedMessages(reactor, say, self._take)
        self.taken = self._paced.taken

    def of(self, pool: Pool) -> PoolReports:
        """Give what takes the reports of one pool."""
        return PoolReports(self, pool)

    def note(self, pool: Pool, backend: Backend) -> Outcomes:
        """Give what is still to be reported of a backend, to be added to."""
        self._paced.wake()
        return self._outcomes.setdefault(pool, {}).setdefault(backend, Outcomes())

    def _take(self) -> Content | None:
        for pool, outcomes in self._outcomes.items():
            parts = first_that_fit([key_of(backend), its.encode()] for backend, its in outcomes.items())
            for backend in list(outcomes)[: len(parts)]:
                del outcomes[backend]
            if not outcomes:
                del self._outcomes[pool]
            return {"failures": pool.name, "backends": parts}
        return None


@frozen
class PoolReports:
    """Takes the reports of one pool; see ``OutlierReports``.

    :param reports: of all pools.
    :param pool: the pool.
    """

    _reports: FailureReports
    _pool: Pool

    def failed(self, backend: Backend, cause: str) -> None:
        """See ``OutlierReports``."""
        self._reports.note(self._pool, backend).failed(cause)

    def answered(self, backend: Backend) -> None:
        """See ``OutlierReports``."""
        self._reports.note(self._pool, backend).succeeded()

    def found_slow(self, backend: Backend, cause: str) -> None:
        """See ``OutlierReports``."""
        self._reports.note(self._pool, backend).slow = cause[:MAX_SENT_CAUSE]
