"""A process that was forked for us: watched by a descriptor, so that no other can be meant by its number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


def describe_end(status: int) -> str:
    """Say how a process has ended.

    :param status: of the process; negative for the number of a signal.
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


@implementer(IReadDescriptor)
class Child:
    """One process, of which this one is the parent.

    :param reactor: watches it.
    :param pid: its number.
    :param descriptor: of the process, pidfd_open(2); the child's from here on.
    :param on_end: called with its status once it has ended and its sockets are closed; negative for a signal.
    """

    def __init__(
        self, reactor: IReactorFDSet, pid: int, descriptor: int, on_end: Callable[[int], None]
    ) -> None:
        self.pid = pid
        self._reactor = reactor
        self._descriptor = descriptor
        self._on_end = on_end
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self._descriptor < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def forget(self) -> None:
        """Watch it no more."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    def doRead(self) -> None:
        """The reactor's call: it has ended."""
        status = 0
        try:
            ended = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
            if ended is None:
                return
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        except ChildProcessError:
            pass  # Something else has asked for its status, which is lost.
        self.forget()
        self._on_end(status)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self.forget()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "child"
