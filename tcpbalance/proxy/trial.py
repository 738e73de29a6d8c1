"""Limits on sessions that are only tried: counts what they would have done, and tells the log."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from twisted.logger import Logger

from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.report import Report


class Tried(Enum):
    """A limit on trial, by its key in the configuration."""

    CONNECTIONS = "connections"
    """The client would have had to wait for another to leave."""

    BANDWIDTH = "bandwidth_per_connection"
    """One of the two sides would have been held back."""

    MIN_RATE = "min_rate"
    """The session would have been ended."""


class Trial:
    """Takes note of sessions that limits would have done something to; of each limit once a session.

    :param name: the frontend's.
    :param wheel: the frontend's, for what is told a little later.
    :ivar spared: how many sessions there were, by limit.
    :ivar report: what the log is told of them: a line a second, at most.
    """

    _log = Logger("tcpbalance.gate")

    def __init__(self, name: str, wheel: Wheel) -> None:
        self.spared: Counter[Tried] = Counter()
        self.report = Report(wheel, self._tell)
        self._name = name
        self._told: Counter[Tried] = Counter()

    def note(self, limit: Tried) -> None:
        """A session goes on as if there were no such limit."""
        self.spared[limit] += 1
        self.report.note()

    def _tell(self) -> None:
        untold, self._told = self.spared - self._told, self.spared.copy()
        self._log.warn(
            "frontend {name}: connections not limited, because of dry_run: {total} ({limits})",
            name=self._name,
            total=untold.total(),
            limits=", ".join(f"{limit.value}: {count}" for limit, count in untold.items()),
        )
