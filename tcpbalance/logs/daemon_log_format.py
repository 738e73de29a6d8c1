"""What a line of the daemon's own log looks like: pure functions from an event of Twisted's log to text.

A line stays one line, whatever a client, a backend or a file has sent: only what the program itself has
broken into lines goes on in further ones, such as a traceback, and these begin with a tab.
docs/reference/log-format.md is the description that operators read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter
from time import time
from typing import Any, Final

from twisted.logger import LogEvent, LogLevel, formatEvent, formatTime
from twisted.python.failure import Failure

FIELDS: Final = "log_fields"
"""The key of an event by which its fields are given, where they are not those of its text."""

TRACEBACK: Final = "log_traceback"
"""The key of an event by which the text of a traceback is given, in the place of a failure."""

PRIORITIES: Final[Mapping[Any, int]] = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""Of syslog(3), by level."""

_OWN_KEYS: Final = ("time", "level", "logger", "message", "traceback")

# C0, C1, the separators of lines, and what turns the direction of text around.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_has_controls = re.compile(f"[{_CONTROLS}]").search
_control = re.compile(f"[{_CONTROLS}]")
_control_but_line_ends = re.compile(f"(?![\n\t])[{_CONTROLS}]")


def priority_of(event: LogEvent) -> int:
    """Give the priority of an event; one without a level has that of ``info``."""
    return PRIORITIES.get(event.get("log_level"), PRIORITIES[LogLevel.info])


@lru_cache(maxsize=1000)
def logger_name(namespace: str) -> str:
    """Give the package of a namespace: operators know these names, and they do not change with the code."""
    return ".".join(namespace.split(".")[:2])


def traceback_of(event: LogEvent) -> str:
    """Give the traceback of an event; empty where it has none."""
    if TRACEBACK in event:
        return str(event[TRACEBACK])
    failure = event.get("log_failure")
    return failure.getTraceback().rstrip() if isinstance(failure, Failure) else ""


def fields_of(event: LogEvent) -> dict[str, Any]:
    """Give the values that stand in the text of an event, where they are numbers, truths or texts.

    An event may carry more than its text shows, which is left out: it was not meant to be read.
    """
    if FIELDS in event:
        return dict(event[FIELDS])
    return {name: event[name] for name in _names(event.get("log_format")) if _is_plain(event.get(name))}


def _names(form: object) -> list[str]:
    """Give the keys that a format asks for."""
    try:
        found = [name for _, name, _, _ in Formatter().parse(str(form or "")) if name]
    except ValueError:
        return []
    return [name for name in dict.fromkeys(found) if not name.startswith("log_") and name not in _OWN_KEYS]


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int)


def json_line(event: LogEvent) -> str | None:
    """Give an event as a JSON object; None for one that says nothing."""
    message, traceback = formatEvent(event), traceback_of(event)
    if not message and not traceback:
        return None
    level = event.get("log_level") or LogLevel.info
    content: dict[str, Any] = {
        "time": _timestamp(event),
        "level": level.name,
        "logger": logger_name(str(event.get("log_namespace", ""))),
        "message": message,
        **fields_of(event),
    }
    if traceback:
        content["traceback"] = traceback
    return json.dumps(content, separators=(",", ":"))


def _timestamp(event: LogEvent) -> str:
    """Give the time of an event as RFC 3339 has it."""
    found = datetime.fromtimestamp(event.get("log_time") or time(), UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(event: LogEvent) -> str | None:
    """Give an event as text; None for one that says nothing."""
    line = untimed_line(event)
    return None if line is None else f"{formatTime(event.get('log_time'))} {line}"


def untimed_line(event: LogEvent) -> str | None:
    """Give an event as text without its time."""
    text, traceback = _one_line(event), traceback_of(event)
    if traceback:
        text = f"{text}\n{traceback}"
    if not text:
        return None
    level = event.get("log_level") or LogLevel.info
    label = event.get("log_system") or f"{logger_name(str(event.get('log_namespace', '-')))}#{level.name}"
    shown = text.replace("\n", "\n\t")
    if _has_controls(shown):
        shown = _escape(_control_but_line_ends, shown)
    return f"[{_escape(_control, str(label))}] {shown}"


def _one_line(event: LogEvent) -> str:
    """Format an event, with what it quotes in one line."""
    text = formatEvent(event)
    if not _has_controls(text):
        return text
    quoted = {
        key: _escape(_control, str(value))
        for key, value in event.items()
        if isinstance(value, str | BaseException) and not key.startswith("log_")
    }
    return formatEvent({**event, **quoted})


def _escape(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def with_priority(lines: str, priority: int) -> str:
    """Put a priority before each line, as sd-daemon(3) has it."""
    prefix = f"<{priority}>"
    return prefix + lines.replace("\n", f"\n{prefix}")
