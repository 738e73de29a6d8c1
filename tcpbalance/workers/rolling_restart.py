"""A rolling restart: the worker of each place is replaced, one place after the other, or all stay."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from tcpbalance.workers.nursery_process import NoWorkerError, NurseryProcess
from tcpbalance.workers.worker_process import Nursery


class Replaceable(Protocol):
    """See ``place.Place``."""

    number: int

    @property
    def is_full(self) -> bool: ...
    def replace(self, nursery: Nursery) -> Deferred[None]: ...


class RollingRestart:
    """Replaces the workers of all places.

    :param places: of the workers.
    :param before: has forked the present ones.
    :param nursery: forks the new ones, once it is ready.
    """

    _log = Logger()

    def __init__(self, places: Iterable[Replaceable], before: Nursery, nursery: NurseryProcess) -> None:
        self._places = list(places)
        self._before = before
        self._nursery = nursery

    @inlineCallbacks
    def run(self) -> Generator[Deferred[Any], Any, None]:
        """Replace them.

        :returns: a Deferred that fires when all are replaced. It fails with `NoWorkerError` where the nursery
            does not become ready, or one of its workers does not; what has been replaced until then is
            replaced once more, by a worker of the nursery before.
        """
        yield self._nursery.ready
        full = [place.number for place in self._places if place.is_full]
        if full:
            raise NoWorkerError(
                f"too many processes of worker {full[0]} drain still: try again when some of them have ended"
            )
        replaced: list[Replaceable] = []
        try:
            for place in self._places:
                yield place.replace(self._nursery)
                replaced.append(place)
        except NoWorkerError:
            yield self._undo(replaced)
            raise

    @inlineCallbacks
    def _undo(self, replaced: Iterable[Replaceable]) -> Generator[Deferred[Any], Any, None]:
        for place in replaced:
            try:
                yield place.replace(self._before)
            except NoWorkerError as error:
                self._log.error("{error}: it is the new one that stays", error=str(error))
