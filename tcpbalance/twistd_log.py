"""The daemon's own log under ``twistd``: where its command line says, in our form."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from twisted.python import usage
from twisted.python.logfile import LogFile

from tcpbalance.logs.log_stream import LogStream, LogTarget

_FILE = "twistd.log"
"""Where ``twistd`` logs to in the background, unless ``--logfile`` says otherwise."""


class RotatedLog:
    """The file of ``--logfile``, which SIGUSR1 rotates, as ``twistd`` does.

    :param path: the file.
    :param reactor: rotates it between two lines.
    :raises OSError: it cannot be opened.
    """

    is_journal = False

    def __init__(self, path: str, reactor: Any) -> None:
        self._file = LogFile.fromFullPath(path)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._reactor = reactor
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._file.rotate)

    def is_ready(self) -> bool:
        """See ``LogTarget``: whether a disk has space is known when it is written to."""
        return True

    def write(self, lines: bytes) -> bool:
        """See ``LogTarget``."""
        try:
            self._file.write(lines)
        except OSError:
            return False
        return True


def target_of(runner: usage.Options, reactor: Any) -> LogTarget | None:
    """Give where the options of ``twistd`` want the log.

    :param runner: its options, parsed.
    :returns: None where it is to log in a way of its own, or is going to refuse.
    :raises OSError: the file cannot be opened.
    """
    if runner.get("logger") or runner.get("syslog") or "nodaemon" not in runner:
        return None
    path = runner.get("logfile") or ("-" if runner["nodaemon"] else _FILE)
    if path != "-":
        return RotatedLog(path, reactor)
    return LogStream(sys.stdout) if runner["nodaemon"] else None
