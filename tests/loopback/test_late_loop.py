"""How long connecting took is told by the kernel, however late our own loop hears of it."""

from __future__ import annotations

import itertools
import socket
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from support.sockets import port_of, until
from tcpbalance import Backend, Balancer, Frontend, OutlierConfig, Pool
from tcpbalance.net.data_path import DataPathName
from tcpbalance.net.tcp_info import NOTICEABLE

reactor: Any = global_reactor


class LateLoopTests(TestCase):
    """On the native data path."""

    data_path_name: DataPathName = "auto"

    async def test_what_slow_is_judged_by_leaves_out_our_own_time(self) -> None:
        server = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        backend = Backend(f"127.0.0.1:{server.getHost().port}")
        pool = Pool("web", [backend], outlier=OutlierConfig(slow_factor=3.0))
        took: list[tuple[float, float]] = []
        assert pool.ejections is not None
        self.patch(pool.ejections, "connected", lambda _, *time: took.append(time))
        balancer = Balancer(
            reactor, [Frontend("web", "127.0.0.1:0", pool)], shutdown_grace=0.1, data_path=self.data_path_name
        )
        self.addCleanup(balancer.stopService)
        balancer.startService()
        # By our clock, a second goes by between any two looks at it.
        factory = balancer.factories["web"]
        factory.context = evolve(factory.context, clock=itertools.count().__next__)
        with socket.create_connection(("127.0.0.1", port_of(balancer.listens_on("web")[0]))):
            await until(reactor, lambda: took)
        ((seconds, noticeable),) = took
        assert 0.0 < seconds < 0.5
        assert noticeable == NOTICEABLE


class PortableLateLoopTests(LateLoopTests):
    """On Twisted's transports."""

    data_path_name: DataPathName = "portable"
