"""A transport that speaks TLS, on real sockets: bytes cut at will, ends, close_notifies, breaks, no room."""

from __future__ import annotations

import contextlib
import gc
import itertools
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from support.certificates import Authority, Issued
from support.network import no_logged_failure
from support.tls_lines import (
    A_RECORD,
    Peer,
    client_context,
    client_in_memory,
    connected,
    frontend_tls,
    is_broken,
    is_readable,
    no_error_is_left,
    to_send,
)
from support.transport_scripts import HalfCloseRecorder
from support.turning_clock import Crank
from support.waiting import until
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.input import Input
from tcpbalance.net.output import Output
from tcpbalance.net.poller import READABLE, WRITABLE, Poller
from tcpbalance.net.pump import READS_A_TURN
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.tls.records import RECORDS_AT_ONCE
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_layer import TlsLayer
from tcpbalance.net.tls.tls_socket import WANTS_WRITE, TlsSocket
from tcpbalance.net.wheel import Wheel

PATIENCE = 10.0
MIB = 1024 * 1024
MORE_THAN_KERNELS_HOLD = 16 * MIB
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"


@implementer(IHandshakeListener)
class Listener(HalfCloseRecorder):
    """Writes down what it is told, and keeps the bytes.

    :ivar failure: why the connection was lost.
    """

    def __init__(self) -> None:
        super().__init__([])
        self.received = b""
        self.failure = ""

    def handshakeCompleted(self) -> None:
        self.story.append("agreed")

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.failure = str(reason.value)


class Introducer(Listener):
    """Is shown what comes first, and lets TLS begin behind a PROXY header."""

    def __init__(self, tls: ServerTls) -> None:
        super().__init__()
        self.tls = tls
        self.transport: SocketTransport | None = None
        self.header = b""

    def dataReceived(self, data: bytes) -> None:
        if self.header:
            super().dataReceived(data)
        elif data.startswith(PROXY):
            self.header = PROXY
            assert self.transport is not None
            self.transport.accept_tls(self.tls, data.removeprefix(PROXY))


@frozen
class Client:
    """Makes our end of a connection to a server."""

    context: SSL.Context

    def connection(self) -> SSL.Connection:
        return client_in_memory(self.context)


