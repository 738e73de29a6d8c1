"""A rolling restart: the worker of each place is replaced, one place after the other, or all stay."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.workers.nurseries import Nurseries
from tcpbalance.workers.nursery_process import NoWorkerError, NurseryProcess
from tcpbalance.workers.worker_process import Nursery


class Replaceable(Protocol):
    """See ``place.Place``."""

    number: int

    @property
    def is_full(self) -> bool: ...
    def replace(self, nursery: Nursery) -> Deferred[None]: ...


class RollingRestart:
    """Replaces the workers of all places by those of a new nursery, which has the program as it is on disk.

    No client is refused, and no session ends. Where the new ones cannot serve, all stays as it was.

    :param places: of the workers.
    :param nurseries: fork them.
    :param one_at_a_time: held meanwhile, so that the configuration stays the same.
    :ivar is_running: whether it has begun, and is not over.
    """

    _log = Logger()

    def __init__(
        self, places: Iterable[Replaceable], nurseries: Nurseries, one_at_a_time: DeferredLock
    ) -> None:
        self.is_running = False
        self._places = list(places)
        self._nurseries = nurseries
        self._one_at_a_time = one_at_a_time

    def begin(self, before: Nursery) -> None:
        """Begin; the log says how it ends.

        :param before: has forked the present workers.
        """
        try:
            nursery = self._nurseries.another()
        except NoWorkerError as error:
            self._log.error("the workers stay: {error}", error=str(error))
            return
        self.is_running = True
        done = self._one_at_a_time.run(self._replace_all, before, nursery)
        done.addCallbacks(lambda _: self._go_on_by(nursery), self._stay_as_before, errbackArgs=(nursery,))

    @inlineCallbacks
    def _replace_all(self, before: Nursery, nursery: NurseryProcess) -> Generator[Deferred[Any], Any, None]:
        """Replace all workers.

        :returns: a Deferred that fires when all are replaced. It fails with `NoWorkerError` where the nursery
            does not become ready, or one of its workers does not; what has been replaced until then is
            replaced once more, by a worker of the nursery before.
        """
        yield nursery.ready
        full = [place.number for place in self._places if place.is_full]
        if full:
            raise NoWorkerError(
                f"too many processes of worker {full[0]} drain still: try again when some of them have ended"
            )
        replaced: list[Replaceable] = []
        try:
            for place in self._places:
                yield place.replace(nursery)
                replaced.append(place)
        except NoWorkerError:
            yield self._undo(replaced, before)
            raise

    @inlineCallbacks
    def _undo(self, replaced: Iterable[Replaceable], before: Nursery) -> Generator[Deferred[Any], Any, None]:
        for place in replaced:
            try:
                yield place.replace(before)
            except NoWorkerError as error:
                self._log.error("{error}: it is the new one that stays", error=str(error))

    def _go_on_by(self, nursery: NurseryProcess) -> None:
        self.is_running = False
        self._nurseries.take_over(nursery)
        self._log.info("the workers have been replaced")

    def _stay_as_before(self, failure: Failure, nursery: NurseryProcess) -> None:
        self.is_running = False
        self._nurseries.give_up(nursery)
        if not self._nurseries.closes:
            self._log.error("the workers stay: {error}", error=str(failure.value))
