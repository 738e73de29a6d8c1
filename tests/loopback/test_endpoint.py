"""The endpoint of the probes keeps to what Twisted says of endpoints, whatever the factory does."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from support.descriptors import open_descriptors, opened_since
from support.peers import unanswering
from support.probe_peers import Server
from support.sockets import Recorder, until
from tcpbalance import Target, endpoint_for
from tcpbalance.config.addresses import Address
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.wire.proxy_protocol import ProxyVersion, encode_v2_local

reactor: Any = global_reactor


class Unusable(Recorder):
    """Cannot begin."""

    def connectionMade(self) -> None:
        raise RuntimeError("cannot begin")


class Picky(Factory):
    """Makes no protocol, or raises."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def buildProtocol(self, addr: object) -> Protocol | None:
        if self.error is not None:
            raise self.error
        return None


class EndpointTests(TestCase):
    """Connections to a server of the stock reactor, and to none."""

    timeout = 30

    def setUp(self) -> None:
        self.server = Server()
        port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.address = f"127.0.0.1:{port.getHost().port}"

    def connect(
        self, factory: IProtocolFactory, address: str = "", version: ProxyVersion | None = None
    ) -> Deferred[IProtocol]:
        endpoint = endpoint_for(
            Target(Address.parse(address or self.address), "b", 10.0, reactor, send_proxy_protocol=version)
        )
        verifyObject(IStreamClientEndpoint, endpoint)
        return endpoint.connect(factory)

    async def gone(self) -> None:
        await until(reactor, lambda: self.server.ends and not self.server.open)

    async def test_gives_the_factorys_protocol_with_its_transport(self) -> None:
        protocol = await self.connect(Factory.forProtocol(Recorder))
        assert isinstance(protocol, Recorder)
        assert protocol.transport.protocol is protocol
        protocol.transport.loseConnection()
        await until(reactor, lambda: protocol.lost)
        await self.gone()

    async def test_opens_with_the_header_that_the_backend_expects(self) -> None:
        headers: dict[ProxyVersion, bytes] = {
            "v1": b"PROXY TCP4 127.0.0.1 127.0.0.1 ",
            "v2": encode_v2_local(),
        }
        for version, start in headers.items():
            self.server.heard.clear()
            protocol: Any = await self.connect(Factory.forProtocol(Recorder), version=version)
            protocol.transport.write(b"hello")
            await until(reactor, lambda: b"".join(self.server.heard).endswith(b"hello"))
            assert b"".join(self.server.heard).startswith(start)
            protocol.transport.loseConnection()
        await self.gone()

    async def test_a_factory_without_a_protocol(self) -> None:
        with self.assertRaises(NoProtocol):
            await self.connect(Picky(None))
        await self.gone()

    async def test_a_factory_that_raises(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "cannot build"):
            await self.connect(Picky(RuntimeError("cannot build")))
        await self.gone()

    async def test_a_protocol_that_cannot_begin(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "cannot begin"):
            await self.connect(Factory.forProtocol(Unusable))
        await self.gone()

    async def test_refused(self) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            with self.assertRaises(ConnectFailed) as caught:
                await self.connect(Factory(), f"127.0.0.1:{holder.getsockname()[1]}")
        assert caught.exception.cause == "refused"

    async def test_cancelled(self) -> None:
        with unanswering() as address:
            before = open_descriptors()
            connecting = self.connect(Factory.forProtocol(Recorder), address)
            assert opened_since(before)
            connecting.cancel()
            assert not opened_since(before)
            with self.assertRaises(CancelledError):
                await connecting
