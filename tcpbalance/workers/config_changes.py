"""Another configuration comes to all workers or to none: all prepare it, and then all of them commit it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from twisted.internet.defer import Deferred, succeed

from tcpbalance.errors import TcpbalanceError
from tcpbalance.workers.messages import Message
from tcpbalance.workers.shared_state import ToWorker

MAX_ENDS = 2
"""Ends of workers while they prepare a configuration, at which it is refused: it may be what
has ended them. One worker may be killed for another reason."""


class RefusedError(TcpbalanceError):
    """A worker cannot serve by another configuration; the text says why."""


class _Round:
    """One question to some workers, until each has answered or has ended.

    :param asked: the workers.
    """

    def __init__(self, asked: Iterable[ToWorker]) -> None:
        self.asked = list(asked)
        self.over: Deferred[None] = Deferred()
        self._ends = 0
        self._look()

    def answered(self, worker: ToWorker) -> None:
        """Take note of an answer, or of the end of a worker."""
        if worker in self.asked:
            self.asked.remove(worker)
            self._look()

    def refused(self, worker: ToWorker, error: str) -> None:
        """Take note that a worker cannot do what is asked."""
        if worker in self.asked:
            self._refuse(f"worker {worker.place}: {error}")

    def has_ended(self, worker: ToWorker) -> None:
        """Take note that a worker has ended while it prepared; another one may be asked in its place."""
        if worker in self.asked:
            self._ends += 1
            if self._ends >= MAX_ENDS:
                self._refuse(f"worker {worker.place} has ended while it prepared the configuration")
        self.answered(worker)

    def _refuse(self, why: str) -> None:
        if not self.over.called:
            self.over.errback(RefusedError(why))

    def _look(self) -> None:
        if not self.asked and not self.over.called:
            self.over.callback(None)


class ConfigChanges:
    """The changes of the configuration, one at a time; see `SharedState`."""

    words: Collection[str] = ("prepared", "refused", "committed")

    def __init__(self) -> None:
        self._number = 0
        self._ask: Callable[[ToWorker], None] | None = None
        self._round: _Round | None = None
        self._workers: list[ToWorker] = []

    def prepare(self, workers: Iterable[ToWorker], send: Callable[[ToWorker], None]) -> Deferred[None]:
        """Have workers prepare a configuration.

        :param send: sends one of them what it has to prepare.
        :returns: fires when all have; fails with `RefusedError` when one cannot. It is to be committed or
            abandoned then.
        """
        self._number += 1
        self._workers = []
        self._round = _Round(())
        self._ask = send
        workers = list(workers)
        if not workers:
            return succeed(None)
        self._round = _Round(workers)
        for worker in workers:
            self._prepare(worker)
        return self._round.over

    def _prepare(self, worker: ToWorker) -> None:
        assert self._ask is not None
        self._workers.append(worker)
        self._ask(worker)
        worker.send({"prepare": self._number})

    def include(self, worker: ToWorker) -> None:
        """Have a worker take part that was started in the middle of a change, with the configuration before
        it."""
        if self._ask is not None and self._round is not None and not self._round.over.called:
            self._round.asked.append(worker)
            self._prepare(worker)

    def commit(self) -> Deferred[None]:
        """Have all workers serve by what they have prepared.

        :returns: fires when they do.
        """
        self._ask = None
        self._round = _Round(self._workers)
        over = self._round.over
        for worker in self._workers:
            worker.send({"commit": self._number})
        return over

    def abandon(self) -> None:
        """Have all workers stay with what they have."""
        self._ask = self._round = None
        for worker in self._workers:
            worker.send({"abandon": self._number})

    def greet(self, worker: ToWorker) -> None:
        """See `SharedState`: the configuration comes before all else."""

    def note(self, worker: ToWorker, message: Message) -> None:
        """See `SharedState`."""
        if self._round is None:
            return
        match message.content:
            case {"prepared": number} | {"committed": number} if number == self._number:
                self._round.answered(worker)
            case {"refused": number, "error": str(error)} if number == self._number:
                self._round.refused(worker, error)

    def has_ended(self, worker: ToWorker) -> None:
        """See `SharedState`: it is asked no more."""
        self._forget(worker)
        if self._round is None:
            return
        if self._ask is None:
            self._round.answered(worker)
        else:
            self._round.has_ended(worker)

    def leaves(self, worker: ToWorker) -> None:
        """Take note that a worker drains: it stays with what it has, and is asked no more."""
        self._forget(worker)
        if self._round is not None:
            self._round.answered(worker)

    def _forget(self, worker: ToWorker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
