"""Reloads of the configuration file: what the admin side knows of them, and has done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.config.difference import Difference
from tcpbalance.config.errors import Problem
from tcpbalance.config.models import Config
from tcpbalance.config.plan import plan_lines
from tcpbalance.control.events import Events
from tcpbalance.control.timestamps import timestamp

MAX_KEPT_CAUSE = 4000
"""Characters that are kept of why a file is not used: it may have thousands of mistakes."""


@frozen
class ReloadOutcome:
    """What has come of a reload.

    :ivar difference: what has changed; None where nothing has, because the file is not used.
    :ivar error: why it is not used; else empty.
    :ivar problems: the mistakes in the file, where these are why.
    """

    difference: Difference | None = None
    error: str = ""
    problems: tuple[Problem, ...] = ()


class ConfigFile(Protocol):
    """See ``ConfigReloader``.

    :ivar path: where it is, absolute.
    :ivar on_outcome: called with what has come of each reload.
    """

    path: Path
    on_outcome: Callable[[ReloadOutcome], object]

    def reload(self) -> Deferred[ReloadOutcome | None]: ...

    def compare(self, running: Config) -> Deferred[Difference]: ...


class ConfigState:
    """The configuration as far as it is that of its file.

    :param file: that it is from.
    :param events: get an event of each reload.
    :param on_reload: called after each reload.
    :param wall_clock: seconds since the epoch.
    :ivar file: the same.
    """

    def __init__(
        self,
        file: ConfigFile,
        events: Events,
        on_reload: Callable[[], object] = lambda: None,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        self.file = file
        self._events = events
        self._on_reload = on_reload
        self._wall_clock = wall_clock
        self._revision = 1
        self._loaded = timestamp(wall_clock())
        self._error: dict[str, Any] | None = None
        file.on_outcome = self._note_reload

    def note_change(self) -> None:
        """Take note that an operator has changed it."""
        self._revision += 1

    def _note_reload(self, outcome: ReloadOutcome) -> None:
        self._on_reload()
        about = {"path": str(self.file.path)}
        now = timestamp(self._wall_clock())
        if outcome.difference is None:
            cause = outcome.error[:MAX_KEPT_CAUSE]
            self._error = {"time": now, "message": cause}
            self._events.add("reload_refused", {**about, "cause": cause})
            return
        self._loaded, self._error = now, None
        if outcome.difference:
            self._revision += 1
        *_, summary = plan_lines(outcome.difference)
        self._events.add("reloaded", {**about, "summary": summary})

    def shown(self) -> dict[str, Any]:
        """Give it for the API: the number of the configuration in use, which grows with each change; the
        file; when that was read as it is in use; and why it could not be used since."""
        return {
            "revision": self._revision,
            "path": str(self.file.path),
            "loaded": self._loaded,
            "error": self._error,
        }
