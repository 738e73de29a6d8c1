"""Tests on real sockets that are the same on both data paths."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from support.sockets import Echo
from tcpbalance import Balancer
from tcpbalance.net.data_path import DataPath, DataPathName, choose


class DataPathCase(TestCase):
    """Runs on the portable data path; a subclass with ``data_path_name = "auto"`` on the native one."""

    data_path_name: DataPathName = "portable"

    def setUp(self) -> None:
        # The first clean-up is the last to run: by then all that was on the data path has been closed.
        self.data_path = self.open_data_path()

    def open_data_path(self) -> DataPath:
        """Give a data path of its own, which is closed at the end."""
        reactor: Any = global_reactor
        data_path = choose(self.data_path_name, reactor)
        data_path.open()
        self.addCleanup(data_path.close)
        return data_path

    def echo_server(self) -> str:
        """Start a server that sends back what it gets, and give its address."""
        reactor: Any = global_reactor
        server = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        return f"127.0.0.1:{server.getHost().port}"

    async def started(self, balancer: Balancer) -> Balancer:
        """Wait until a balancer accepts clients, which is to be stopped at the end of the test."""
        balancer.startService()
        await balancer.when_listening()
        return balancer
