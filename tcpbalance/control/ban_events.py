"""The events of bans: a flood may ban thousands of clients a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from tcpbalance.event import OnEvent
from tcpbalance.rate_limited_log import RateLimitedLog


class FewerBans:
    """Passes events on; of bans, one a second and frontend, with the number of clients that it stands for.

    :param on_event: gets the events.
    :param clock: seconds on a monotonic clock.
    :param timer: for those that are held back.
    """

    def __init__(self, on_event: OnEvent, clock: Callable[[], float], timer: IReactorTime) -> None:
        self._on_event = on_event
        self._clock = clock
        self._timer = timer
        self._bans: dict[str, RateLimitedLog[str, Mapping[str, Any]]] = {}

    def report(self, kind: str, about: Mapping[str, Any]) -> None:
        """Take an event."""
        if kind != "ban":
            self._on_event(kind, about)
            return
        frontend = about["frontend"]
        if frontend not in self._bans:
            self._bans[frontend] = RateLimitedLog(self._write, self._clock, self._timer)
        self._bans[frontend].note(frontend, about)

    def _write(self, held: Counter[str], last: Mapping[str, Any]) -> None:
        self._on_event("ban", {**last, "count": held.total()})
