"""One frontend on a quick road, with peers and clients in threads."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor

from support.roads import RoadCase
from support.sockets import until
from tcpbalance import Backend, EndReason, FrontendFactory, Pool, SessionRecord, SocketConfig
from tcpbalance.config.addresses import Address
from tcpbalance.net.connecting import SocketConnector
from tcpbalance.net.listener import Listener, bind
from tcpbalance.net.roads import QuickRoad, Road
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.splice import KernelPipe, Pipe, PipeStore
from tcpbalance.net.switchboard import Switchboard

reactor: Any = global_reactor

PLAIN = SocketOptions.of(SocketConfig())


class QuickCase(RoadCase):
    """One frontend on a quick road whose pipes the test may choose, with peers and clients in threads.

    At the end of each test no session, no slot and no lent pipe is left, and each session has one account.
    """

    def setUp(self) -> None:
        self.pipes = PipeStore(self.make_pipe)
        self.pipes_made = 0
        super().setUp()
        self.records: list[SessionRecord] = []

    def open_road(self) -> Road:
        road = QuickRoad(Switchboard(reactor, pipes=self.pipes))
        road.open()
        self.addCleanup(road.close)
        return road

    def make_pipe(self) -> Pipe:
        self.pipes_made += 1
        return KernelPipe()

    def serve(self, *backends: str, listen: str = "127.0.0.1:0") -> int:
        """Listen; gives the port, 0 for a unix socket."""
        self.backends = [Backend(address) for address in backends]
        pool = Pool("pool", self.backends, seconds=time.monotonic, random=Random(1))
        connector = SocketConnector(reactor, PLAIN, self.road)
        self.frontend = FrontendFactory(reactor, pool, account=self.records.append, connector=connector)
        sock = bind(Address.parse(listen), PLAIN)
        listener = Listener(reactor, sock, self.frontend, 1024, self.road)
        self.addCleanup(listener.stopListening)
        listener.startListening()
        return int(getattr(listener.getHost(), "port", 0))

    async def ended(self, count: int) -> list[EndReason]:
        """Wait until so many sessions have ended, and see that nothing of them is left."""
        await until(reactor, lambda: len(self.records) >= count, 30.0)
        assert len(self.records) == count
        assert self.frontend.sessions == set()
        assert sum(self.frontend.ended.values()) == count
        assert [backend.active for backend in self.backends] == [0] * len(self.backends)
        assert self.pipes.lent == 0
        return [record.reason for record in self.records]
