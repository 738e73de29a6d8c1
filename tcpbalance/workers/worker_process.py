"""One process that is a worker, as the supervisor has it: from the request for it to its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.workers import messages
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.child import Child, describe_end
from tcpbalance.workers.log_pipe import LogReader
from tcpbalance.workers.messages import Message
from tcpbalance.workers.nursery_process import Forked

HANDED_AT_ONCE = 50
"""Listening sockets, or files, that are handed over in one message."""


class Nursery(Protocol):
    """What has workers forked."""

    def fork(self, content: Any, descriptors: Sequence[int]) -> Deferred[Forked]:
        """See ``nursery_process.NurseryProcess``."""
        ...


class WorkerProcess:
    """One worker. It is sent messages from the beginning, and reads them once it runs.

    :param reactor: for its messages, its log and its end.
    :param place: see ``concern.ToWorker``.
    :param nursery: forks it.
    :param on_message: called with this and each message of its.
    :param on_end: called with this once it has ended and its sockets are closed, or could not be forked.
    :ivar is_serving: whether it accepts clients.
    :ivar drains: whether it was asked to end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        place: int,
        nursery: Nursery,
        on_message: Callable[[WorkerProcess, Message], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        self.place = place
        self.is_serving = False
        self.drains = False
        self._reactor = reactor
        self._on_end = on_end
        self._child: Child | None = None
        ours, theirs = messages.pair()
        self._channel = Channel(reactor, ours, lambda message: on_message(self, message), lambda: None)
        self._log_reader, log_writer = LogReader.of(reactor, f"worker {place}: ")
        with theirs:
            forked = nursery.fork({"place": place}, [theirs.fileno(), log_writer])
        os.close(log_writer)
        forked.addCallbacks(self._forked, self._not_forked)

    @property
    def pid(self) -> int:
        """Its process id; 0 before it runs, and after its end."""
        return 0 if self._child is None else self._child.pid

    def _forked(self, forked: Forked) -> None:
        self._child = Child(self._reactor, forked.pid, forked.descriptor, self._ended)

    def _not_forked(self, failure: Failure) -> None:
        self._log.error("worker {number}: {error}", number=self.place, error=str(failure.value))
        self._close()

    def _ended(self, status: int) -> None:
        if not self.drains or status:
            self._log.error(
                "worker {number} (process {pid}) {end}",
                number=self.place,
                pid=self.pid,
                end=describe_end(status),
            )
        self._child = None
        self._close()

    def _close(self) -> None:
        self.is_serving = False
        self._channel.close()
        self._log_reader.close()
        self._on_end(self)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        """See ``concern.ToWorker``."""
        self._channel.send(content, descriptors)

    def send_sockets(self, sockets: Sequence[tuple[str, int]]) -> None:
        """Hand listening sockets over.

        :param sockets: each the name of its frontend, and its descriptor.
        """
        for piece in _pieces(sockets):
            self.send({"sockets": [name for name, _ in piece]}, [number for _, number in piece])

    def send_files(self, files: Mapping[str, int]) -> None:
        """Hand files over.

        :param files: descriptors of their memory, by their paths in the configuration.
        """
        for piece in _pieces(list(files.items())):
            self.send({"files": [path for path, _ in piece]}, [number for _, number in piece])

    def drain(self) -> None:
        """Have it accept no more clients, and end when its sessions have."""
        self.drains = True
        self.send({"drain": True})

    def kill(self) -> None:
        """End it now, and its sessions."""
        if self._child is not None:
            self._child.signal(signal.SIGKILL)


def _pieces(pairs: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    for start in range(0, len(pairs), HANDED_AT_ONCE):
        yield pairs[start : start + HANDED_AT_ONCE]
