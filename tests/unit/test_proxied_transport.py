"""The endpoint for PROXY headers on transports that are less obliging than those of TCP."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from support.sockets import Recorder
from tcpbalance import ProxyProtocolEndpoint
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v2

HEADER = encode_v2(InetAddress("192.0.2.1", 56324), InetAddress("198.51.100.2", 443))


class Plain:
    """Cannot be aborted, and goes on reading whatever it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.calls.append("write")

    def writeSequence(self, data: list[bytes]) -> None:
        self.calls.append("writeSequence")

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def loseConnection(self) -> None:
        self.calls.append("lose")

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)


class Paused(Recorder):
    """Takes nothing before it is told to."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()


class Scene:
    """One connection through the endpoint, with a transport that the test plays."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.program = Paused()
        self.transport = Plain()
        factory = Factory.forProtocol(lambda: self.program)
        ProxyProtocolEndpoint(cast("IStreamServerEndpoint", self), reactor=self.clock).listen(factory)
        self.protocol = self.factory.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def listen(self, factory: Any) -> Deferred[None]:
        self.factory = factory
        return succeed(None)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_what_cannot_be_aborted_is_closed_and_what_still_comes_is_ignored(scene: Scene) -> None:
    scene.protocol.dataReceived(b"x")
    scene.protocol.dataReceived(HEADER)
    assert scene.transport.calls == ["lose"]
    assert scene.program.connected_to is None
    assert not scene.clock.getDelayedCalls()


def test_bytes_that_come_in_a_pause_do_not_overtake_those_that_wait(scene: Scene) -> None:
    scene.protocol.dataReceived(HEADER + b"one ")
    scene.protocol.dataReceived(b"two")
    assert scene.program.received == b""
    scene.program.transport.resumeProducing()
    scene.program.transport.resumeProducing()
    scene.clock.advance(0)
    assert scene.program.received == b"one two"
    assert scene.transport.calls == ["pause", "resume"]


def test_an_end_in_a_pause_leaves_nothing_behind(scene: Scene) -> None:
    scene.protocol.dataReceived(HEADER + b"one")
    scene.program.transport.resumeProducing()
    scene.protocol.connectionLost()
    assert scene.program.lost is not None
    assert scene.program.received == b""
    assert not scene.clock.getDelayedCalls()


def test_nothing_is_offered_before_there_is_a_protocol_to_offer_it(scene: Scene) -> None:
    assert not hasattr(scene.protocol, "readConnectionLost")
    scene.protocol.dataReceived(HEADER)
    scene.protocol.readConnectionLost()
    assert scene.program.finished
