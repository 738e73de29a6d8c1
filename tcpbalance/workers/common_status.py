"""The status of backends, for the workers; and what their connections show, for the supervisor."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.backend_status import BackendStatus
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.backend_table import MAX_PART, encoded_size, first_that_fit, key_of
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.messages import Message
from tcpbalance.workers.outcomes import MAX_SENT_CAUSE, Outcomes
from tcpbalance.workers.paced_messages import Content, PacedMessages
from tcpbalance.workers.shared_state import ToWorker


class CommonStatus:
    """State that the supervisor shares: all workers know the status of its backends, and report what fails.

    :param reactor: IReactorTime.
    :param pools: the supervisor's.
    """

    words: Collection[str] = ("statuses_taken", "failures")

    def __init__(self, reactor: Any, pools: CommonPools) -> None:
        self._reactor = reactor
        self._pools = pools
        self._receivers: dict[ToWorker, _Receiver] = {}
        pools.subscribe(self._note_change, self._note_time_over)

    def greet(self, worker: ToWorker) -> None:
        """Send the status of all backends."""
        receiver = self._receivers[worker] = _Receiver(self._reactor, worker, self._pools)
        for pool in self._pools.pools:
            receiver.note(pool, pool.backends)
        receiver.paced.send_all()

    def send_all(self) -> None:
        """Send what has changed at once, before whatever follows from it."""
        for receiver in self._receivers.values():
            receiver.paced.send_all()

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        receiver = self._receivers.pop(worker, None)
        if receiver is not None:
            receiver.paced.close()

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        match message.content:
            case {"statuses_taken": _} if worker in self._receivers:
                self._receivers[worker].paced.taken()
            case {"failures": pool, "backends": reports}:
                try:
                    self._note_failures(self._pools.find(pool), reports)
                finally:
                    worker.send({"failures_taken": True})

    def _note_change(self, pool: Pool, backends: Iterable[Backend]) -> None:
        for receiver in self._receivers.values():
            receiver.note(pool, backends)
            receiver.paced.wake()

    def _note_time_over(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Have sessions ended: a worker that drains itself does not know when the backends began to."""
        for receiver in self._receivers.values():
            receiver.note_time_over(pool, backends)
            receiver.paced.wake()

    def _note_failures(self, pool: Pool | None, reports: Iterable[tuple[list[str], list[Any]]]) -> None:
        if pool is None or not isinstance(pool.ejections, Ejections):
            return
        table = self._pools.table(pool)
        for key, outcomes in reports:
            backend = table.get(key)
            if backend is not None:
                before = backend.host_stats.failures
                Outcomes(*outcomes).report_to(pool.ejections, backend)
                if not before and backend.host_stats.failures:
                    # The next first byte ends the row, whichever worker it comes to.
                    self._note_change(pool, [backend])


class _Receiver:
    """What one worker has not been sent yet.

    :ivar paced: sends it.
    """

    def __init__(self, reactor: Any, worker: ToWorker, pools: CommonPools) -> None:
        self._pools = pools
        self._changed: dict[Pool, dict[Backend, None]] = {}
        self._time_over: dict[tuple[str, ...], None] = {}
        self.paced = PacedMessages(reactor, worker.send, self._take)

    def note(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Take note of backends whose status is another; none where something about the pool is different."""
        self._changed.setdefault(pool, {}).update(dict.fromkeys(backends))

    def note_time_over(self, pool: Pool, backends: Iterable[Backend]) -> None:
        """Take note of backends for whose sessions the time is over."""
        self._time_over.update(dict.fromkeys((pool.name, *key_of(backend)) for backend in backends))

    def _take(self) -> Content | None:
        return self._take_time_over() or self._take_statuses()

    def _take_time_over(self) -> Content | None:
        taken = first_that_fit(self._time_over)
        for one in taken:
            del self._time_over[one]
        return {"drained": taken} if taken else None

    def _take_statuses(self) -> Content | None:
        pools: list[Any] = []
        size = 0
        while self._changed and size < MAX_PART:
            pool = next(iter(self._changed))
            if self._pools.has(pool):
                pools.append(self._part(pool, MAX_PART - size))
                size += encoded_size(pools[-1])
            else:
                del self._changed[pool]
        return {"statuses": pools} if pools else None

    def _part(self, pool: Pool, limit: int) -> list[Any]:
        """Give as much of a pool as is short enough."""
        changed = {backend: None for backend in self._changed.pop(pool) if not backend.removed}
        parts = first_that_fit(map(_encode, changed), limit)
        for backend in list(changed)[: len(parts)]:
            del changed[backend]
        if changed:
            self._changed[pool] = changed
        # What waits for the first checks waits for all of this, too.
        return [pool.name, not changed and self._pools.are_known(pool), parts]


def _encode(backend: Backend) -> list[Any]:
    return [key_of(backend), encode_status(BackendStatus.of(backend)), backend.host_stats.failures > 0]


def encode_status(status: BackendStatus) -> list[Any]:
    """Give it as a part of a message."""
    cause = status.cause[:MAX_SENT_CAUSE]
    since = status.available_since
    return [status.up, status.awaits_check, status.ejected, status.admin_state.value, cause, since]
