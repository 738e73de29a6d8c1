"""The supervisor: it has the listening sockets, and a worker for each of them that serves what comes there.

It serves no client itself. It listens before the first worker is there, and closes no socket before all end:
the clients of a worker that has ended wait in the socket's queue for the one that takes its place.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.models import Config
from tcpbalance.event import OneTimeEvent
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.proxy.backoff import backoff
from tcpbalance.workers import worker
from tcpbalance.workers.nursery_process import NurseryProcess
from tcpbalance.workers.place import Place
from tcpbalance.workers.socket_group import SocketGroup, listen

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""


def adopt_orphans() -> None:
    """Become the parent of processes whose own has ended, and which descend from this one: prctl(2).

    :raises OSError: the system does not know of it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Supervisor(Service):
    """Workers, and what they have in common.

    :param reactor: runs them.
    :param config: what they serve by.
    :param workers: how many there are.
    :param rng: spreads pauses.
    :param make_nursery: starts what forks the workers.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        workers: int,
        *,
        rng: Random | None = None,
        make_nursery: Callable[[Any, str], NurseryProcess] = NurseryProcess,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._workers = workers
        self._rng = (rng or Random()).random
        self._make_nursery = make_nursery
        self._groups: list[tuple[str, SocketGroup]] = []
        self._memory = -1
        self._places: list[Place] = []
        self._nursery: NurseryProcess | None = None
        self._again: IDelayedCall | None = None
        self._times = 0
        self._listening: OneTimeEvent[None] = OneTimeEvent()
        self._closes = False
        self._ended: OneTimeEvent[None] = OneTimeEvent()

    def prepare(self) -> None:
        """Take all addresses; clients wait from now on.

        :raises ListenError: an address cannot be had; none is held then.
        """
        with ExitStack() as undo:
            for name, frontend in self._config.frontends.items():
                options = SocketOptions.of(frontend.socket)
                for address in frontend.listen:
                    for group in listen(address, options, frontend.backlog, self._workers):
                        undo.callback(group.close)
                        self._groups.append((name, group))
            self._memory = worker.write_config(self._config)
            undo.pop_all()
        names = [name for name, _ in self._groups]
        self._places = [
            Place(
                self._reactor,
                number,
                names,
                [group.of_worker(number).fileno() for _, group in self._groups],
                self._rng,
            )
            for number in range(self._workers)
        ]

    def startService(self) -> None:
        """Start the workers."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        adopt_orphans()
        self._start_nursery()

    def when_listening(self) -> Deferred[None]:
        """Fires when all workers accept clients; at once where they do."""
        return self._listening.wait()

    def _start_nursery(self) -> None:
        self._again = None
        nursery = self._nursery = self._make_nursery(self._reactor, worker.__name__)
        nursery.ready.addCallbacks(lambda _: self._begin(nursery), self._log_failure)
        nursery.ended.addCallback(self._nursery_ended)

    def _begin(self, nursery: NurseryProcess) -> None:
        self._times = 0
        for place in self._places:
            place.begin(nursery, self._memory, self._note_ready)

    def _log_failure(self, failure: Failure) -> None:
        self._log.error("{error}", error=str(failure.value))

    def _nursery_ended(self, _: None) -> None:
        """Workers go on without it; start another one for those to come."""
        if not self._closes:
            delay = backoff(self._times, self._rng)
            self._times += 1
            self._again = self._reactor.callLater(delay, self._start_nursery)

    def _note_ready(self) -> None:
        if all(place.is_serving for place in self._places):
            self._listening.settle(None)

    def stopService(self) -> Deferred[None]:
        """Accept no more clients; calling it again does nothing more.

        :returns: fires when the last worker has ended, with its sessions.
        """
        if self._closes:
            return self._ended.wait()
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._closes = True
        if self._again is not None:
            self._again.cancel()
        for _, group in self._groups:
            group.close()
        for place in self._places:
            place.close()
        if self._nursery is not None:
            self._nursery.close()
        ended: list[Deferred[Any]] = [place.closed for place in self._places]
        if self._nursery is not None:
            ended.append(self._nursery.ended)
        DeferredList(ended).addCallback(self._finish)
        return self._ended.wait()

    def _finish(self, _: object) -> None:
        os.close(self._memory)
        self._ended.settle(None)

    def reopen_logs(self) -> None:
        """Have all workers open their logs anew."""
        for place in self._places:
            place.send({"reopen": True})

    def end_grace_now(self) -> None:
        """Have all workers end their sessions now."""
        for place in self._places:
            place.send({"end_grace_now": True})
