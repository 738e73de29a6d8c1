"""Until when the sessions of backends may go on that an operator drains, in all workers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from typing import Any
from weakref import WeakSet

from tcpbalance.balancer import Balancer
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.backend_table import key_of
from tcpbalance.workers.messages import Message
from tcpbalance.workers.shared_state import ToWorker

_WORD = "drain_until"


class CommonDrains:
    """State that the supervisor shares: workers that begin later end the sessions at the same time.

    :param clock: seconds on a monotonic clock, that of the workers.
    """

    words: Collection[str] = ()

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Backend, tuple[Pool, float]] = {}
        self._watched: WeakSet[Pool] = WeakSet()
        self._workers: dict[ToWorker, None] = {}

    def limit(self, pool: Pool, backend: Backend, seconds: float) -> None:
        """Have the sessions of a backend that drains ended after a time, which may be infinite."""
        if pool not in self._watched:
            self._watched.add(pool)
            pool.subscribe(self._forget_others)
        until = self._clock() + seconds
        self._until[backend] = pool, until
        for worker in self._workers:
            worker.send(_message(pool, backend, until))

    def _forget_others(self, change: PoolChange) -> None:
        """Forget the backends that do not drain any more: they may drain again, without a limit."""
        for backend in (*change.removed, *change.changed):
            if backend.removed or backend.admin_state is AdminState.READY:
                self._until.pop(backend, None)

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        self._workers[worker] = None
        for backend, (pool, until) in self._until.items():
            worker.send(_message(pool, backend, until))

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``: nothing comes."""

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        self._workers.pop(worker, None)


def _message(pool: Pool, backend: Backend, until: float) -> dict[str, Any]:
    # JSON has no infinity.
    return {_WORD: None if until == inf else until, "pool": pool.name, "backend": key_of(backend)}


class FollowedDrains:
    """The same thing in a worker.

    :param balancer: has the sessions.
    :param clock: that of the supervisor.
    """

    words: Collection[str] = (_WORD,)

    def __init__(self, balancer: Balancer, clock: Callable[[], float]) -> None:
        self._balancer = balancer
        self._clock = clock

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"drain_until": float() | None as until, "pool": str(name), "backend": list(key)}:
                seconds = inf if until is None else max(0.0, until - self._clock())
                for pool in self._balancer.pools:
                    for backend in pool.backends if pool.name == name else ():
                        if key_of(backend) == key:
                            self._balancer.limit_drain(pool, backend, seconds)
