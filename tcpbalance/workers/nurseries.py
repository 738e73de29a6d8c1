"""The processes that fork workers: one does, another follows when it has ended or workers are replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.errors import TcpbalanceError
from tcpbalance.proxy.backoff import backoff
from tcpbalance.workers import worker
from tcpbalance.workers.nursery_process import NoWorkerError, NurseryProcess


class Nurseries:
    """Starts a nursery, and another one each time that it has ended, until they are closed.

    :param reactor: for the pauses.
    :param make: starts a process; gets the reactor, a module and seconds, see ``NurseryProcess``.
    :param timeout: seconds that one may take for a worker.
    :param rng: gives numbers from 0 up to 1.
    :param on_ready: called with a nursery that forks workers from now on.
    :param on_error: called with a text where a nursery cannot be started.
    :ivar present: forks workers, or will; it may have ended, and another one is about to follow then. None
        before one could be started.
    :ivar processes: all that run, those that end or are to take over among them.
    :ivar closes: whether no other one follows.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        make: Callable[[Any, str, float], NurseryProcess],
        timeout: float,
        rng: Callable[[], float],
        on_ready: Callable[[NurseryProcess], object],
        on_error: Callable[[str], object],
    ) -> None:
        self.present: NurseryProcess | None = None
        self.processes: list[NurseryProcess] = []
        self.closes = False
        self._reactor = reactor
        self._make = make
        self._timeout = timeout
        self._rng = rng
        self._on_ready = on_ready
        self._on_error = on_error
        self._again: IDelayedCall | None = None
        self._times = 0

    def start(self) -> None:
        """Start the one that forks workers."""
        self._again = None
        try:
            nursery = self.present = self.another()
        except NoWorkerError as error:
            self._on_error(str(error))
            self._start_again()
            return
        nursery.ready.addCallback(lambda _: self._begin(nursery)).addErrback(self._not_begun)

    def another(self) -> NurseryProcess:
        """Start one beside the present one.

        :raises NoWorkerError: it cannot be started.
        """
        try:
            nursery = self._make(self._reactor, worker.__name__, self._timeout)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NoWorkerError(f"workers: {sys.executable} cannot be run: {reason}") from error
        self.processes.append(nursery)
        nursery.ended.addCallback(lambda _: self._has_ended(nursery))
        return nursery

    def take_over(self, nursery: NurseryProcess) -> None:
        """Have one that is ready, or has ended since it was, fork workers in the place of the present one."""
        before, self.present = self.present, nursery
        if self._again is not None and self._again.active():
            self._again.cancel()
        if before is not None:
            before.close()
        self._begin(nursery)
        if nursery not in self.processes:
            self._start_again()

    def give_up(self, nursery: NurseryProcess) -> None:
        """Let one end that was to take over: the present one forks workers, as before."""
        nursery.close()
        if self.present is not None:
            self._begin(self.present)

    def _begin(self, nursery: NurseryProcess) -> None:
        self._times = 0
        self._on_ready(nursery)

    def _not_begun(self, failure: Failure) -> None:
        if self.closes:
            return  # It was not needed any more.
        if not isinstance(failure.value, TcpbalanceError):
            self._log.failure("the workers could not be started", failure)
        self._on_error(str(failure.value))

    def _has_ended(self, nursery: NurseryProcess) -> None:
        self.processes.remove(nursery)
        if nursery is self.present:
            self._start_again()

    def _start_again(self) -> None:
        """Workers go on without a nursery; start another one for those to come."""
        if not self.closes:
            delay = backoff(self._times, self._rng)
            self._times += 1
            self._again = self._reactor.callLater(delay, self.start)

    def close(self) -> list[Deferred[None]]:
        """Let all end; workers go on.

        :returns: each fires when one of them has ended.
        """
        self.closes = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        for nursery in self.processes:
            nursery.close()
        return [nursery.ended for nursery in self.processes]
