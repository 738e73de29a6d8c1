"""Orphans: a process adopts those that descend from it, or is given them, and reaps them when they end."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from twisted.application.service import Service
from twisted.internet import process
from twisted.internet.interfaces import IReactorTime

from tcpbalance.steady_loop import SteadyLoop

SEARCH_EVERY = 1.0
"""Seconds from one look to the next."""

FIRST_PROCESS = 1
"""The process that orphans of its PID namespace are given to: pid_namespaces(7)."""

_PROC = Path("/proc")

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


class OrphanReaper(Service):
    """Asks for the exit status of ended orphans, which else stay in the process table as zombies: wait(2).

    The first process of a PID namespace becomes the parent of each process there whose own parent has ended:
    pid_namespaces(7). Commands of health checks may leave such processes behind.

    An orphan is a child that no code has waited for within `SEARCH_EVERY`, that Twisted does not wait for,
    and that is in another session than ours, in which the children of Python's ``subprocess`` are.

    :param clock: IReactorTime.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._zombies: frozenset[int] = frozenset()
        self._looking = SteadyLoop("the search for orphans", self.look, clock)

    def startService(self) -> None:
        """Look once a second."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._looking.start(SEARCH_EVERY)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._looking.stop()

    def look(self) -> None:
        """Reap the orphans that had ended at the last look already."""
        if not _some_child_has_ended():
            self._zombies = frozenset()
            return
        zombies = frozenset(_ended_orphans())
        for pid in zombies & self._zombies:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._zombies = zombies - self._zombies


def _some_child_has_ended() -> bool:
    """Whether there is anything to look at; no child is reaped by that."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _ended_orphans() -> Iterator[int]:
    ours, our_session = os.getpid(), os.getsid(0)
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:
            continue  # It has ended in the meantime.
        # The name, in brackets, may contain anything: proc_pid_stat(5).
        state, parent, _, session = stat.rpartition(")")[2].split()[:4]
        if state == "Z" and int(parent) == ours and int(session) != our_session:
            pid = int(entry.name)
            if pid not in process.reapProcessHandlers:
                yield pid