class Line:
    """A transport that serves, and the peer that it serves, who speaks TLS in memory.

    :ivar transport: on a poller that is turned by hand.
    """

    def __init__(self, tls: ServerTls) -> None:
        self.reactor = Crank()
        self.poller = Poller(self.reactor)
        self.poller.open()
        theirs, ours = connected()
        self.peer = Peer(theirs, client_in_memory(client_context()))
        self.protocol = Listener()
        self.beneath = ours
        self.transport = SocketTransport(
            self.poller, ours, self.protocol, peer_address(ours.family, ours.getpeername())
        )
        self.poller.watch(ours.fileno(), self.transport.on_events)
        self._tls = tls

    @property
    def story(self) -> list[str]:
        """What the protocol was told."""
        return self.protocol.story

    def begin(self) -> None:
        """Let the transport speak TLS, and make nothing of it yet."""
        self.transport.accept_tls(self._tls)

    def shake(self) -> None:
        """Let the two agree."""
        self.begin()
        self.until(lambda: self.peer.look() is self.peer and "agreed" in self.story)
        self.peer.look()
        self.story.clear()

    def turn(self) -> None:
        """Let the poller have one turn."""
        self.reactor.advance(0)
        self.poller.doRead()

    def until(self, condition: Callable[[], object]) -> None:
        """Turn until something has come true."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up, f"did not come true; {self.story}"
            self.turn()

    def read_by_peer(self, size: int) -> None:
        """Let the peer read until it has so much."""
        self.until(lambda: len(self.peer.look().received) >= size)

    def close(self) -> None:
        self.transport.abortConnection()
        self.peer.close()
        self.poller.close()


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Authority.root().issue(tmp_path_factory.mktemp("tls-transport"), "web", "web.example")


@pytest.fixture(scope="module")
def tls(issued: Issued) -> ServerTls:
    return ServerTls(frontend_tls(issued))


@pytest.fixture
def fresh(tls: ServerTls) -> Iterator[Line]:
    """Before anything was said."""
    line = Line(tls)
    with no_logged_failure():
        yield line
        line.close()


@pytest.fixture
def line(fresh: Line) -> Line:
    """When the two have agreed."""
    fresh.shake()
    return fresh


# Bytes


def test_a_record_in_segments_of_one_byte(line: Line) -> None:
    for byte in line.peer.written(b"hello"):
        line.peer.sock.sendall(bytes([byte]))
        line.turn()
    line.until(lambda: line.protocol.received == b"hello")
    assert line.story == ["data 5"]


def test_several_records_in_one_segment(line: Line) -> None:
    line.peer.sock.sendall(b"".join(map(line.peer.written, [b"one", b"two", b"three"])))
    line.until(lambda: line.protocol.received == b"onetwothree")


@pytest.mark.parametrize("size", [4096, 5000, 16_000, A_RECORD])
def test_many_records_are_all_read_though_no_more_comes(line: Line, size: int) -> None:
    data = b"".join(line.peer.written(b"x" * size) for _ in range(80_000 // size + 1))
    line.beneath.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * len(data))
    line.peer.sock.sendall(data)
    line.until(lambda: len(line.protocol.received) == (80_000 // size + 1) * size)


def test_a_turn_takes_a_few_records_whatever_is_in_them(line: Line) -> None:
    line.peer.sock.sendall(b"".join(line.peer.written(b"x") for _ in range(1000)))
    until(lambda: is_readable(line.beneath), "the records")
    line.poller.doRead()
    assert 0 < len(line.protocol.received) <= READS_A_TURN * RECORDS_AT_ONCE
    line.until(lambda: len(line.protocol.received) == 1000)


def test_what_is_written_is_read(line: Line) -> None:
    line.transport.write(b"hello")
    line.transport.writeSequence([b" ", b"world"])
    line.read_by_peer(11)
    assert line.peer.received == b"hello world"


def test_bytes_go_both_ways_at_once(line: Line) -> None:
    for number in range(100):
        line.peer.sock.sendall(line.peer.written(bytes([number]) * 1000))
        line.transport.write(bytes([number]) * 1000)
        line.turn()
        line.peer.look()
    line.read_by_peer(100_000)
    line.until(lambda: len(line.protocol.received) == 100_000)
    assert line.peer.received == line.protocol.received


def test_a_transport_that_is_paused_reads_nothing_and_loses_nothing(line: Line) -> None:
    line.transport.pauseProducing()
    line.peer.sock.sendall(line.peer.written(b"one") + line.peer.written(b"two") + line.peer.close_notify())
    for _ in range(10):
        line.turn()
    assert line.story == []
    line.transport.resumeProducing()
    line.until(lambda: line.story == ["data 6", "read closed"])


def test_a_protocol_that_wants_no_more_gets_no_more(line: Line) -> None:
    """Though OpenSSL, or a part of a record, leaves something to be read that no event will report."""

    def stop(data: bytes) -> None:
        line.protocol.received += data
        line.transport.read_no_more()

    line.protocol.dataReceived = stop  # type: ignore[method-assign]
    line.peer.sock.sendall(b"".join(line.peer.written(b"x" * 1000) for _ in range(2 * RECORDS_AT_ONCE)))
    line.until(lambda: line.protocol.received)
    first = line.protocol.received
    assert len(first) < 2000 * RECORDS_AT_ONCE
    for _ in range(10):
        line.turn()
    assert line.protocol.received == first


# Ends


def test_a_close_notify_right_behind_the_last_bytes_needs_no_further_event(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"last") + line.peer.close_notify())
    line.until(lambda: line.story == ["data 4", "read closed"])
    assert line.protocol.received == b"last"


def test_bytes_a_close_notify_and_the_end_in_one_segment(line: Line) -> None:
    line.peer.sock.send(line.peer.written(b"last") + line.peer.close_notify(), socket.MSG_MORE)
    line.peer.sock.shutdown(socket.SHUT_WR)
    line.until(lambda: line.story == ["data 4", "read closed"])


def test_an_end_without_a_close_notify_is_told_as_an_end(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"last"))
    line.peer.sock.shutdown(socket.SHUT_WR)
    line.until(lambda: line.story == ["data 4", "read closed"])


def test_a_reset_is_told_as_a_break(line: Line) -> None:
    line.peer.reset()
    line.until(lambda: line.story == ["lost ConnectionLost"])


def test_a_record_that_was_changed_on_the_way_is_told_as_a_break(line: Line) -> None:
    record = bytearray(line.peer.written(b"hello"))
    record[-1] ^= 1
    line.peer.sock.sendall(record)
    line.until(lambda: line.story == ["lost TlsBroken"])


def test_a_changed_record_right_behind_a_sound_one_is_told_too(line: Line) -> None:
    changed = bytearray(line.peer.written(b"world"))
    eligible = line.peer.written(b"hello")
    changed[-1] ^= 1
    line.peer.sock.sendall(eligible + changed)
    line.until(lambda: "lost TlsBroken" in line.story)


def test_one_who_has_finished_is_still_answered(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"question") + line.peer.close_notify())
    line.peer.sock.shutdown(socket.SHUT_WR)
    line.until(lambda: line.story == ["data 8", "read closed"])
    line.transport.write(b"answer")
    line.transport.loseConnection()
    line.until(lambda: line.peer.look().ended)
    assert (bytes(line.peer.received), line.peer.finished) == (b"answer", True)
    assert line.story[2:] == ["lost ConnectionDone"]


def test_one_who_is_told_the_end_can_still_answer(line: Line) -> None:
    line.transport.write(b"question")
    line.transport.loseWriteConnection()
    line.until(lambda: line.peer.look().ended)
    assert (bytes(line.peer.received), line.peer.finished) == (b"question", True)
    line.peer.sock.sendall(line.peer.written(b"answer") + line.peer.close_notify())
    line.until(lambda: line.story == ["write closed", "data 6", "read closed"])


def test_an_answer_with_its_close_notify_is_whole_though_our_own_meets_nobody(
    line: Line,
) -> None:
    """A close_notify is bytes, unlike an end: who has closed answers it with a reset, at once on this
    network. Ours has left with the end behind it by then."""
    line.peer.sock.sendall(line.peer.written(b"answer") + line.peer.close_notify())
    line.peer.close()
    line.transport.loseWriteConnection()
    line.until(lambda: "lost ConnectionLost" in line.story or "read closed" in line.story)
    assert line.story[:3] == ["write closed", "data 6", "read closed"]


def test_an_answer_without_its_close_notify_is_broken_off_by_a_reset(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"half an answ"))
    line.peer.reset()
    line.until(lambda: line.story == ["data 12", "lost ConnectionLost"])


def test_an_answer_is_read_though_a_write_has_met_the_break_behind_it(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"answer"))
    line.peer.reset()
    line.transport.write(b"more of the question")
    line.until(lambda: line.story == ["data 6", "lost ConnectionLost"])


def test_a_close_notify_is_an_end_though_a_write_has_met_the_break_behind_it(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"answer") + line.peer.close_notify())
    line.peer.reset()
    line.transport.write(b"more of the question")
    line.until(lambda: "lost ConnectionLost" in line.story)
    assert line.story == ["data 6", "read closed", "lost ConnectionLost"]


def test_a_reset_behind_an_end_without_a_close_notify(line: Line) -> None:
    line.peer.sock.sendall(line.peer.written(b"answer"))
    line.peer.close()
    line.transport.loseWriteConnection()
    line.until(lambda: "lost ConnectionLost" in line.story)
    assert line.story[:2] == ["write closed", "data 6"]


def test_closing_says_close_notify(line: Line) -> None:
    line.transport.loseConnection()
    line.until(lambda: line.peer.look().ended)
    assert line.peer.finished


def test_aborting_does_not_say_close_notify(line: Line) -> None:
    line.transport.write(b"half an answ")
    line.read_by_peer(12)
    line.transport.abortConnection()
    with pytest.raises(ConnectionResetError):
        line.peer.sock.recv(1)
    assert line.story == ["lost ConnectionAborted"]


# No room


def test_a_peer_that_does_not_read_gets_all_once_it_does(line: Line) -> None:
    data = bytes(range(256)) * (MORE_THAN_KERNELS_HOLD // 256)
    line.transport.write(data)
    for _ in range(10):
        line.turn()
    assert line.transport.full
    line.read_by_peer(len(data))
    assert line.peer.received == data


def test_encrypted_bytes_that_wait_make_it_full_and_are_in_flight(line: Line) -> None:
    while not line.transport.full:
        line.transport.write(bytes(A_RECORD))
    socket_: Any = line.transport.socket
    assert line.transport.output.unsent is None
    assert line.transport.output.waiting() == len(socket_.unsent) > 0


@pytest.mark.parametrize("ends", ["breaks", "is_closed"])
def test_encrypted_bytes_that_never_left_cut_it_short(line: Line, ends: str) -> None:
    while not line.transport.full:
        line.transport.write(bytes(A_RECORD))
    assert (line.transport.output.unsent, line.transport.cut_short) == (None, False)
    if ends == "breaks":
        line.peer.reset()
        line.until(lambda: line.story == ["lost ConnectionLost"])
    else:
        line.transport.abortConnection()
    assert line.transport.cut_short
    assert line.transport.output.waiting() == 0, "nothing is kept for a peer that is gone"


def test_a_close_notify_that_never_left_cuts_nothing_short(line: Line) -> None:
    line.transport.write(b"all of it")
    line.peer.reset()
    line.transport.loseWriteConnection()
    line.until(lambda: line.story == ["lost ConnectionLost"])
    assert not line.transport.cut_short


def test_an_end_waits_for_room_with_the_bytes_before_it(line: Line) -> None:
    line.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    line.transport.loseWriteConnection()
    line.turn()
    assert line.story == []
    line.until(lambda: line.peer.look().ended)
    assert (len(line.peer.received), line.peer.finished) == (MORE_THAN_KERNELS_HOLD, True)
    assert line.story == ["write closed"]


def test_closing_waits_for_room_with_the_bytes_before_it(line: Line) -> None:
    line.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    line.transport.loseConnection()
    line.until(lambda: line.peer.look().ended)
    assert (len(line.peer.received), line.peer.finished) == (MORE_THAN_KERNELS_HOLD, True)
    assert line.story == ["lost ConnectionDone"]


def test_a_transport_that_is_closed_has_nothing_in_flight(line: Line) -> None:
    line.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    assert line.transport.in_flight() > 0
    line.transport.abortConnection()
    assert line.transport.in_flight() == 0


def test_a_close_notify_waits_for_room_of_its_own(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    send_close_notify = TlsSocket.send_close_notify
    rooms = iter([False, True])

    def with_room(sock: TlsSocket, flags: int) -> None:
        if not next(rooms):
            raise BlockingIOError
        send_close_notify(sock, flags)

    monkeypatch.setattr(TlsSocket, "send_close_notify", with_room)
    line.transport.loseWriteConnection()
    assert (line.story, line.transport.full) == ([], True)
    # Any event brings the word that there is room.
    line.peer.sock.sendall(line.peer.written(b"x"))
    line.until(lambda: line.peer.look().finished)
    assert "write closed" in line.story


@pytest.mark.parametrize("step", ["do_handshake", "recv"])
def test_what_waits_for_room_to_write_goes_on_when_there_is_some(
    fresh: Line, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """TLS may have to answer before it can read on: RFC 8446, section 4.6.3."""
    take = getattr(TlsSocket, step)
    rooms = iter([False])

    def with_room(sock: TlsSocket, *arguments: Any) -> Any:
        if not next(rooms, True):
            sock.pending = WANTS_WRITE
            if step == "do_handshake":
                return None
            raise BlockingIOError
        return take(sock, *arguments)

    monkeypatch.setattr(TlsSocket, step, with_room)
    fresh.begin()
    fresh.peer.look()
    if step == "recv":
        fresh.until(lambda: fresh.peer.look() is fresh.peer and "agreed" in fresh.story)
        fresh.peer.sock.sendall(fresh.peer.written(b"x"))
    fresh.until(lambda: fresh.transport.full)
    fresh.transport.on_events(WRITABLE)
    fresh.until(lambda: fresh.peer.look() is fresh.peer and "agreed" in fresh.story)
    if step == "recv":
        fresh.until(lambda: fresh.protocol.received == b"x")


def test_a_reset_while_there_is_no_room_is_told(line: Line) -> None:
    line.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    line.peer.reset()
    line.until(lambda: line.story == ["lost ConnectionLost"])


# The handshake


def test_a_handshake_in_segments_of_one_byte(fresh: Line) -> None:
    fresh.begin()
    with contextlib.suppress(SSL.WantReadError):
        fresh.peer.tls.do_handshake()
    hello = fresh.peer.tls.bio_read(A_RECORD)
    for byte in hello:
        fresh.peer.sock.sendall(bytes([byte]))
        fresh.turn()
    fresh.until(lambda: fresh.peer.look() is fresh.peer and fresh.story == ["agreed"])


def _agree_alone(line: Line) -> bytes:
    """Let the peer come to its end of the handshake, and give its last step, which is not sent."""
    line.begin()
    peer = line.peer

    def agreed() -> bool:
        with contextlib.suppress(SSL.WantReadError):
            peer.tls.do_handshake()
            return True
        peer.sock.sendall(b"".join(to_send(peer.tls)))
        with contextlib.suppress(BlockingIOError):
            peer.tls.bio_write(peer.sock.recv(A_RECORD))
        return False

    line.until(agreed)
    return b"".join(to_send(peer.tls))


def test_what_comes_with_the_end_of_the_handshake_is_read(fresh: Line) -> None:
    """The peer's last step, its question and its close_notify are one segment."""
    last = _agree_alone(fresh)
    assert fresh.story == []
    fresh.peer.sock.sendall(last + fresh.peer.written(b"question") + fresh.peer.close_notify())
    fresh.until(lambda: fresh.story == ["agreed", "data 8", "read closed"])


