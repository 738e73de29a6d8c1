"""Where the daemon's own log goes: a stream that may stall or fail, for which the daemon does not."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Mapping
from time import monotonic
from typing import IO, Final, Protocol

MAX_LOG_WAIT: Final = 0.1
"""Seconds for which a slow reader is waited for, in all, before lines are dropped."""

WAITS_ANEW_AFTER: Final = 10.0
"""Seconds without a wait after which a reader is waited for again."""

_MAX_WRITE: Final = min(select.PIPE_BUF, 4096)
"""What fits where poll says that a pipe is writable: pipe(7)."""


class LogTarget(Protocol):
    """Takes lines.

    :ivar is_journal: whether what it takes goes to journald.
    """

    @property
    def is_journal(self) -> bool: ...

    def is_ready(self) -> bool:
        """Whether lines may be written now, as far as that is known before; without an exception."""
        ...

    def write(self, lines: bytes) -> bool:
        """Write whole lines where it is ready, without an exception.

        :returns: whether they are written.
        """
        ...


def is_writable(descriptor: int, milliseconds: int) -> bool:
    """Wait until a line can be written, at most for some time; none can where the reader is gone.

    :raises ValueError: there is no such descriptor.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll.poll(milliseconds) == [(descriptor, select.POLLOUT)]


class LogStream:
    """A stream that is open already, such as standard error.

    The process waits while a line is written. So all waits in any ten seconds share one small budget, however
    often the reader makes a little space; and a reader that has stalled is not waited for before it reads.

    :param stream: None where the process has none.
    :param variables: of the environment; see `is_journal`.
    :param clock: seconds on a monotonic clock.
    :param wait: see `is_writable`.
    """

    def __init__(
        self,
        stream: IO[str] | None,
        variables: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[int, int], bool] = is_writable,
    ) -> None:
        self._descriptor = -1 if stream is None else stream.fileno()
        self._clock = clock
        self._wait = wait
        self._may_wait = MAX_LOG_WAIT
        self._waited_at = -WAITS_ANEW_AFTER
        self._stalls = False
        self._is_torn = False
        self._is_regular = False
        self.is_journal = False
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return
        self._is_regular = stat.S_ISREG(status.st_mode)
        # systemd.exec(5): the device and the inode of what it has connected to the journal.
        self.is_journal = variables.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"

    def is_ready(self) -> bool:
        """See ``LogTarget``."""
        try:
            return self._is_writable()
        except (OSError, ValueError):  # the latter where there is no stream
            return False

    def write(self, lines: bytes) -> bool:
        """See ``LogTarget``."""
        left = b"\n" + lines if self._is_torn else lines
        try:
            while True:
                sent = os.write(self._descriptor, left if self._is_regular else left[:_MAX_WRITE])
                # A line that a full disk cuts short is ended before the next, and spoils only itself.
                self._is_torn = not left[:sent].endswith(b"\n")
                left = left[sent:]
                if not left:
                    return True
                if not self._is_writable():
                    return False
        except OSError:
            return False

    def _is_writable(self) -> bool:
        if self._is_regular or self._wait(self._descriptor, 0):
            self._stalls = False
            return True
        if self._stalls:
            return False
        self._stalls = not self._wait_for_reader()
        return not self._stalls

    def _wait_for_reader(self) -> bool:
        begun = self._clock()
        if begun - self._waited_at >= WAITS_ANEW_AFTER:
            self._may_wait = MAX_LOG_WAIT
        milliseconds = int(self._may_wait * 1000)
        if milliseconds <= 0:
            return False
        found = self._wait(self._descriptor, milliseconds)
        self._waited_at = self._clock()
        self._may_wait -= self._waited_at - begun
        return found
