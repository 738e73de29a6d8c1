"""A TLS socket is read and written like any other, whatever is cut, late, full or broken."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import pytest
from attrs import frozen
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from support.certificates import Authority, Issued
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
)
from support.waiting import until
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.tcp_info import connect_time
from tcpbalance.net.tls import openssl, tls_socket
from tcpbalance.net.tls.records import RECORDS_AT_ONCE
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_socket import MORE_TO_READ, WAITS, TlsSocket

MORE_THAN_A_READ = CHUNK + A_RECORD
MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


@frozen
class Line:
    """A TLS socket, what is beneath it, and its peer."""

    tls: TlsSocket
    beneath: socket.socket
    peer: Peer

    def shake(self) -> None:
        """Let them agree."""

        def agreed() -> bool:
            self.peer.look()
            return self.tls.do_handshake() is not None

        until(agreed, "the handshake")
        # The session tickets, which come behind it.
        self.peer.look()

    def come(self, data: bytes) -> None:
        """Let bytes come, as they travel, and wait until they are there."""
        self.peer.sock.sendall(data)
        until(lambda: len(self.beneath.recv(1 << 20, socket.MSG_PEEK)) == len(data), "what was sent")

    def end(self) -> None:
        """Let the stream end beneath, and wait until that is known."""
        self.peer.sock.shutdown(socket.SHUT_WR)
        until(lambda: self.beneath.recv(1, socket.MSG_PEEK) == b"", "the end")

    def is_empty(self) -> bool:
        """Whether there is nothing to be read."""
        with pytest.raises(BlockingIOError):
            self.tls.recv(CHUNK)
        return self.tls.pending is None


class Counted:
    """A socket whose reads are counted."""

    def __init__(self, sock: socket.socket) -> None:
        self.reads = 0
        self.send = sock.send
        self._recv_into = sock.recv_into

    def recv_into(self, buffer: memoryview) -> int:
        self.reads += 1
        return self._recv_into(buffer)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Authority.root().issue(tmp_path_factory.mktemp("tls-socket"), "web", "web.example")


@contextlib.contextmanager
def a_line(issued: Issued) -> Iterator[Line]:
    """Make one, before the handshake."""
    theirs, ours = connected()
    # Room for all that is sent before anything is read.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MORE_THAN_A_READ)
    with theirs, ours:
        tls = TlsSocket(ServerTls(frontend_tls(issued)).connection(), ours)
        yield Line(tls, ours, Peer(theirs, client_in_memory(client_context())))


@pytest.fixture
def fresh(issued: Issued) -> Iterator[Line]:
    """Before the handshake."""
    with a_line(issued) as made:
        yield made


@pytest.fixture
def line(fresh: Line) -> Line:
    fresh.shake()
    return fresh


# Reading


def test_what_was_written_is_read(line: Line) -> None:
    line.come(line.peer.written(b"hello"))
    assert line.tls.recv(CHUNK) == b"hello"
    assert line.is_empty()


def test_an_option_of_several_bytes_is_that_of_the_socket(line: Line) -> None:
    """By which outlier detection learns how long the network took."""
    took = connect_time(line.tls, 1.0)
    assert took is not None
    assert took.seconds < 1.0


def test_part_of_a_record_is_nothing_yet(line: Line) -> None:
    record = line.peer.written(b"hello")
    line.come(record[:-1])
    assert line.is_empty()
    line.come(record[-1:])
    assert line.tls.recv(CHUNK) == b"hello"


def test_a_record_and_part_of_another(line: Line) -> None:
    first, second = line.peer.written(b"one"), line.peer.written(b"two")
    line.come(first + second[:10])
    assert line.tls.recv(CHUNK) == b"one"
    assert line.is_empty()
    line.come(second[10:])
    assert line.tls.recv(CHUNK) == b"two"


def test_several_records_are_read_at_once(line: Line) -> None:
    line.come(b"".join(map(line.peer.written, [b"one", b"two", b"three"])))
    assert line.tls.recv(CHUNK) == b"onetwothree"
    assert line.is_empty()


def test_full_records_fill_a_read(line: Line) -> None:
    data = bytes(range(256)) * (MORE_THAN_A_READ // 256)
    line.come(line.peer.written(data))
    assert [line.tls.recv(CHUNK), line.tls.recv(CHUNK)] == [data[:CHUNK], data[CHUNK:]]


@pytest.mark.parametrize("size", [1000, 4095, 5000, 16_000])
def test_a_short_read_with_more_behind_it_says_so(line: Line, size: int) -> None:
    """Whoever reads takes a short read for all there is."""
    line.come(b"".join(line.peer.written(b"x" * size) for _ in range(2 * MORE_THAN_A_READ // size)))
    assert len(line.tls.recv(CHUNK)) >= CHUNK or line.tls.pending == MORE_TO_READ


def test_a_peer_with_a_byte_in_each_record_does_not_hold_up_the_others(line: Line) -> None:
    line.come(b"".join(line.peer.written(b"x") for _ in range(3000)))
    assert len(line.tls.recv(CHUNK)) == RECORDS_AT_ONCE
    assert line.tls.pending == MORE_TO_READ


def test_an_end_behind_what_was_read_is_announced(line: Line) -> None:
    line.come(line.peer.written(b"last") + line.peer.close_notify())
    assert line.tls.recv(CHUNK) == b"last"
    assert line.tls.pending == MORE_TO_READ
    assert line.tls.recv(CHUNK) == b""


def test_a_close_notify_alone_is_the_end(line: Line) -> None:
    line.come(line.peer.close_notify())
    assert line.tls.recv(CHUNK) == b""


def test_an_end_without_a_close_notify_is_an_end(line: Line) -> None:
    line.end()
    assert line.tls.recv(CHUNK) == b""


def test_an_end_in_the_middle_of_a_record_is_an_end(line: Line) -> None:
    line.come(line.peer.written(b"cut off")[:-1])
    line.peer.sock.shutdown(socket.SHUT_WR)
    until(lambda: _ends(line.tls), "the end")


def _ends(tls: TlsSocket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return tls.recv(CHUNK) == b""
    return False


def test_a_reset_is_the_error_of_a_socket(line: Line) -> None:
    line.peer.reset()
    with pytest.raises(OSError, match="reset by peer") as caught:
        until(partial(_ends, line.tls), "the reset")
    assert caught.value.errno == errno.ECONNRESET


def test_what_is_no_record_is_an_error(line: Line) -> None:
    line.come(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(OSError, match="record") as caught:
        line.tls.recv(CHUNK)
    assert caught.value.errno == errno.EPROTO


def test_a_record_that_was_changed_on_the_way_is_an_error_and_not_read(line: Line) -> None:
    record = bytearray(line.peer.written(b"hello"))
    record[-1] ^= 1
    line.come(bytes(record))
    with pytest.raises(OSError, match="bad record mac") as caught:
        line.tls.recv(CHUNK)
    assert caught.value.errno == errno.EPROTO


def test_an_error_behind_what_was_read_is_told_by_the_next_read_and_by_no_other_socket(line: Line) -> None:
    eligible, changed = line.peer.written(b"hello"), bytearray(line.peer.written(b"world"))
    changed[-1] ^= 1
    line.come(eligible + changed)
    assert (line.tls.recv(CHUNK), line.tls.pending) == (b"hello", MORE_TO_READ)
    assert Binding.lib.ERR_peek_error() == 0
    for _ in range(2):
        with pytest.raises(OSError, match="bad record mac"):
            line.tls.recv(CHUNK)


# Writing


@pytest.mark.parametrize("size", [1, A_RECORD, A_RECORD + 1, 3 * A_RECORD])
@pytest.mark.parametrize("way", ["send", "send_message"])
def test_all_that_fits_is_written_at_once(line: Line, size: int, way: str) -> None:
    data = b"x" * size
    assert getattr(line.tls, way)(data) == size
    until(lambda: len(line.peer.look().received) == size, "what was written")
    assert line.peer.received == data


def test_what_does_not_fit_is_written_later_and_nothing_is_lost(line: Line) -> None:
    data = bytes(range(256)) * (MORE_THAN_KERNELS_HOLD // 256)
    rest = bytearray(data)
    del rest[: line.tls.send(rest)]
    assert rest
    with pytest.raises(BlockingIOError):
        line.tls.send(rest)

    def all_gone() -> bool:
        line.peer.look()
        with contextlib.suppress(BlockingIOError):
            del rest[: line.tls.send(rest)]
        return not rest

    until(all_gone, lambda: f"{len(rest)} bytes are left")
    until(lambda: len(line.peer.look().received) == len(data), "all of it")
    assert line.peer.received == data


@pytest.mark.parametrize("size", [4000, A_RECORD, A_RECORD + 1])
def test_a_message_that_does_not_fit_waits_encrypted_and_goes_first(line: Line, size: int) -> None:
    sent = b""
    while not line.tls.unsent:
        message = bytes([len(sent) // size % 256]) * size
        sent += message
        taken = line.tls.send_message(message)
        assert taken == (WAITS if line.tls.unsent else size)

    def has_space() -> bool:
        line.peer.look()
        with contextlib.suppress(BlockingIOError):
            return line.tls.send_message(b"more") == len(b"more")
        return False

    until(has_space, "space")
    until(lambda: line.peer.look().received == sent + b"more", "all of it")


@pytest.mark.parametrize("way", ["send", "send_message"])
def test_writing_to_one_who_has_gone_is_the_error_of_a_socket(line: Line, way: str) -> None:
    line.peer.close()

    def fails() -> bool:
        try:
            getattr(line.tls, way)(b"anybody there?")
        except OSError as error:
            return error.errno in (errno.EPIPE, errno.ECONNRESET)
        return False

    until(fails, "the error")


def test_a_close_notify_is_told_and_what_the_peer_still_says_is_read(line: Line) -> None:
    line.tls.send(b"last")
    line.tls.send_close_notify()
    until(lambda: line.peer.look().finished, "the close_notify")
    assert line.peer.received == b"last"
    line.come(line.peer.written(b"answer"))
    assert line.tls.recv(CHUNK) == b"answer"


# OpenSSL's errors, which all connections of a thread share


@pytest.fixture
def other(issued: Issued) -> Iterator[Line]:
    """Another line, whose peer has agreed and says nothing."""
    with a_line(issued) as made:
        made.shake()
        yield made


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda tls: tls.send(b"x"), id="a record"),
        pytest.param(lambda tls: tls.send(bytes(3 * A_RECORD)), id="several"),
        pytest.param(lambda tls: tls.recv(CHUNK), id="a read"),
        pytest.param(lambda tls: tls.send_close_notify(), id="a close_notify"),
    ],
)
def test_what_one_has_met_is_not_told_to_another(
    line: Line, other: Line, call: Callable[[TlsSocket], object]
) -> None:
    line.peer.reset()
    until(lambda: _fails(lambda: call(line.tls)), "the error")
    assert no_error_is_left()
    assert other.is_empty()
    other.come(other.peer.close_notify())
    assert other.tls.recv(CHUNK) == b""


def test_a_break_behind_what_was_read_is_not_told_to_another(line: Line, other: Line) -> None:
    line.come(line.peer.written(b"one") + line.peer.written(b"two"))
    line.peer.reset()
    until(lambda: is_broken(line.beneath), "the reset")
    assert line.tls.recv(CHUNK) == b"onetwo"
    assert no_error_is_left()
    assert other.is_empty()


# The handshake


def test_the_handshake_waits_for_the_peer(fresh: Line) -> None:
    assert fresh.tls.do_handshake() is None
    assert fresh.tls.pending is None


@pytest.mark.parametrize(("at_the_end", "reads"), [(False, 1), (True, 2)])
def test_a_flight_is_read_once_unless_the_end_may_be_behind_it(
    fresh: Line, at_the_end: bool, reads: int
) -> None:
    fresh.peer.look()  # which says hello
    until(lambda: is_readable(fresh.beneath), "the hello")
    counted = Counted(fresh.beneath)
    with patch.object(fresh.tls, "_sock", counted):
        assert fresh.tls.do_handshake(at_the_end) is None
    assert counted.reads == reads
    fresh.peer.look()
    until(lambda: is_readable(fresh.beneath), "the rest")
    assert fresh.tls.do_handshake(at_the_end) is at_the_end


def test_what_comes_behind_the_handshake_may_be_read(fresh: Line) -> None:
    fresh.peer.look()
    until(lambda: is_readable(fresh.beneath), "the hello")
    assert fresh.tls.do_handshake(False) is None
    fresh.peer.tls.bio_write(fresh.peer.sock.recv(1 << 16))
    fresh.peer.tls.do_handshake()
    fresh.come(fresh.peer.written(b"hello"))
    assert fresh.tls.do_handshake(False)
    assert fresh.tls.recv(CHUNK) == b"hello"
    assert fresh.tls.pending is None  # that was all, as a short read has shown


@pytest.mark.parametrize("at", [1, 4, 5, 6, 8, 10, 11, 12, 40, -30, -29, -1, 1000])
def test_the_last_step_and_a_request_in_any_two_pieces(fresh: Line, at: int) -> None:
    """The step is two records, of which the first has one byte."""
    fresh.peer.look()
    until(lambda: is_readable(fresh.beneath), "the hello")
    assert fresh.tls.do_handshake(False) is None
    fresh.peer.tls.bio_write(fresh.peer.sock.recv(1 << 16))
    fresh.peer.tls.do_handshake()
    wire = fresh.peer.written(b"hello")
    received = b""
    for piece in filter(None, (wire[:at], wire[at:])):
        fresh.come(piece)
        if not fresh.tls.is_established:
            fresh.tls.do_handshake(False)
        if fresh.tls.is_established:
            with contextlib.suppress(BlockingIOError):
                received += fresh.tls.recv(CHUNK)
            fresh.tls.all_came = False
    assert (received, fresh.tls.is_established) == (b"hello", True)


def test_openssl_may_write_more_than_is_taken_at_once(fresh: Line) -> None:
    with patch.object(openssl, "BUFFER_SIZE", 100), patch.object(tls_socket, "BUFFER_SIZE", 100):
        fresh.shake()


def test_a_handshake_with_one_who_speaks_something_else_fails(fresh: Line) -> None:
    fresh.come(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(SSL.Error, match="http request"):
        fresh.tls.do_handshake()
