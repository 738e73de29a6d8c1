"""One place of the supervisor's: a worker, and another one when that has ended or is to be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall

from tcpbalance.event import failure_of
from tcpbalance.proxy.backoff import backoff
from tcpbalance.workers.heartbeat import START_WITHIN
from tcpbalance.workers.nursery_process import NoWorkerError
from tcpbalance.workers.shortage import reason_of
from tcpbalance.workers.troubles import Troubles
from tcpbalance.workers.worker_process import Nursery, Stage, WorkerProcess

PROVEN_AFTER = 1.0
"""Seconds of serving after which a worker is replaced at once when it ends; one that ends earlier after a
pause, which grows each time."""

COLUMNS_A_PLACE = 4
"""Processes that a place may have, each of which counts in a column of its own: one that serves, and others
that drain or take over."""

TAKES_OVER_WITHIN = 60.0
"""Seconds that a worker which is to take over may take until it could accept clients."""

LATE_FACTOR = 3.0
"""A worker that none serves beside is late after so many times the seconds that the last one took to become
ready: it may have been stopped."""

MAX_STARTING = 3
"""Workers of a place that start at the same time while none serves."""

Make = Callable[[int, int, Nursery], WorkerProcess]
"""Makes the process of a place, with its column; it is not forked yet. Where the system has no more
descriptors, it raises OSError."""

OnServing = Callable[[WorkerProcess, WorkerProcess | None], None]


class Place:
    """A worker, and after its end another one, until the place is closed.

    Where none serves and the next one is late to become ready, another one is started beside it. The one that
    is ready first serves; others are ended, but for one that is to take over and was started later.

    A worker that is replaced reports the clients that it has, and accepts no more, before its successor
    accepts any. Those that come in between wait in the sockets, which both have.

    :param reactor: for the pauses.
    :param number: of the place, which is that of the worker for `owner`.
    :param make: makes a process.
    :param rng: gives numbers from 0 up to 1.
    :param on_serving: called with each worker that begins to accept clients, and the one that has until then;
        None where there is none.
    :ivar processes: in the order in which they were forked; the last is the present one, or takes over.
    :ivar closed: fires once the place is closed and its processes have ended.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        make: Make,
        rng: Callable[[], float],
        on_serving: OnServing,
    ) -> None:
        self.number = number
        self.processes: list[WorkerProcess] = []
        self.closed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._make = make
        self._rng = rng
        self._on_serving = on_serving
        self._nursery: Nursery | None = None
        self._successor: WorkerProcess | None = None
        self._replaced: Deferred[None] = Deferred()
        self._again: IDelayedCall | None = None
        self._too_late: IDelayedCall | None = None
        self._served_from: float | None = None
        self._server: WorkerProcess | None = None
        self._forked_at = 0.0
        self._start_took = START_WITHIN
        self._starting = 0
        self._times = 0
        self._closes = False
        self._troubles = Troubles(number, reactor.seconds)

    @property
    def process(self) -> WorkerProcess | None:
        """The one that serves, else the one that will; None in a pause."""
        current = self.current()
        return current[0] if current else None

    @property
    def is_serving(self) -> bool:
        """Whether a worker accepts clients."""
        return any(process.stage is Stage.SERVING for process in self.processes)

    @property
    def is_full(self) -> bool:
        """Whether no other process may be forked, because so many drain."""
        return len(self.processes) >= COLUMNS_A_PLACE

    def current(self) -> list[WorkerProcess]:
        """Give those that do not drain: the one that serves, before the one that takes over."""
        return [process for process in self.processes if not process.drains]

    def begin(self, nursery: Nursery) -> None:
        """Have a worker forked, and another one each time that one has ended.

        Called again, have those to come forked by another nursery.
        """
        is_first = self._nursery is None
        self._have_forked_by(nursery)
        if is_first and not self._closes:
            self._fork()

    def _have_forked_by(self, nursery: Nursery) -> None:
        self._nursery = nursery

    def _fork(self) -> None:
        self._again = None
        self._times += 1
        assert self._nursery is not None
        if self.current():
            self.report("its process is not ready to accept clients in time")
        try:
            process = self._make_process(self._nursery)
        except NoWorkerError as error:
            self.report(str(error), str(error))
        else:
            process.start()
        self._fork_where_none_serves()

    def _make_process(self, nursery: Nursery) -> WorkerProcess:
        """Make another process.

        :raises NoWorkerError: the system has no more descriptors.
        """
        self._forked_at = self._reactor.seconds()
        used = {process.column for process in self.processes}
        first = self.number * COLUMNS_A_PLACE
        column = next(column for column in range(first, first + COLUMNS_A_PLACE) if column not in used)
        try:
            process = self._make(self.number, column, nursery)
        except OSError as error:
            raise NoWorkerError(f"worker {self.number} cannot be started: {reason_of(error)}") from error
        self.processes.append(process)
        return process

    def replace(self, nursery: Nursery) -> Deferred[None]:
        """Have the worker replaced by one of another nursery, which forks those to come, too.

        :returns: fires when the other one accepts clients. Fails with `NoWorkerError` where it does not
            become ready, or too many processes drain; the present one goes on then.
        """
        if self._successor is not None or self._closes or self.is_full:
            return fail(NoWorkerError(f"worker {self.number} cannot be replaced now"))
        try:
            successor = self._make_process(nursery)
        except NoWorkerError as error:
            return fail(error)
        for process in self.current():
            if not process.is_greeted and process is not successor:
                # It may come behind its successor, and is not needed any more.
                process.drain()
        replaced = self._replaced = Deferred()
        self._successor = successor
        why = f"was not ready to accept clients within {TAKES_OVER_WITHIN:g} s"
        self._too_late = self._reactor.callLater(TAKES_OVER_WITHIN, successor.kill, why)
        successor.start()
        self._fork_where_none_serves()
        return replaced.addCallback(lambda _: self._have_forked_by(nursery))

    def _settle(self, outcome: NoWorkerError | None) -> None:
        """The successor serves, or will not."""
        self._successor = None
        if self._too_late is not None and self._too_late.active():
            self._too_late.cancel()
        self._replaced.callback(outcome if outcome is None else failure_of(outcome))

    def _pause_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    # What processes do

    def has_changed(self, process: WorkerProcess) -> None:
        """One is ready to accept clients, or drains."""
        if process.stage is Stage.READY:
            # One that was stopped meanwhile says little about others.
            took = self._reactor.seconds() - self._forked_at
            self._start_took = min(took, 2 * self._start_took)
        if process is self._successor and process.drains:
            why = process.why_ended or "it has got SIGTERM before it could serve"
            self._settle(NoWorkerError(f"worker {self.number}: {why}"))
        self._fork_where_none_serves()
        self._look()

    def _look(self) -> None:
        """Let the last one that is ready accept clients, once the one that does has reported its own."""
        ready = next((it for it in reversed(self.processes) if it.stage is Stage.READY), None)
        if ready is None or self._closes:
            return
        for process in self.processes:
            if process.stage is Stage.SERVING:
                process.hand_over()
        if any(process.stage is Stage.HANDING_OVER for process in self.processes):
            return
        before, self._server = self._server, ready
        self._served_from = self._reactor.seconds()
        ready.accept()
        if ready is self._successor:
            self._settle(None)
        self._end_those_too_late(ready)
        self._on_serving(ready, before)

    def _end_those_too_late(self, ready: WorkerProcess) -> None:
        """End those that start still, and are not to take over from the one that accepts clients now."""
        started_before = self.processes[: self.processes.index(ready)]
        for process in self.current():
            # One that was started before it would not learn which clients it has.
            if process is ready or (process is self._successor and process not in started_before):
                continue
            process.drain()
            process.kill("was not ready before another one")
            if process is self._successor:
                why = "another one was ready before, and the one that was to be replaced has ended"
                self._settle(NoWorkerError(f"worker {self.number}: {why}"))

    def has_ended(self, ended: WorkerProcess) -> None:
        """One has ended: have another one forked where none is left that serves or will."""
        self.processes.remove(ended)
        if ended is self._server:
            self._server = None
        if self._is_proven():
            self._troubles.are_over()
        if ended.reported:
            self.report(ended.reported, f"{ended.name} {ended.reported}")
        if ended is self._successor:
            self._settle(NoWorkerError(f"worker {self.number}: {ended.why_ended}"))
        if self._closes:
            if not self.processes:
                self.closed.callback(None)
        else:
            self._fork_where_none_serves()
            self._look()

    def _fork_where_none_serves(self) -> None:
        """Fork another one where none serves or could: at once where the last one has served for a while, and
        beside those that start where they are late."""
        current = self.current()
        if self._closes or any(process.stage is not Stage.STARTING for process in current):
            self._pause_no_more()
            return
        if self._is_proven():
            self._times = 0
        self._served_from = None
        if self._again is not None and len(current) == self._starting:
            return
        self._pause_no_more()
        # One of those that drain, or start, ends at some time.
        if not self.is_full and len(current) < MAX_STARTING:
            self._starting = len(current)
            self._again = self._reactor.callLater(self._delay(), self._fork)

    def _delay(self) -> float:
        """Give the seconds until another one is forked."""
        if not self._starting:
            return backoff(self._times - 1, self._rng) if self._times else 0.0
        late_after = max(LATE_FACTOR * self._start_took, backoff(self._times + 1, self._rng))
        passed: float = self._reactor.seconds() - self._forked_at
        return max(0.0, late_after - passed)

    def _is_proven(self) -> bool:
        """Whether the last worker has served for a while."""
        return self._served_from is not None and self._reactor.seconds() - self._served_from >= PROVEN_AFTER

    def report(self, reason: str, text: str = "") -> None:
        """See ``Troubles``."""
        self._troubles.report(reason, text, serves=self.is_serving or self._closes)

    def close(self) -> None:
        """Let the workers end when their sessions have, and have none forked after them."""
        if self._closes:
            return
        self._closes = True
        self._pause_no_more()
        if not self.processes:
            self.closed.callback(None)
        for process in self.processes:
            process.drain()
