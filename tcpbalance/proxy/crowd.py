"""A bound on the sessions of a frontend that is only tried: who would have had to wait is counted."""

from __future__ import annotations

from twisted.logger import Logger

from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.report import Report


class Crowd:
    """Takes note of clients that come when there are as many sessions as there were to be.

    :param name: the frontend's.
    :param most: the bound.
    :param wheel: the frontend's, for what is told a little later.
    :ivar would_wait: how many there were.
    :ivar report: what the log is told of them: a line a second, at most.
    """

    _log = Logger("tcpbalance.gate")

    def __init__(self, name: str, most: int, wheel: Wheel) -> None:
        self.would_wait = 0
        self.report = Report(wheel, self._tell)
        self._name = name
        self._most = most
        self._told = 0

    def join(self, sessions: int) -> None:
        """A client has come.

        :param sessions: that are open without it.
        """
        if sessions >= self._most:
            self.would_wait += 1
            self.report.note()

    def _tell(self) -> None:
        total, self._told = self.would_wait - self._told, self.would_wait
        self._log.warn(
            "frontend {name}: connections that did not wait, because of dry_run: {total} "
            "(there were {most} already)",
            name=self._name,
            total=total,
            most=self._most,
        )
