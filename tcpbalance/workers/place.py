"""One place of the supervisor's: a worker, and another one when that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from tcpbalance.proxy.backoff import backoff
from tcpbalance.workers.worker_process import Nursery, WorkerProcess

PROVEN_AFTER = 10.0
"""Seconds after which a worker is replaced at once when it ends; one that ends earlier after a pause, which
grows each time."""

Start = Callable[[int, Nursery, Callable[[WorkerProcess], None]], WorkerProcess]
"""Has a worker forked for a place, and greets it; the last is called with it when it has ended."""


class Place:
    """A worker, and after its end another one, until the place is closed.

    :param reactor: for the pauses.
    :param number: of the place, which is that of the worker for `owner`.
    :param start: has a worker forked.
    :param rng: gives numbers from 0 up to 1.
    :ivar process: the present one; None in a pause.
    :ivar closed: fires once the place is closed and its worker has ended.
    """

    def __init__(self, reactor: Any, number: int, start: Start, rng: Callable[[], float]) -> None:
        self.number = number
        self.process: WorkerProcess | None = None
        self.closed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._start = start
        self._rng = rng
        self._nursery: Nursery | None = None
        self._again: IDelayedCall | None = None
        self._began = 0.0
        self._times = 0
        self._closes = False

    @property
    def is_serving(self) -> bool:
        """Whether a worker accepts clients."""
        return self.process is not None and self.process.is_serving

    def begin(self, nursery: Nursery) -> None:
        """Have a worker forked, and another one each time that one has ended.

        Called again, have those to come forked by another nursery.
        """
        is_first = self._nursery is None
        self._nursery = nursery
        if is_first and not self._closes:
            self._fork()

    def _fork(self) -> None:
        self._again = None
        assert self._nursery is not None
        self._began = self._reactor.seconds()
        process = self._start(self.number, self._nursery, self._next)
        if self._again is None:  # It has not ended already.
            self.process = process

    def _next(self, _: WorkerProcess) -> None:
        """Have the next worker forked, at once where the last one has served for a while."""
        self.process = None
        if self._closes:
            self.closed.callback(None)
            return
        proven = self._reactor.seconds() - self._began >= PROVEN_AFTER
        self._times = 0 if proven else self._times + 1
        delay = 0.0 if proven else backoff(self._times - 1, self._rng)
        self._again = self._reactor.callLater(delay, self._fork)

    def close(self) -> None:
        """Let the worker end when its sessions have, and have none forked after it."""
        if self._closes:
            return
        self._closes = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self.process is None:
            self.closed.callback(None)
        else:
            self.process.drain()