def test_no_further_turn_looks_for_more_than_what_came_with_the_end_of_the_handshake(fresh: Line) -> None:
    fresh.peer.sock.sendall(_agree_alone(fresh) + fresh.peer.written(b"question"))
    with patch.object(fresh.poller, "again") as again:
        fresh.until(lambda: fresh.story == ["agreed", "data 8"])
    again.assert_not_called()
    fresh.peer.sock.sendall(fresh.peer.written(b"another") + fresh.peer.close_notify())
    fresh.until(lambda: fresh.story == ["agreed", "data 15", "read closed"])


def test_what_comes_while_a_transport_is_paused_at_the_end_of_the_handshake_is_not_lost(fresh: Line) -> None:
    fresh.peer.sock.sendall(_agree_alone(fresh) + fresh.peer.written(b"question"))
    fresh.transport.pauseProducing()
    fresh.until(lambda: fresh.story == ["agreed"])
    fresh.peer.sock.sendall(fresh.peer.written(b"another"))
    until(lambda: is_readable(fresh.beneath), "the other")
    fresh.turn()
    fresh.transport.resumeProducing()
    fresh.until(lambda: fresh.protocol.received == b"questionanother")


def test_a_break_right_behind_the_end_of_the_handshake_is_all_that_is_told(fresh: Line) -> None:
    last = _agree_alone(fresh)
    fresh.peer.sock.sendall(last + fresh.peer.written(b"question"))
    fresh.peer.reset()
    fresh.until(lambda: fresh.story == ["lost ConnectionLost"])


