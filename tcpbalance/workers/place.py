"""One place of the supervisor's: a worker with its sockets, and another one when that has ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.proxy.backoff import backoff
from tcpbalance.workers import messages
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.child import Child, describe_end
from tcpbalance.workers.messages import Message
from tcpbalance.workers.nursery_process import Forked

PROVEN_AFTER = 10.0
"""Seconds after which a worker is replaced at once when it ends; one that ends earlier after a pause, which
grows each time."""


class Nursery(Protocol):
    """What a place has workers forked by."""

    def fork(self, content: Any, descriptors: Sequence[int]) -> Deferred[Forked]:
        """See ``nursery_process.NurseryProcess``."""
        ...


class Place:
    """A worker, and after its end another one, until the place is closed.

    :param reactor: for the processes and the pauses.
    :param number: of the place, which is that of the worker for `owner`.
    :param frontends: the names of those that the sockets belong to.
    :param sockets: descriptors; they stay the supervisor's.
    :param rng: gives numbers from 0 up to 1.
    :ivar is_serving: whether a worker accepts clients.
    :ivar closed: fires once the place is closed and its worker has ended.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        number: int,
        frontends: Sequence[str],
        sockets: Sequence[int],
        rng: Callable[[], float],
    ) -> None:
        self.number = number
        self.is_serving = False
        self.closed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._hello = {"place": number, "frontends": list(frontends)}
        self._sockets = list(sockets)
        self._rng = rng
        self._nursery: Nursery | None = None
        self._config = -1
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._again: IDelayedCall | None = None
        self._began = 0.0
        self._times = 0
        self._closes = False
        self._on_ready: Callable[[], None] = lambda: None

    def begin(self, nursery: Nursery, config: int, on_ready: Callable[[], None]) -> None:
        """Have a worker forked, and another one each time that one has ended.

        Called again, have those to come forked by another nursery.

        :param config: descriptor of what `worker.write_config` has written; it stays the supervisor's.
        :param on_ready: called each time that a worker accepts clients.
        """
        is_first = self._nursery is None
        self._nursery, self._config, self._on_ready = nursery, config, on_ready
        if is_first and not self._closes:
            self._fork()

    def _fork(self) -> None:
        self._again = None
        assert self._nursery is not None
        ours, theirs = messages.pair()
        self._channel = Channel(self._reactor, ours, self._on_message, lambda: None)
        with theirs:
            descriptors = [theirs.fileno(), self._config, *self._sockets]
            forked = self._nursery.fork(self._hello, descriptors)
        self._began = self._reactor.seconds()
        forked.addCallbacks(self._forked, self._not_forked)

    def _forked(self, forked: Forked) -> None:
        self._child = Child(self._reactor, forked.pid, forked.descriptor, self._ended)

    def _not_forked(self, failure: Failure) -> None:
        self._log.error("worker {number}: {error}", number=self.number, error=str(failure.value))
        self._next()

    def _on_message(self, message: Message) -> None:
        match message.content:
            case {"ready": True}:
                self.is_serving = True
                self._on_ready()
            case {"failed": str(error)}:
                self._log.error("worker {number}: {error}", number=self.number, error=error)

    def _ended(self, status: int) -> None:
        assert self._child is not None
        if not self._closes or status:
            self._log.error(
                "worker {number} (process {pid}) {end}",
                number=self.number,
                pid=self._child.pid,
                end=describe_end(status),
            )
        self._child = None
        self._next()

    def _next(self) -> None:
        """Have the next worker forked, at once where the last one has served for a while."""
        assert self._channel is not None
        self._channel.close()
        self.is_serving = False
        if self._closes:
            self.closed.callback(None)
            return
        proven = self._reactor.seconds() - self._began >= PROVEN_AFTER
        self._times = 0 if proven else self._times + 1
        delay = 0.0 if proven else backoff(self._times - 1, self._rng)
        self._again = self._reactor.callLater(delay, self._fork)

    def send(self, content: dict[str, Any]) -> None:
        """Send the worker a message, if there is a worker."""
        if self._channel is not None:
            self._channel.send(content)

    def close(self) -> None:
        """Let the worker end when its sessions have, and have none forked after it."""
        if self._closes:
            return
        self._closes = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
            self.closed.callback(None)
        elif self._channel is None:
            self.closed.callback(None)
        else:
            self._channel.send({"drain": True})

    def kill(self) -> None:
        """End the worker now, and its sessions."""
        if self._child is not None:
            self._child.signal(signal.SIGKILL)
