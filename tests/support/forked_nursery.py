"""Nurseries of supervisors in the tests' own process, which are forked; see ``forking``."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.process import registerReapProcessHandler, unregisterReapProcessHandler
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from support.forker import Forker
from tcpbalance.workers.nursery_process import NurseryProcess

IMPORTED = ("tcpbalance.workers.worker",)
"""What they import."""


@frozen
class ForkedNurseries:
    """Makes them, as a supervisor wants them made.

    :param forker: has imported what they import.
    """

    forker: Forker

    def __call__(self, reactor: Any, module: str, timeout: float) -> NurseryProcess:
        return NurseryProcess(_ForkingReactor(reactor, self.forker), module, timeout)


class _ForkingReactor:
    """A reactor that forks what it would run."""

    def __init__(self, reactor: Any, forker: Forker) -> None:
        self._reactor = reactor
        self._forker = forker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        command: Sequence[str],
        environment: object,
        childFDs: Mapping[int, int],
    ) -> None:
        module = command[command.index("-m") :]
        descriptors = {number: ours for number, ours in childFDs.items() if number > 0}
        _Transport(protocol, self._forker.fork(module, Path.cwd(), descriptors).pid)


class _Transport:
    """What a protocol has of its process; Twisted reaps that when it hears that a child has ended."""

    def __init__(self, protocol: ProcessProtocol, pid: int) -> None:
        self.pid: int | None = pid
        self._protocol = protocol
        registerReapProcessHandler(pid, self)
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        os.kill(self.pid, signal.Signals[f"SIG{name}"])

    def reapProcess(self) -> None:
        """Twisted's call."""
        pid, status = os.waitpid(self.pid or 0, os.WNOHANG)
        if pid:
            unregisterReapProcessHandler(pid, self)
            self.processEnded(status)

    def processEnded(self, status: int) -> None:
        """Twisted's call."""
        self.pid = None
        code = os.waitstatus_to_exitcode(status)
        ended = (
            ProcessTerminated(max(code, 0), max(-code, 0) or None, status) if code else ProcessDone(status)
        )
        self._protocol.processEnded(Failure(ended))
