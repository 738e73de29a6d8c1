"""What becomes of lines of the daemon's own log that cannot be written: they are dropped, and counted."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from twisted.application.service import Service
from twisted.logger import LogEvent, LogLevel

from tcpbalance.steady_loop import SteadyLoop

REPORTED_EVERY = 1.0
"""Seconds after which lines that were dropped are reported, where there is no further line."""


class DroppedLines:
    """Writes what is logged, as far as that is possible, and how many lines were dropped before.

    :param write: writes an event, and gives whether it is written.
    :ivar count: of lines that were dropped, and are not reported yet.
    """

    def __init__(self, write: Callable[[LogEvent], bool]) -> None:
        self.count = 0
        self._write = write

    def write(self, event: LogEvent) -> None:
        """Write an event, behind the report of those that were dropped."""
        self.report()
        if self.count or not self._write(event):
            self.count += 1

    def report(self) -> None:
        """Say how many were dropped, if there are any and it can be said now."""
        count = self.count
        if count and self._write(_report(count)):
            self.count -= count


class DropReporter(Service):
    """Has lines that were dropped reported in time.

    :param reactor: IReactorTime.
    :param report: see `DroppedLines`.
    """

    def __init__(self, reactor: Any, report: Callable[[], object]) -> None:
        self._loop = SteadyLoop("the report of dropped lines of the log", report, reactor)

    def startService(self) -> None:
        """Begin."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._loop.start(REPORTED_EVERY, now=False)

    def stopService(self) -> None:
        """End."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._loop.stop()


def _report(count: int) -> LogEvent:
    return {
        "log_format": "lines of the log that were dropped: {count}",
        "count": count,
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_time": time(),
    }
