"""A balancer that watches its own process starts, serves and stops as one that does not."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from support.sockets import Greeter, port_of, until, was_greeted
from tcpbalance import Backend, Balancer, Frontend, OverloadConfig, Pool

reactor: Any = global_reactor


class OverloadTests(TestCase):
    """A balancer with a bound that no process can keep."""

    def setUp(self) -> None:
        server = reactor.listenTCP(0, Factory.forProtocol(Greeter), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        backend = Backend(f"127.0.0.1:{server.getHost().port}")
        pool = Pool("greeters", [backend], clock=time.monotonic, rng=Random(1))
        self.balancer = Balancer(
            reactor,
            [Frontend("front", "127.0.0.1:0", pool)],
            overload=OverloadConfig(memory=1),
            shutdown_grace=0.1,
        )
        self.addCleanup(self.balancer.stopService)

    async def serve_one(self) -> None:
        (address,) = self.balancer.listens_on("front")
        with socket.create_connection(("127.0.0.1", port_of(address))) as client:
            client.setblocking(False)
            await until(reactor, lambda: was_greeted(client))

    async def test_it_says_so_at_each_start_and_shuts_nobody_out(self) -> None:
        for _ in range(2):
            with capturedLogs() as events:
                self.balancer.startService()
                await self.serve_one()
                await self.balancer.stopService()
            (line,) = [line for line in map(formatEvent, events) if line.startswith("overload: ")]
            assert line.endswith("raise memory in [overload]")
