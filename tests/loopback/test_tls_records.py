"""Records that carry no data: a few are read, many hold nobody up, and without end they end the session."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import sys
import termios
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from attrs import frozen
from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from support import peers
from support.certificates import Authority, Issued
from support.clients import connect, read, reset
from support.tls_case import TlsCase
from support.tls_lines import Peer, client_context, client_in_memory, connected, frontend_tls, is_broken
from support.tls_records import CLIENT, SERVER, SUITE_1_2, KeyLog, Sealer, SealerOfOld
from support.waiting import until, until_steady
from tcpbalance import EndReason
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.tls.records import MAX_IN_HANDSHAKE, MAX_WITHOUT_DATA, RECORDS_AT_ONCE
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_socket import MAX_UNSENT, MORE_TO_READ, WANTS_WRITE, TlsSocket
from tcpbalance.proxy.preread_settings import PrereadSettings

FLOOD = 500
TICKETS = 2
"""Records that OpenSSL sends of itself behind the handshake of a server."""

DOWNLOAD = bytes(range(256)) * (64 * 1024)
"""More than the kernels hold between two ends."""

TOO_MANY = "TLS: too many records without data"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    folder = tmp_path_factory.mktemp("tls-records")
    return ServerTls(frontend_tls(Authority.root().issue(folder, "web", "web.example")))


@frozen
class Line:
    """A TLS socket that serves, and its client.

    :ivar make: makes the client's records.
    """

    ours: TlsSocket
    beneath: socket.socket
    peer: Peer
    make: Any

    def come(self, data: bytes) -> None:
        """Let bytes come, and wait until they are there."""
        self.peer.sock.sendall(data)
        until(lambda: len(self.beneath.recv(1 << 20, socket.MSG_PEEK)) == len(data), "what was sent")

    def reads(self) -> Iterator[bytes]:
        """Read again and again: nothing where there was no data."""
        while True:
            try:
                yield self.ours.recv(CHUNK)
            except BlockingIOError:
                yield b""

    def error(self) -> OSError:
        """Read as often as it may take to find out that there are too many; gives the error."""
        reads = self.reads()
        try:
            for _ in range(MAX_WITHOUT_DATA // RECORDS_AT_ONCE + 1):
                assert next(reads) == b""
        except BlockingIOError:
            raise
        except OSError as error:
            return error
        raise AssertionError("no error")

    def reads_until_data(self) -> int:
        """Read until there is data; gives how many reads that took."""
        return 1 + next(count for count, data in enumerate(self.reads()) if data)


def _shake(ours: TlsSocket, peer: Peer) -> None:
    def agreed() -> bool:
        peer.look()
        return ours.do_handshake() is not None

    until(agreed, "the handshake")
    peer.look()


@contextlib.contextmanager
def a_pair(tls: ServerTls, context: SSL.Context) -> Iterator[tuple[TlsSocket, socket.socket, Peer]]:
    theirs, beneath = connected()
    with theirs, beneath:
        ours, peer = TlsSocket(tls.connection(), beneath), Peer(theirs, client_in_memory(context))
        yield ours, beneath, peer


@pytest.fixture
def line(tls: ServerTls) -> Iterator[Line]:
    context = client_context()
    log = KeyLog(context)
    with a_pair(tls, context) as (ours, beneath, peer):
        _shake(ours, peer)
        yield Line(ours, beneath, peer, log.sealer(CLIENT))


# On a socket


def test_a_key_update_is_read_over(line: Line) -> None:
    line.come(line.make.record(b"one") + line.make.key_update() + line.make.record(b"two"))
    assert line.ours.recv(CHUNK) == b"onetwo"


def test_key_updates_between_data_may_be_any_number(line: Line) -> None:
    for _ in range(2 * MAX_WITHOUT_DATA):
        line.come(line.make.key_update() + line.make.record(b"x"))
        assert line.ours.recv(CHUNK) == b"x"


@pytest.mark.parametrize("records", [RECORDS_AT_ONCE - 1, RECORDS_AT_ONCE, MAX_WITHOUT_DATA])
def test_one_read_takes_a_few_records_whatever_is_in_them(line: Line, records: int) -> None:
    line.come(line.make.key_updates(records) + line.make.record(b"data"))
    assert line.reads_until_data() == 1 + records // RECORDS_AT_ONCE


def test_a_read_that_leaves_records_behind_says_so(line: Line) -> None:
    line.come(line.make.key_updates(RECORDS_AT_ONCE + 1))
    with pytest.raises(BlockingIOError):
        line.ours.recv(CHUNK)
    assert line.ours.pending == MORE_TO_READ


def test_a_flood_of_key_updates_is_an_error_after_a_few_reads(line: Line) -> None:
    line.come(line.make.key_updates(FLOOD))
    assert line.error().errno == errno.EPROTO
    assert line.ours.error == "too many records without data"
    with pytest.raises(OSError, match="too many records without data"):
        line.ours.recv(CHUNK)


def test_updates_that_ask_for_others_are_answered_and_what_was_held_up_arrives_whole(line: Line) -> None:
    """OpenSSL on a socket takes the rest of a record that did not fit for a wrong call at the second one."""
    data, sent, received = bytes(range(256)) * (32 * 1024), 0, line.peer.received
    with contextlib.suppress(BlockingIOError):
        while sent < len(data):
            sent += line.ours.send(data[sent : sent + CHUNK])
    assert 0 < sent < len(data)
    line.come(line.make.key_updates(2, requested=True) + line.make.record(b"still here"))
    assert line.ours.recv(CHUNK) == b"still here"

    def all_gone() -> bool:
        nonlocal sent
        line.peer.look()
        with contextlib.suppress(BlockingIOError):
            sent += line.ours.send(data[sent : sent + CHUNK])
        return sent == len(data)

    until(all_gone, lambda: f"{sent} bytes were sent")

    def flushed() -> bool:
        line.peer.look()
        return _flushed(line.ours)

    until(flushed, "the last of it")
    until(lambda: len(line.peer.look().received) == len(data), lambda: f"{len(received)} bytes came")
    assert received == data


def _flushed(ours: TlsSocket) -> bool:
    with contextlib.suppress(BlockingIOError):
        ours.flush()
        return True
    return False


def test_a_break_that_is_met_while_reading_is_not_taken_for_an_end(line: Line) -> None:
    """A record without data has what waits for room sent, which meets it. The kernel tells it once, and shows
    an end of the stream to whoever reads after that."""
    _fill(line.ours)
    line.come(line.make.record(b"last") + line.make.key_update())
    reset(line.peer.sock)
    until(lambda: is_broken(line.beneath), "the break")
    assert line.ours.recv(CHUNK) == b"last"
    with pytest.raises(ConnectionResetError):
        line.ours.recv(CHUNK)
    with pytest.raises(BrokenPipeError):
        line.ours.send(b"x")
    with pytest.raises(ConnectionResetError):
        line.ours.recv(CHUNK)


def test_an_error_is_made_anew_each_time_it_is_told(line: Line) -> None:
    """One that the socket keeps would keep the socket in a circle, through the frames that it has passed."""
    line.come(line.make.key_updates(FLOOD))
    first = line.error()
    with pytest.raises(OSError, match="too many records without data") as second:
        line.ours.recv(CHUNK)
    assert second.value is not first
    assert second.value.args == first.args


def test_where_nothing_is_kept_nothing_is_put_back(line: Line) -> None:
    """Behind the last that is read, OpenSSL is given nothing any more."""
    records = line.ours._records
    records.end()
    assert (records.put_back(), records.between) == (0, False)


def test_a_part_of_a_record_is_none_of_those(line: Line) -> None:
    record = line.make.record(bytes(200))
    for byte in record[:-1]:
        line.come(bytes([byte]))
        with pytest.raises(BlockingIOError):
            line.ours.recv(CHUNK)
    line.come(record[-1:])
    assert line.ours.recv(CHUNK) == bytes(200)


@pytest.mark.parametrize("size", [1, 5, 100, 4095, 4096, 9000, 40_000])
def test_records_of_any_size_are_cut_right_wherever_segments_end(line: Line, size: int) -> None:
    records = b"".join(line.make.record(bytes([n]) * (1 + n * 997 % 16_000)) for n in range(40))
    received, wire = b"", memoryview(records)
    while wire:
        line.come(bytes(wire[:size] if size > 1 else wire[: 1 + len(wire) % 1300]))
        wire = wire[size if size > 1 else 1 + len(wire) % 1300 :]
        with contextlib.suppress(BlockingIOError):
            while True:
                received += line.ours.recv(CHUNK)
    assert received == b"".join(bytes([n]) * (1 + n * 997 % 16_000) for n in range(40))


@pytest.fixture
def line_of_old(tls: ServerTls) -> Iterator[Line]:
    """One of TLS 1.2."""
    context = client_context(version=SSL.TLS1_2_VERSION, ciphers=SUITE_1_2)
    with a_pair(tls, context) as (ours, beneath, peer):
        _shake(ours, peer)
        yield Line(ours, beneath, peer, SealerOfOld(peer.tls))


def test_requests_for_another_handshake_without_end_are_an_error(line_of_old: Line) -> None:
    line_of_old.come(b"".join(line_of_old.make.hello_request() for _ in range(FLOOD)))
    assert line_of_old.error().args[1] == "too many records without data"


def test_an_answer_that_finds_no_room_waits_for_it(line_of_old: Line) -> None:
    ours, make = line_of_old.ours, line_of_old.make
    _fill(ours)
    # Kernels may find a little room again: then the answer is gone, and the next one waits.
    for _ in range(MAX_UNSENT // 16):
        line_of_old.come(make.hello_request() + make.record(b"x"))
        assert next(line_of_old.reads()) == b"x"
        if ours.pending == WANTS_WRITE:
            break
    assert ours.unsent
    # To this client the answer is a reason to end it.
    with pytest.raises(SSL.Error, match="no renegotiation"):
        until(lambda: line_of_old.peer.look() is None or _flushed(ours) is None, "the answer")


def test_answers_that_are_not_read_are_not_kept_without_bound(line_of_old: Line) -> None:
    ours, make = line_of_old.ours, line_of_old.make
    _fill(ours)
    reads = line_of_old.reads()

    def one_more() -> None:
        groups = ([make.hello_request() for _ in range(RECORDS_AT_ONCE - 1)] for _ in range(16))
        line_of_old.come(b"".join(b"".join(group) + make.record(b"x") for group in groups))
        for _ in range(16):
            assert next(reads) == b"x"

    with pytest.raises(OSError, match="too many records without data"):
        until(one_more, "the error")
    assert len(ours.unsent) < MAX_UNSENT + 1024


def _fill(ours: TlsSocket) -> None:
    """Send until no more is taken."""
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(CHUNK))


def _in_tiny_records(hello: bytes) -> bytes:
    """Cut a ClientHello into records of a byte each."""
    return b"".join(hello[:3] + b"\0\1" + bytes([byte]) for byte in hello[5:])


def test_a_handshake_in_too_many_records_fails(tls: ServerTls) -> None:
    with a_pair(tls, client_context()) as (ours, _, peer):
        with contextlib.suppress(SSL.WantReadError):
            peer.tls.do_handshake()
        hello = peer.tls.bio_read(1 << 16)
        assert len(hello) > MAX_IN_HANDSHAKE
        peer.sock.sendall(_in_tiny_records(hello))
        steps = 0

        def failed() -> bool:
            nonlocal steps
            steps += 1
            return ours.do_handshake() is not None

        with pytest.raises(SSL.Error, match="too many records in the handshake"):
            until(failed, "the failure")
        assert steps >= MAX_IN_HANDSHAKE // RECORDS_AT_ONCE


# In sessions


class FloodTests(TlsCase):
    """At either end of a session."""

    async def test_a_client_that_floods_is_ended_and_the_log_says_why(self) -> None:
        echo = self.enterContext(peers.peer(peers.echo))
        context = client_context()
        log = KeyLog(context)
        port = self.serve(echo.address, preread=PrereadSettings(tls=ServerTls(frontend_tls(self.issue()))))
        with connect(port) as sock:
            await deferToThread(_say_and_flood, SSL.Connection(context, sock), sock, log)
            record = await self.ended()
        assert (record.reason, record.cause) == (EndReason.CLIENT_RESET, TOO_MANY)
        assert (record.client_bytes, record.backend_bytes) == (5, 5)

    async def test_a_client_asks_for_key_updates_in_the_middle_of_a_download_that_waits_for_it(self) -> None:
        pouring = self.enterContext(peers.peer(_pour))
        context = client_context()
        log = KeyLog(context)
        port = self.serve(pouring.address, preread=PrereadSettings(tls=ServerTls(frontend_tls(self.issue()))))
        with connect(port, receive_buffer=1 << 16) as sock:
            received = await deferToThread(_fetch_slowly, SSL.Connection(context, sock), sock, log)
        record = await self.ended()
        assert received == DOWNLOAD
        assert (record.reason, record.backend_bytes) == (EndReason.BACKEND_CLOSED, len(DOWNLOAD))

    async def test_a_backend_that_floods_is_ended_and_the_log_says_why(self) -> None:
        backend = self.enterContext(peers.peer(partial(_answer_and_flood, self.issue())))
        port = self.serve(backend.address, tls=self.believing())
        with connect(port) as sock:
            sock.sendall(b"hello")
            assert await deferToThread(read, sock, 5) == b"world"
            record = await self.ended()
        assert (record.reason, record.cause) == (EndReason.BACKEND_RESET, TOO_MANY)


class NativeFloodTests(FloodTests):
    """The same on the native data path."""

    data_path_name = "auto"


def _pour(sock: socket.socket) -> None:
    """Be a backend that is asked for much."""
    assert sock.recv(5) == b"hello"
    sock.sendall(DOWNLOAD)


def _fetch_slowly(tls: SSL.Connection, sock: socket.socket, log: KeyLog) -> bytes:
    """Be a client that lets all fill up, asks for key updates, and reads only then."""
    sock.setblocking(True)
    tls.set_connect_state()
    tls.do_handshake()
    make = log.sealer(CLIENT)
    sock.sendall(make.record(b"hello"))
    until(lambda: _waiting(sock), "the first of it")
    until_steady(lambda: _waiting(sock), 0.2)
    sock.sendall(make.key_updates(2, requested=True))
    received = bytearray()
    with contextlib.suppress(SSL.ZeroReturnError):
        while True:
            received += tls.recv(1 << 16)
    return bytes(received)


def _waiting(sock: socket.socket) -> int:
    """The bytes that have come and are not read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


def _say_and_flood(tls: SSL.Connection, sock: socket.socket, log: KeyLog) -> None:
    """Be a client that has its hello echoed, and sends key updates until it is sent away."""
    sock.setblocking(True)  # which sockets with a timeout do not for OpenSSL
    tls.set_connect_state()
    tls.do_handshake()
    tls.send(b"hello")
    assert tls.recv(5) == b"hello"
    _flood(sock, log.sealer(CLIENT, sent=1))


def _answer_and_flood(issued: Issued, sock: socket.socket) -> None:
    """Be a backend that answers, and sends key updates until it is sent away."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(str(issued.certificate))
    context.use_privatekey_file(str(issued.key))
    log = KeyLog(context)
    tls = SSL.Connection(context, sock)
    sock.setblocking(True)  # which sockets with a timeout do not for OpenSSL
    tls.set_accept_state()
    tls.do_handshake()
    assert tls.recv(5) == b"hello"
    tls.send(b"world")
    _flood(sock, log.sealer(SERVER, sent=TICKETS + 1))


def _flood(sock: socket.socket, make: Sealer) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            sock.sendall(make.key_updates(MAX_WITHOUT_DATA))
