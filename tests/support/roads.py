"""Tests on real sockets that are the same on both roads."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from tcpbalance.net.roads import DataPath, Road, choose


class RoadCase(TestCase):
    """Runs on the portable road; a subclass that says ``data_path = "auto"`` is the same on the quick one."""

    data_path: DataPath = "portable"

    def setUp(self) -> None:
        # The first clean-up is the last to run: by then all that was on the road has been closed.
        self.road = self.open_road()

    def open_road(self) -> Road:
        """Give a road of its own, which is closed at the end."""
        reactor: Any = global_reactor
        road = choose(self.data_path, reactor)
        road.open()
        self.addCleanup(road.close)
        return road