def test_a_client_that_breaks_off_before_our_last_step_has_said_what_it_said(fresh: Line) -> None:
    """The last step of a server are tickets for later."""
    last = _agree_alone(fresh)
    fresh.peer.sock.sendall(last + fresh.peer.written(b"statement"))
    fresh.peer.reset()
    until(lambda: is_broken(fresh.beneath), "the break")
    fresh.transport.on_events(READABLE)
    fresh.until(lambda: "lost ConnectionLost" in fresh.story)
    assert fresh.story == ["agreed", "data 9", "lost ConnectionLost"]


def test_garbage_instead_of_a_handshake_is_told_with_its_cause(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    fresh.until(lambda: fresh.story == ["lost HandshakeFailed"])
    assert fresh.protocol.failure == "http request"


def test_a_peer_that_closes_during_the_handshake(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.look()
    fresh.turn()
    fresh.peer.sock.shutdown(socket.SHUT_WR)
    fresh.until(lambda: fresh.story == ["lost ConnectionDone"])


def test_a_peer_that_closes_right_behind_its_first_step(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.look()
    fresh.peer.sock.shutdown(socket.SHUT_WR)
    fresh.until(lambda: fresh.story == ["lost ConnectionDone"])


def test_a_peer_that_closes_right_behind_its_last_step(fresh: Line) -> None:
    fresh.peer.sock.sendall(_agree_alone(fresh))
    fresh.peer.sock.shutdown(socket.SHUT_WR)
    fresh.until(lambda: fresh.story == ["agreed", "read closed"])


def test_a_peer_that_breaks_off_during_the_handshake(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.look()
    fresh.turn()
    fresh.peer.reset()
    fresh.until(lambda: fresh.story == ["lost ConnectionLost"])


def test_a_break_that_the_handshake_meets_before_the_event(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.reset()
    fresh.transport.on_events(READABLE)
    assert fresh.story == ["lost ConnectionLost"]


def test_a_break_that_an_answer_of_the_handshake_meets(fresh: Line) -> None:
    """The write takes the error from the kernel, which shows an end of the stream after that."""
    fresh.begin()
    with contextlib.suppress(SSL.WantReadError):
        fresh.peer.tls.do_handshake()
    fresh.peer.sock.sendall(b"".join(to_send(fresh.peer.tls)))
    until(lambda: is_readable(fresh.beneath), "the hello")
    fresh.peer.reset()
    until(lambda: is_broken(fresh.beneath), "the break")
    fresh.transport.on_events(READABLE)
    fresh.until(lambda: fresh.story == ["lost ConnectionLost"])


def test_a_handshake_that_openssl_does_not_begin_is_told_in_a_later_turn(fresh: Line) -> None:
    """There is no version that the configuration of OpenSSL and ours both allow, such as here."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    fresh.transport.connect_tls(Client(context))
    assert fresh.story == []
    fresh.until(lambda: fresh.story == ["lost HandshakeFailed"])
    assert fresh.protocol.failure == "no protocols available"
    assert no_error_is_left()


def test_a_first_step_that_finds_no_room_goes_out_once_there_is_some(fresh: Line) -> None:
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += fresh.beneath.send(bytes(MIB))
    fresh.transport.connect_tls(Client(client_context()))
    received = bytearray()

    def hello_came() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(fresh.peer.sock.recv(MIB))
        return len(received) > sent

    fresh.until(hello_came)
    assert received[sent] == 22, "a record of the handshake: RFC 8446, section 5.1"


def test_a_server_that_breaks_off_before_our_last_step_has_not_agreed(fresh: Line, issued: Issued) -> None:
    """OpenSSL's side of it is over then: it has written to memory."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_file(str(issued.certificate))
    context.use_privatekey_file(str(issued.key))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    fresh.transport.connect_tls(Client(client_context()))
    fresh.turn()
    until(lambda: is_readable(fresh.peer.sock), "the hello")
    server.bio_write(fresh.peer.sock.recv(A_RECORD))
    with contextlib.suppress(SSL.WantReadError):
        server.do_handshake()
    fresh.peer.sock.sendall(b"".join(to_send(server)))
    until(lambda: is_readable(fresh.beneath), "the answer")
    fresh.peer.reset()
    until(lambda: is_broken(fresh.beneath), "the break")
    fresh.transport.on_events(READABLE)
    fresh.until(lambda: fresh.story == ["lost ConnectionLost"])


def test_closing_during_the_handshake(fresh: Line) -> None:
    fresh.begin()
    fresh.peer.look()
    fresh.turn()
    fresh.transport.loseConnection()
    assert fresh.story == ["lost ConnectionDone"]
    fresh.until(lambda: fresh.peer.look().ended)
    assert not fresh.peer.finished


def test_tls_begins_behind_a_header_in_the_same_segment(fresh: Line, tls: ServerTls) -> None:
    introducer = Introducer(tls)
    introducer.transport = fresh.transport
    fresh.protocol = introducer
    fresh.transport.hand_over(introducer)
    fresh.transport.look()
    with contextlib.suppress(SSL.WantReadError):
        fresh.peer.tls.do_handshake()
    fresh.peer.sock.sendall(PROXY + fresh.peer.tls.bio_read(A_RECORD))
    fresh.until(lambda: fresh.peer.look() is fresh.peer and "agreed" in fresh.story)
    fresh.peer.sock.sendall(fresh.peer.written(b"hello"))
    fresh.until(lambda: fresh.protocol.received == b"hello")


def test_garbage_behind_a_header_is_told_with_its_cause(fresh: Line, tls: ServerTls) -> None:
    """The handshake gets it, and no read for the preview."""
    introducer = Introducer(tls)
    introducer.transport = fresh.transport
    fresh.protocol = introducer
    fresh.transport.hand_over(introducer)
    fresh.transport.look()
    fresh.peer.sock.sendall(PROXY + b"GET / HTTP/1.0\r\n\r\n")
    fresh.until(lambda: fresh.story == ["lost HandshakeFailed"])
    assert fresh.protocol.failure == "http request"


def test_a_closed_transport_leaves_nothing_for_the_garbage_collector(tls: ServerTls) -> None:
    def left_over() -> int:
        return sum(
            isinstance(thing, SocketTransport | Input | Output | TlsLayer) for thing in gc.get_objects()
        )

    gc.collect()
    before = left_over()
    gc.disable()
    try:
        line = Line(tls)
        line.shake()
        line.transport.write(b"hello")
        line.transport.loseConnection()
        line.close()
        del line
        assert left_over() == before
    finally:
        gc.enable()


# Any cut


def _cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut *data* into pieces of these sizes, again and again, and leave a last one when there are many."""
    start = 0
    for size in itertools.islice(itertools.cycle(sizes), MAX_CUTS):
        yield data[start : start + size]
        start += size
    yield data[start:]


PIECES = st.lists(st.integers(1, 40_000), min_size=1, max_size=12)
MAX_CUTS = 100
CUTS = st.lists(st.integers(1, 20_000), min_size=1, max_size=8)


@settings(max_examples=50)
@given(pieces=PIECES, cuts=CUTS, ends=st.sampled_from(["close_notify", "end", "both"]))
def test_however_it_is_cut_the_stream_is_the_same(
    tls: ServerTls, pieces: list[int], cuts: list[int], ends: str
) -> None:
    line = Line(tls)
    line.shake()
    data = b"".join(bytes([number]) * size for number, size in enumerate(pieces))
    wire = b"".join(line.peer.written(bytes([number]) * size) for number, size in enumerate(pieces))
    for segment in _cut(wire + (line.peer.close_notify() if ends != "end" else b""), cuts):
        rest = segment
        while rest:
            with contextlib.suppress(BlockingIOError):
                rest = rest[line.peer.sock.send(rest) :]
            line.turn()
    if ends != "close_notify":
        line.peer.sock.shutdown(socket.SHUT_WR)
    line.until(lambda: line.story == [f"data {len(data)}", "read closed"])
    assert line.protocol.received == data
    line.close()


@settings(max_examples=50)
@given(pieces=PIECES)
def test_however_it_is_written_the_stream_is_the_same(tls: ServerTls, pieces: list[int]) -> None:
    line = Line(tls)
    line.shake()
    for number, size in enumerate(pieces):
        line.transport.write(bytes([number]) * size)
    line.transport.loseWriteConnection()
    line.until(lambda: line.peer.look().ended)
    assert line.peer.received == b"".join(bytes([number]) * size for number, size in enumerate(pieces))
    assert line.peer.finished
    line.close()


# Joined to another


class Joined:
    """A transport that speaks TLS, joined to one that does not.

    :ivar near: the peer of the first, of TLS.
    :ivar far: the peer of the other.
    """

    def __init__(self, tls: ServerTls) -> None:
        self.line = Line(tls)
        self.line.shake()
        self.near = self.line.peer
        self.far, ours = connected()
        self.protocol = Listener()
        self.sink = SocketTransport(
            self.line.poller, ours, self.protocol, peer_address(ours.family, ours.getpeername())
        )
        self.line.poller.watch(ours.fileno(), self.sink.on_events)
        self.line.transport.relay_with(self.sink, Wheel(self.line.reactor, self.line.reactor.seconds))

    def close(self) -> None:
        self.sink.abortConnection()
        self.far.close()
        self.line.close()


@pytest.fixture
def joined(tls: ServerTls) -> Iterator[Joined]:
    with no_logged_failure():
        joined = Joined(tls)
        yield joined
        joined.close()


def test_bulk_from_tls_to_a_plain_transport(joined: Joined) -> None:
    data = bytes(range(256)) * (8 * MIB // 256)
    wire = memoryview(joined.near.written(data) + joined.near.close_notify())
    received = bytearray()

    def all_there() -> bool:
        nonlocal wire
        with contextlib.suppress(BlockingIOError):
            wire = wire[joined.near.sock.send(wire) :]
        with contextlib.suppress(BlockingIOError):
            received.extend(joined.far.recv(MIB))
        return len(received) == len(data)

    joined.line.until(all_there)
    assert received == data
    joined.line.until(lambda: joined.line.story == ["read closed"])


def test_bulk_from_a_plain_transport_to_tls(joined: Joined) -> None:
    data = bytes(range(256)) * (8 * MIB // 256)
    rest = memoryview(data)

    def all_there() -> bool:
        nonlocal rest
        with contextlib.suppress(BlockingIOError):
            rest = rest[joined.far.send(rest) :]
        joined.near.look()
        return len(joined.near.received) == len(data)

    joined.line.until(all_there)
    assert joined.near.received == data
    assert isinstance(joined.line.transport.getHandle(), SSL.Connection)
    assert not joined.line.transport.output.splices
