"""A probe whose checks end when the test says so."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tcpbalance import Target


class UnfinishedProbe:
    """Keeps its checks open.

    :ivar asked: each check, to be fired by the test.
    :ivar cancelled: how many were cancelled.
    """

    def __init__(self) -> None:
        self.cancelled = 0
        self.asked: list[Deferred[None]] = []

    def check(self, target: Target) -> Deferred[None]:
        """The balancer's call: begin a check."""
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def _cancel(self, _: object) -> None:
        self.cancelled += 1
