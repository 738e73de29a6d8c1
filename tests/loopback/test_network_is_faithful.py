"""Real sockets on a real reactor, held to the outcomes that the memory network is held to in tests/relay."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor

from support.memory_peers import Peer
from support.network import no_logged_failure
from support.transport_scripts import (
    SCRIPTS,
    HalfCloseRecorder,
    Recorder,
    Script,
    outcome,
    reset_mistaken_for_the_end,
)

PATIENCE = 20.0
"""Seconds after which an outcome that has not come will not come."""

QUIET = 0.02
"""Seconds without any event after which a loopback connection has settled."""


class RealSocket:
    """A socket of the system, with the little more that a ``Peer`` asks of a memory socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.closed = False
        self.write_closed = False
        self._socket = sock
        self._was_reset = False
        self._poll = select.poll()
        self._poll.register(sock, 0)
        sock.setblocking(False)

    @property
    def was_reset(self) -> bool:
        if not self.closed and any(event & select.POLLERR for _, event in self._poll.poll(0)):
            self._was_reset = True
        return self._was_reset

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self._socket.setsockopt(level, name, value)

    def send(self, data: bytes) -> int:
        return self._socket.send(data)

    def recv(self, limit: int) -> bytes:
        return self._socket.recv(limit)

    def shutdown(self, how: int) -> None:
        self.write_closed = True
        self._socket.shutdown(how)

    def close(self) -> None:
        self.closed = True
        self._socket.close()


class LoopbackStage:
    """A recorder on Twisted's server transport, and a program at the other end of the loopback device."""

    def __init__(self, reactor: EPollReactor, protocol: type[Recorder]) -> None:
        self.reactor = reactor
        ours, theirs = _connected_pair()
        self.protocol = protocol([])
        self.peer = Peer(RealSocket(theirs))  # type: ignore[arg-type]  # it has what a Peer uses
        port = type("Port", (), {"_realPortNumber": 0})()
        self._transport = tcp.Server(ours, self.protocol, ours.getpeername(), port, 0, reactor)
        self.protocol.makeConnection(self._transport)

    @property
    def transport(self) -> Any:
        return self._transport

    def settle(self) -> None:
        """Go on until nothing has happened for a while."""
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + QUIET:
            before = outcome(self), self.peer.unsent
            self.turn()
            if (outcome(self), self.peer.unsent) != before:
                quiet_since = time.monotonic()

    def turn(self) -> None:
        self.peer.step()
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(QUIET / 10)

    def await_reset(self) -> None:
        poll = select.poll()
        poll.register(self.transport.getHandle(), 0)
        assert poll.poll(PATIENCE * 1000)

    def close(self) -> None:
        self.peer.reset()
        if not self._transport.disconnected:
            self._transport.abortConnection()
            self.turn()


def _connected_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@pytest.fixture
def reactor() -> Iterator[EPollReactor]:
    """A reactor of the test's own, turned by hand."""
    reactor = EPollReactor()
    yield reactor
    reactor.removeAll()
    reactor.waker.connectionLost(None)
    reactor._poller.close()


@pytest.mark.parametrize(
    ("script", "protocol", "story"), [pytest.param(*row, id=row[0].__name__) for row in SCRIPTS]
)
def test_real_transport_does_the_same(
    reactor: EPollReactor, script: Script, protocol: type[Recorder], story: list[str]
) -> None:
    stage = LoopbackStage(reactor, protocol)
    try:
        with no_logged_failure():
            script(stage)
            give_up = time.monotonic() + PATIENCE
            while outcome(stage) != story and time.monotonic() < give_up:
                stage.turn()
        assert outcome(stage) == story
    finally:
        stage.close()


def test_real_reset_can_be_mistaken_for_the_end(reactor: EPollReactor) -> None:
    """Should this fail one day, Twisted has been mended, and what the relay does about it can go."""
    stages = consumer, producer = [LoopbackStage(reactor, HalfCloseRecorder) for _ in range(2)]
    try:
        reset_mistaken_for_the_end(consumer, producer)
        assert producer.protocol.story == ["read closed"]
    finally:
        for stage in stages:
            stage.close()
