"""The daemon's own log: what Twisted's log has, by level and in the form that the operator wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from tcpbalance.config.log import TRACE, LogConfig
from tcpbalance.logs.daemon_log_format import (
    PRIORITIES,
    json_line,
    priority_of,
    text_line,
    untimed_line,
    with_priority,
)
from tcpbalance.logs.dropped_lines import DroppedLines
from tcpbalance.logs.log_stream import LogTarget

_FORMS: Final[Mapping[str, Callable[[LogEvent], str | None]]] = {
    "text": text_line,
    "json": json_line,
    "journal": untimed_line,
}


@implementer(ILogObserver)
class DaemonLog:
    """Writes what is logged; what cannot be written is dropped and counted, and not formatted before.

    Nothing is written before `write_to`.
    """

    def __init__(self) -> None:
        self._target: LogTarget | None = None
        self._lines = DroppedLines(self._write)
        self.follow(LogConfig())

    def write_to(self, target: LogTarget) -> None:
        """Write to this from now on."""
        self._target = target
        self.follow(self._settings)

    def follow(self, settings: LogConfig) -> None:
        """Log as these say from now on."""
        to_journal = self._target is not None and self._target.is_journal
        self._settings = settings
        self._max_priority = PRIORITIES[LogLevel.lookupByName(settings.level)]
        self._has_priorities = to_journal or settings.format == "journal"
        self._form = _FORMS["journal" if to_journal and settings.format == "text" else settings.format]

    def __call__(self, event: LogEvent) -> None:
        """Twisted's call: log an event."""
        is_wanted = priority_of(event) <= self._max_priority or event.get("log_namespace") == TRACE
        if is_wanted and self._target is not None:
            self._lines.write(event)

    def report_dropped(self) -> None:
        """Say how many lines were dropped, where that is not said yet and can be."""
        self._lines.report()

    def _write(self, event: LogEvent) -> bool:
        target = self._target
        assert target is not None
        if not target.is_ready():
            return False
        line = self._form(event)
        if line is None:
            return True
        lines = with_priority(line, priority_of(event)) if self._has_priorities else line
        return target.write(lines.encode(errors="backslashreplace") + b"\n")
