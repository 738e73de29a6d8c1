"""Limits on sessions that are only tried: counts what they would have done, and tells the log."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from twisted.logger import Logger

from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.report import Report, Untold

if TYPE_CHECKING:
    from tcpbalance.proxy.frontend import FrontendProtocol


class Tried(Enum):
    """A limit on trial, by its key in the configuration."""

    CONNECTIONS = "connections"
    """The client would have had to wait for another to leave."""

    BANDWIDTH = "bandwidth_per_connection"
    """One of the two sides would have been held back."""

    MIN_RATE = "min_rate"
    """The session would have been ended."""


class Trial:
    """Takes note of clients that limits would have done something to; of each limit once a client.

    :param name: the frontend's.
    :param wheel: the frontend's, for what is told a little later.
    :ivar spared: how many clients there were, by limit.
    :ivar report: what the log is told of them: a line a second, at most.
    """

    _log = Logger("tcpbalance.gate")

    def __init__(self, name: str, wheel: Wheel) -> None:
        self.spared: Counter[Tried] = Counter()
        self.report = Report(wheel, self._tell)
        self._name = name
        self._untold = Untold(self.spared)

    def spare(self, client: FrontendProtocol, limit: Tried) -> None:
        """Let a client go on as if there were no such limit."""
        if limit not in client.spared:
            client.spared = (*client.spared, limit)
            self.spared[limit] += 1
            self.report.note()

    def _tell(self) -> None:
        untold = self._untold.take()
        self._log.warn(
            "frontend {name}: limits not enforced, because of dry_run ({limits})",
            name=self._name,
            limits=", ".join(f"{limit.value}: {untold[limit]}" for limit in Tried if untold[limit]),
        )
