"""One process that is a worker, as the supervisor has it: from the request for it to its end."""

from __future__ import annotations

import enum
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.workers import messages
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.child import Child, describe_end
from tcpbalance.workers.heartbeat import Pulse
from tcpbalance.workers.log_pipe import LogReader
from tcpbalance.workers.messages import MAX_MESSAGE, Message, MessageError
from tcpbalance.workers.nursery_process import Forked
from tcpbalance.workers.shortage import reason_of

HANDED_AT_ONCE = 50
"""Listening sockets, or files, that are handed over in one message."""


class Stage(enum.IntEnum):
    """What a worker does; it comes to a later stage only."""

    STARTING = 0
    """It reads what it needs, and accepts no client yet."""

    READY = 1
    """It waits until it may accept clients."""

    SERVING = 2
    """It accepts clients."""

    HANDING_OVER = 3
    """It accepts no more clients, and reports those that it has."""

    DRAINING = 4
    """Its sessions go on until they end, or their time is over."""


class Nursery(Protocol):
    """What has workers forked."""

    def fork(self, content: Any, descriptors: Sequence[int]) -> Deferred[Forked]:
        """See ``nursery_process.NurseryProcess``."""
        ...


class Observer(Protocol):
    """Takes note of what a worker process does."""

    def has_forked(self, process: WorkerProcess) -> None:
        """It is there, and to be sent what it has to know."""
        ...

    def has_sent(self, process: WorkerProcess, message: Message) -> None:
        """A message has come, not one of those about its stages."""
        ...

    def has_changed(self, process: WorkerProcess) -> None:
        """It has come to another stage by itself."""
        ...

    def has_failed(self, process: WorkerProcess, error: str) -> None:
        """It cannot serve, and will end."""
        ...

    def has_ended(self, process: WorkerProcess) -> None:
        """It has ended and its sockets are closed, or it could not be forked."""
        ...


