"""A client that was let in and then could not be served gives back what it holds at the gate."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor

from support.data_paths import DataPathCase
from support.sockets import until
from tcpbalance import Backend, Pool
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.binding import bind
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.factory import FrontendFactory

reactor: Any = global_reactor


class AdmissionTests(DataPathCase):
    """On the portable data path; a client may have one connection."""

    def setUp(self) -> None:
        super().setUp()
        pool = Pool("pool", [Backend("127.0.0.1:1")], clock=time.monotonic, rng=Random(1))
        self.admission = AdmissionControl(Access(), LimitsConfig(connections_per_client=1), time.monotonic)
        self.factory = FrontendFactory(reactor, pool, admission=self.admission)
        sock = bind(Address.parse("127.0.0.1:0"), SocketOptions.of(SocketConfig()))
        self.listener = Listener(reactor, sock, self.factory, 16, self.data_path, self.factory.stats)
        self.addCleanup(self.listener.stopListening)
        self.listener.startListening()

    async def is_reset(self) -> None:
        """Come, and wait until a reset is there."""
        with socket.create_connection(("127.0.0.1", self.listener.getHost().port), 5) as client:
            await until(reactor, lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)

    async def is_reset_each_time(self) -> None:
        for number in range(1, 3):
            await self.is_reset()
            assert len(self.flushLoggedErrors(RuntimeError)) == 1
            stats = self.factory.stats
            assert (len(self.admission.clients), stats.refused.total()) == (0, 0), number
            assert (stats.setup_failures, stats.connections_total) == (number, 0)

    async def test_who_gets_no_transport(self) -> None:
        self.patch(self.data_path, "transport", _fail)
        await self.is_reset_each_time()

    async def test_who_gets_no_session(self) -> None:
        self.patch(SessionContext, "age_limit", _fail)
        await self.is_reset_each_time()

    async def test_who_is_refused(self) -> None:
        key = socket.inet_aton("127.0.0.1")
        assert self.admission.admit(key) is None
        await self.is_reset()
        assert self.factory.stats.refused == {Refusal.TOO_MANY_CONNECTIONS: 1}
        self.admission.release(key)


class NativeAdmissionTests(AdmissionTests):
    """The same on the native data path."""

    data_path_name = "auto"


def _fail(*_: object) -> Any:
    raise RuntimeError("broken on purpose")
