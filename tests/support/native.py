"""One frontend on a native data path, with peers and clients in threads."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor

from support.data_paths import DataPathCase
from support.sockets import until
from tcpbalance import Backend, EndReason, FrontendFactory, Pool, SessionRecord, SocketConfig
from tcpbalance.config.addresses import Address
from tcpbalance.net.binding import bind
from tcpbalance.net.data_path import DataPath, NativeDataPath
from tcpbalance.net.listener import Listener
from tcpbalance.net.poller import Poller
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.splice import KernelPipe, Pipe, PipeStore

reactor: Any = global_reactor

PLAIN = SocketOptions.of(SocketConfig())


class NativeCase(DataPathCase):
    """One frontend on a native data path whose pipes the test may choose, with peers and clients in threads.

    At the end of each test no session, no slot and no lent pipe is left, and each session has one record.
    """

    def setUp(self) -> None:
        self.pipes = PipeStore(self.make_pipe)
        self.pipes_made = 0
        super().setUp()
        self.records: list[SessionRecord] = []

    def open_data_path(self) -> DataPath:
        data_path = NativeDataPath(Poller(reactor, pipes=self.pipes))
        data_path.open()
        self.addCleanup(data_path.close)
        return data_path

    def make_pipe(self, size: int) -> Pipe:
        self.pipes_made += 1
        return KernelPipe(size)

    def serve(self, *backends: str, listen: str = "127.0.0.1:0") -> int:
        """Listen; gives the port, 0 for a unix socket."""
        self.backends = [Backend(address) for address in backends]
        pool = Pool("pool", self.backends, clock=time.monotonic, rng=Random(1))
        connector = SocketConnector(reactor, PLAIN, self.data_path)
        self.frontend = FrontendFactory(reactor, pool, on_record=self.records.append, connector=connector)
        sock = bind(Address.parse(listen), PLAIN)
        listener = Listener(reactor, sock, self.frontend, 1024, self.data_path)
        self.addCleanup(listener.stopListening)
        listener.startListening()
        return int(getattr(listener.getHost(), "port", 0))

    @property
    def sessions(self) -> set[Any]:
        """Those that are open."""
        return self.frontend.registry.sessions

    async def ended(self, count: int) -> list[EndReason]:
        """Wait until so many sessions have ended, and see that nothing of them is left."""
        await until(reactor, lambda: len(self.records) >= count, 30.0)
        assert len(self.records) == count
        assert self.frontend.registry.sessions == set()
        assert sum(self.frontend.stats.ended.values()) == count
        assert [backend.active for backend in self.backends] == [0] * len(self.backends)
        assert self.pipes.lent == 0
        return [record.reason for record in self.records]