class WorkerProcess:
    """One worker. Before it is there, it is sent nothing, and no descriptor is kept for it.

    :param reactor: for its messages, its log and its end.
    :param place: see ``shared_state.ToWorker``.
    :param column: see ``shared_state.ToWorker``.
    :param nursery: forks it.
    :param observer: takes note of what it does.
    :param timeout: seconds without an answer after which it is ended.
    :param imports: modules that it needs by its configuration.
    :raises OSError: the system has no more descriptors.
    :ivar is_greeted: whether it is, or was, there to be sent what it has to know.
    :ivar ended_pid: its process id, once it has ended.
    :ivar stage: what it does.
    :ivar sessions: that it had open when it last answered.
    :ivar reported: how it has ended, or why it could not be forked, for the log; empty where that is there.
    :ivar name: stands before `reported` in the log.
    :ivar why_ended: why it has ended, or is about to, before it was asked; empty where that is not so.
    :ivar ended_by: a word for that, one of ``control.view.ENDED_BY``.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        place: int,
        column: int,
        nursery: Nursery,
        observer: Observer,
        *,
        timeout: float,
        imports: Sequence[str] = (),
    ) -> None:
        self.place = place
        self.column = column
        self.stage = Stage.STARTING
        self.sessions = 0
        self._reactor = reactor
        self._nursery = nursery
        self._observer = observer
        self._imports = list(imports)
        self._pulse = Pulse(timeout)
        self.why_ended = self.ended_by = ""
        self.reported = ""
        self.name = f"worker {place}:"
        self._is_killed = False
        self._child: Child | None = None
        self.is_greeted = False
        self.ended_pid = 0
        with ExitStack() as undo:
            ours, self._theirs = map(undo.enter_context, messages.pair())
            self._log_reader, self._log_writer = LogReader.of(reactor, place)
            undo.pop_all()
        self._channel = Channel(
            reactor, ours, self._on_message, self._pulse.is_ending, name=f"worker {place}"
        )

    def start(self) -> None:
        """Have it forked; to be called once."""
        with self._theirs:
            descriptors = [self._theirs.fileno(), self._log_writer]
            request = {"place": self.place, "column": self.column, "imports": self._imports}
            forked = self._nursery.fork(request, descriptors)
        os.close(self._log_writer)
        forked.addCallbacks(self._forked, self._not_forked)

    @property
    def pid(self) -> int:
        """Its process id; 0 before it runs, and after its end."""
        return 0 if self._child is None else self._child.pid

    @property
    def drains(self) -> bool:
        """Whether it accepts no more clients, because another one has taken its place or all end."""
        return self.stage >= Stage.HANDING_OVER

    def _forked(self, forked: Forked) -> None:
        self._child = Child(self._reactor, forked.pid, forked.descriptor, self._ended)
        # Not earlier: one whose number does not come, because the nursery has ended, is watched by nothing,
        # and must not begin.
        if self.drains:
            self.send({"drain": True})
        else:
            self._greet()

    def _greet(self) -> None:
        self.is_greeted = True
        try:
            self._observer.has_forked(self)
        except (OSError, MessageError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            self.kill(f"cannot be sent what it has to know: {reason}", "error")
        except Exception as error:
            self._log.failure("worker {number}", number=self.place)
            self.kill(f"cannot be sent what it has to know: {error!r}", "error")

    def _not_forked(self, failure: Failure) -> None:
        self.why_ended = self.reported = str(failure.value)
        self._close()

    def _on_message(self, message: Message) -> None:
        self._pulse.answered()
        match message.content:
            case {"pong": int(sessions)}:
                self.sessions = sessions
            case {"ready": True} if self.stage is Stage.STARTING:
                self.stage = Stage.READY
                self._observer.has_changed(self)
            case {"handed_over": True} if self.stage <= Stage.HANDING_OVER:
                if self.stage < Stage.HANDING_OVER and not self.why_ended:
                    self._log.warn(
                        "worker {number} (process {pid}) has got SIGTERM: it drains, and is replaced",
                        number=self.place,
                        pid=self.pid,
                    )
                self.stage = Stage.DRAINING
                self._observer.has_changed(self)
            case {"failed": str(error)}:
                self.why_ended, self.ended_by = error, "error"
                self._observer.has_failed(self, error)
            case _:
                self._observer.has_sent(self, message)

    def _ended(self, status: int) -> None:
        if (not self.drains or status) and not self.why_ended:
            self.reported = describe_end(status)
            self.why_ended = f"it {self.reported}"
            self.ended_by = "signal" if status < 0 else "exit"
        self.name = f"worker {self.place} (process {self.pid})"
        self.ended_pid = self.pid
        self._child = None
        self._close()

    def _close(self) -> None:
        self._channel.close()
        self._log_reader.close()
        self._observer.has_ended(self)

    # What it is asked for

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        """See ``shared_state.ToWorker``; nothing before it is there."""
        if self._child is not None:
            self._channel.send(content, descriptors)

    def send_sockets(self, sockets: Sequence[tuple[str, int]]) -> None:
        """Hand listening sockets over.

        :param sockets: each the name of its frontend, and its descriptor.
        """
        for piece in pieces_of(sockets):
            self.send({"sockets": [name for name, _ in piece]}, [number for _, number in piece])

    def send_files(self, files: Mapping[str, int]) -> None:
        """Hand files over.

        :param files: descriptors of their memory, by their paths in the configuration.
        """
        for piece in pieces_of(list(files.items())):
            self.send({"files": [path for path, _ in piece]}, [number for _, number in piece])

    def accept(self) -> None:
        """Have one that is ready accept clients."""
        self.stage = Stage.SERVING
        self.send({"accept": True})

    def hand_over(self) -> None:
        """Have it accept no more clients, report those that it has, and then drain."""
        self.stage = Stage.HANDING_OVER
        self.send({"hand_over": True})

    def drain(self) -> None:
        """Have it accept no more clients, and end when its sessions have."""
        if self.stage is Stage.STARTING:
            # It has no sessions: what it reads as it starts is not worth waiting for.
            self._pulse.answered()
        self.stage = Stage.DRAINING
        self.send({"drain": True})

    def beat(self) -> None:
        """See ``heartbeat.Pulsed``."""
        if self._child is None:
            return
        if self._pulse.beat():
            self.kill(f"has not answered for {self._pulse.silence:g} s")
        else:
            self.send({"ping": True})

    def kill(self, why: str, by: str = "timeout") -> None:
        """End it now, and its sessions.

        :param why: for the log: what it does or does not do.
        :param by: a word for that, see `ended_by`.
        """
        if self._child is not None and not self._is_killed:
            self._is_killed = True
            self.why_ended, self.ended_by = f"it {why}", by
            self._log.error(
                "worker {number} (process {pid}) {why}: it is ended",
                number=self.place,
                pid=self.pid,
                why=why,
            )
            self._child.signal(signal.SIGKILL)


def pieces_of(pairs: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    """Give pieces that have space in a message, of pairs of a text and a descriptor."""
    piece: list[tuple[str, int]] = []
    size = 0
    for pair in pairs:
        length = len(json.dumps(pair[0])) + 1
        if piece and (len(piece) == HANDED_AT_ONCE or size + length > MAX_MESSAGE // 2):
            yield piece
            piece, size = [], 0
        piece.append(pair)
        size += length
    if piece:
        yield piece
