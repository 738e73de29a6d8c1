"""What a worker logs, and what it leaves to the supervisor."""

from __future__ import annotations

import sys

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
)
from zope.interface import implementer

from tcpbalance.config.log import TRACE, LevelName, LogConfig
from tcpbalance.logs.daemon_log import DaemonLog
from tcpbalance.logs.log_stream import LogStream
from tcpbalance.workers.log_pipe import LogSender


@implementer(ILogObserver)
class WorkerLog:
    """Has the supervisor log what a worker logs; once it is gone, lines go to standard error.

    :param descriptor: of the pipe to the supervisor; the log's from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._own = DaemonLog()
        self._own.write_to(LogStream(sys.stderr))
        self._sender = LogSender(descriptor, self._own)
        self.follow(LogConfig())

    def follow(self, settings: LogConfig) -> None:
        """Log as these say from now on."""
        self._own.follow(settings)
        self._filtered = FilteringLogObserver(self._sender, [levels(settings.level)])

    def __call__(self, event: LogEvent) -> None:
        """Twisted's call: log an event."""
        self._filtered(event)

    def report_dropped(self) -> None:
        """Say how many lines were dropped, where that is not said yet and can be."""
        self._sender.report_dropped()
        self._own.report_dropped()


def levels(wanted: LevelName) -> LogLevelFilterPredicate:
    """Give what decides which lines of a worker are logged.

    :param wanted: by the operator.
    """
    # The supervisor says itself what goes well.
    least = "warn" if wanted == "info" else wanted
    level = LogLevelFilterPredicate(defaultLogLevel=LogLevel.lookupByName(least))
    # The supervisor watches the files, and calls them by their names; it looks up the same names, too.
    for namespace in ("tcpbalance.reload", "tcpbalance.net.resolver"):
        level.setLogLevelForNamespace(namespace, LogLevel.critical)
    level.setLogLevelForNamespace(TRACE, LogLevel.info)
    return level
