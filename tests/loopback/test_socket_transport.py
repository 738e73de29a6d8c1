"""Two transports joined, on real sockets: bytes through real pipes, bytes in flight, and urgent data."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.address import UNIXAddress

from support.network import no_logged_failure
from support.transport_scripts import HalfCloseRecorder
from support.turning_clock import Crank
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.poller import Poller
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.wheel import Wheel

PATIENCE = 20.0
MIB = 1024 * 1024


class Joined:
    """Two programs and the transports between them.

    :ivar near: what sends.
    :ivar far: what receives.
    """

    def __init__(self) -> None:
        reactor = Crank()
        self.poller = Poller(reactor)
        self.poller.open()
        self.near, self.source = self._connect()
        self.far, self.sink = self._connect()
        pumps = self.source.relay_with(self.sink, Wheel(reactor, reactor.seconds))
        assert pumps is not None
        self.direction, _ = pumps
        self.received = bytearray()

    def _connect(self) -> tuple[socket.socket, SocketTransport]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            ours, peer = listener.accept()
        for sock in (theirs, ours):
            sock.setblocking(False)
        transport = SocketTransport(self.poller, ours, HalfCloseRecorder([]), peer_address(ours.family, peer))
        self.poller.watch(ours.fileno(), transport.on_events)
        return theirs, transport

    def until(self, condition: Callable[[], object]) -> None:
        """Turn, with the far end reading, until something has come true."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up, f"did not come true; {len(self.received)} bytes came"
            self.turn()
            self._read()

    def turn(self) -> None:
        self.poller._reactor.advance(0)
        self.poller.doRead()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.received += self.far.recv(MIB)

    def close(self) -> None:
        for transport in (self.source, self.sink):
            transport.abortConnection()
        self.near.close()
        self.far.close()
        self.poller.close()


@pytest.fixture
def joined() -> Iterator[Joined]:
    joined = Joined()
    with no_logged_failure():
        yield joined
        joined.close()


@pytest.mark.parametrize("event_first", [False, True])
@pytest.mark.parametrize("unread", [b"", b"question"], ids=["closed", "reset"])
def test_a_write_to_a_unix_socket_does_not_tell_an_end_from_a_break(unread: bytes, event_first: bool) -> None:
    """It says EPIPE in both cases: unix(7)."""
    theirs, ours = socket.socketpair(socket.AF_UNIX)
    ours.setblocking(False)
    poller = Poller(Crank())
    poller.open()
    protocol = HalfCloseRecorder([])
    transport = SocketTransport(poller, ours, protocol, UNIXAddress(None))
    ours.send(unread)
    theirs.send(b"answer")
    theirs.close()
    if event_first:
        poller.watch(ours.fileno(), transport.on_events)
    transport.write(b"more of the question")
    if not event_first:
        poller.watch(ours.fileno(), transport.on_events)
    with no_logged_failure():
        for _ in range(4):
            poller._reactor.advance(0)
            poller.doRead()
    told = ["data 6", "lost ConnectionLost"] if unread else ["data 6", "read closed", "lost ConnectionLost"]
    assert protocol.story == told
    poller.close()


def send_all(joined: Joined, data: bytes) -> None:
    """Let the near end send *data*, while the far end reads."""
    rest = memoryview(data)

    def gone() -> bool:
        nonlocal rest
        with contextlib.suppress(BlockingIOError):
            rest = rest[joined.near.send(rest) :]
        return not rest

    joined.until(gone)


def test_bulk_goes_through_a_pipe_and_comes_out_whole(joined: Joined) -> None:
    data = bytes(range(256)) * (16 * MIB // 256)
    send_all(joined, data)
    joined.until(lambda: len(joined.received) == len(data))
    assert joined.received == data
    assert joined.direction.carried == len(data)
    assert joined.poller.pipes.lent == 0
    assert joined.poller.pipes._idle, "there was none"


def test_bytes_in_flight_are_counted_wherever_they_wait(joined: Joined) -> None:
    assert joined.sink.in_flight() == 0
    sent = 0
    give_up = time.monotonic() + PATIENCE
    while not (joined.sink.full and joined.direction.held):
        assert time.monotonic() < give_up
        with contextlib.suppress(BlockingIOError):
            sent += joined.near.send(bytes(MIB))
        joined.turn()
    assert joined.sink.in_flight() > joined.direction.held
    joined.until(lambda: len(joined.received) == sent)
    joined.until(lambda: joined.sink.in_flight() == 0)


def test_what_comes_behind_urgent_data_does_not_wait(joined: Joined) -> None:
    """A read stops before the urgent byte (tcp(7)), and is short without having brought all there is."""
    joined.turn()
    joined.near.send(b"before")
    joined.near.send(b"!", socket.MSG_OOB)
    joined.near.send(b"behind")
    joined.until(lambda: joined.received == b"beforebehind")


def test_bulk_does_not_stop_at_urgent_data(joined: Joined) -> None:
    """splice(2) never gets past the urgent byte."""
    data = bytes(4 * MIB)
    send_all(joined, data)
    assert joined.direction._bulk
    joined.near.send(b"!", socket.MSG_OOB)
    send_all(joined, data)
    joined.until(lambda: len(joined.received) == 2 * len(data))
