"""Where the daemon's own log goes: a stream that may stall or fail, for which the daemon does not."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping
from typing import IO, Final, Protocol

STALLED_AFTER: Final = 0.1
"""Seconds for which a reader that is slow is waited for; after that, lines are dropped until it reads."""

_MAX_WRITE: Final = min(select.PIPE_BUF, 4096)
"""What fits where poll says that a pipe is writable: pipe(7)."""


class LogTarget(Protocol):
    """Takes lines.

    :ivar is_journal: whether what it takes goes to journald.
    """

    @property
    def is_journal(self) -> bool: ...

    def write(self, lines: bytes) -> bool:
        """Write whole lines, without an exception.

        :returns: whether they are written.
        """
        ...


class LogStream:
    """A stream that is open already, such as standard error.

    :param stream: None where the process has none.
    :param variables: of the environment; see `is_journal`.
    """

    def __init__(self, stream: IO[str] | None, variables: Mapping[str, str] = os.environ) -> None:
        self._descriptor = -1 if stream is None else stream.fileno()
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

    def write(self, lines: bytes) -> bool:
        """See ``LogTarget``."""
        left = b"\n" + lines if self._is_torn else lines
        try:
            while left:
                if not self._is_writable():
                    return False
                sent = os.write(self._descriptor, left if self._is_regular else left[:_MAX_WRITE])
                # A line that a full disk cuts short is ended before the next, and spoils only itself.
                self._is_torn = not left[:sent].endswith(b"\n")
                left = left[sent:]
        except (OSError, ValueError):  # the latter of poll, where there is no stream
            return False
        return True

    def _is_writable(self) -> bool:
        if self._is_regular:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        self._stalls = not poll.poll(0 if self._stalls else STALLED_AFTER * 1000)
        return not self._stalls
