"""SIGUSR2 with several workers: each of them is replaced by one with the code that is installed now."""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.application.service import Service

from tcpbalance.workers.supervisor import Supervisor


class WorkersRestart(Service):
    """What a daemon does at SIGUSR2; see ``signals.Renewal``.

    :param supervisor: has the workers.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def upgrade(self) -> None:
        """Begin."""
        self._supervisor.restart_workers()

    def note_signal(self, number: signal.Signals, if_it_fails: Callable[[], object] = lambda: None) -> bool:
        """Say that no other program is being started: what signals ask for, workers get as messages."""
        return False
