"""The nursery as the supervisor has it: a process that is asked for workers."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.errors import TcpbalanceError
from tcpbalance.workers import messages, nursery
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.child import describe_end
from tcpbalance.workers.heartbeat import DEFAULT_WORKER_TIMEOUT, Pulse
from tcpbalance.workers.messages import Message
from tcpbalance.workers.shortage import reason_of

_SOCKET = 3
"""The descriptor by which a nursery is asked."""

_WITHOUT_COLUMNS = ("-X", "no_debug_ranges")
"""Of Python: without columns of the code, which only marks in tracebacks need, a worker takes less memory."""

_HAS_ENDED = "the process that forks workers has ended"


class NoWorkerError(TcpbalanceError):
    """A worker could not be forked; the text says why."""


@frozen
class Forked:
    """A worker that was forked.

    :param pid: its number.
    :param descriptor: of the process; the receiver's.
    """

    pid: int
    descriptor: int


class NurseryProcess(ProcessProtocol):
    """A nursery, from its start to its end.

    :param reactor: starts it and is asked by it.
    :param module: see ``nursery.run``.
    :param timeout: seconds after which it is ended that it has taken for one worker.
    :raises OSError: it cannot be started.
    :ivar ready: fires once it has imported what a worker needs; fails with `NoWorkerError` where it cannot.
    :ivar ended: fires when the process has ended.
    """

    _log = Logger()

    def __init__(self, reactor: Any, module: str, timeout: float = DEFAULT_WORKER_TIMEOUT) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._pulse = Pulse(timeout)
        self._is_closed = False
        self._asked: deque[Deferred[Forked]] = deque()
        self._error = _HAS_ENDED
        ours, theirs = messages.pair()
        self._channel = Channel(reactor, ours, self._on_message, self._give_up, name="the nursery")
        with theirs:
            try:
                reactor.spawnProcess(
                    self,
                    sys.executable,
                    [sys.executable, *_WITHOUT_COLUMNS, "-m", nursery.__name__, str(_SOCKET), module],
                    os.environ,
                    childFDs={0: 0, 1: 1, 2: 2, _SOCKET: theirs.fileno()},
                )
            except BaseException:
                self._channel.close()
                raise

    def fork(self, content: Mapping[str, Any], descriptors: Iterable[int]) -> Deferred[Forked]:
        """Have a worker forked.

        :param content: the first message that it gets.
        :param descriptors: it gets copies of them.
        :returns: fails with `NoWorkerError` where it cannot be.
        """
        if self.ended.called:
            return fail(NoWorkerError(self._error))
        if not self._asked:
            self._pulse.answered()
        asked: Deferred[Forked] = Deferred()
        self._asked.append(asked)
        self._channel.send(content, descriptors)
        return asked

    def close(self) -> None:
        """Let it end; workers go on."""
        self._channel.close()
        self._is_closed = True
        self._pulse.answered()

    def beat(self) -> None:
        """See ``heartbeat.Pulsed``: it does not answer before it is asked."""
        owes_something = self._asked or self._is_closed or not self.ready.called
        if owes_something and self._pulse.beat():
            self.kill(f"has not answered for {self._pulse.silence:g} s")

    def kill(self, why: str) -> None:
        """End it now; workers go on.

        :param why: for the log: what it does or does not do.
        """
        if not self.ended.called:
            self._log.error("the process that forks workers {why}: it is ended", why=why)
            self._error = f"the process that forks workers {why}"
            assert self.transport is not None
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def _on_message(self, message: Message) -> None:
        self._pulse.answered()
        match message.content:
            case {"ready": True}:
                self.ready.callback(None)
            case {"failed": str(reason)}:
                self._error = f"the program cannot be loaded: {reason}"
            case {"pid": int(pid)}:
                self._answer(pid, message)
            case {"error": str(error)}:
                self._asked.popleft().errback(NoWorkerError(f"a worker cannot be forked: {error}"))

    def _answer(self, pid: int, message: Message) -> None:
        """A worker was forked."""
        (descriptor,) = message.descriptors
        asked = self._asked.popleft()
        try:
            forked = Forked(pid, os.dup(descriptor))
        except OSError as error:
            # It would not be watched.
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            asked.errback(NoWorkerError(f"a worker cannot be watched: {reason_of(error)}"))
            return
        asked.callback(forked)

    def _give_up(self) -> None:
        error = NoWorkerError(self._error)
        if not self.ready.called:
            self.ready.errback(error)
        while self._asked:
            self._asked.popleft().errback(error)

    def processEnded(self, reason: Failure) -> None:
        """Twisted's call: it has ended, and all that it has said has come."""
        self._channel.close()
        if self._error == _HAS_ENDED:
            self._error = f"{_HAS_ENDED}: it {_end_of(reason)}"
        self._give_up()
        self.ended.callback(None)


def _end_of(reason: Failure) -> str:
    """Say how a process has ended, from what Twisted says of it."""
    number = getattr(reason.value, "signal", None)
    return describe_end(-number if number else getattr(reason.value, "exitCode", None) or 0)
