"""A socket that speaks TLS: what a transport uses of a socket, with OpenSSL in between.

OpenSSL reads and writes memory; the socket is read and written here. So one read processes a bounded number
of records, whatever is in them; an answer of OpenSSL's waits for space without holding up the reading; and a
peer that takes no more bytes can still be read.
"""

from __future__ import annotations

import contextlib
import errno
import os
from socket import SocketType
from typing import Any

from OpenSSL import SSL

from tcpbalance.net.ends import unread
from tcpbalance.net.pump import MORE
from tcpbalance.net.tls.connection import Connection
from tcpbalance.net.tls.openssl import (
    BUFFER_SIZE,
    ENDED,
    IN,
    INCOMING,
    INCOMING_SIZE,
    OUT,
    OUTGOING,
    PLAINTEXT,
    PLAINTEXT_BYTES,
    RECORD,
    WANT_READ,
    BIO_read,
    BIO_write,
    SSL_get_error,
    SSL_read,
    SSL_write,
    encrypt,
    forget_errors,
    handshake,
    parts_of,
    read,
    shrink,
    trouble,
)
from tcpbalance.net.tls.records import (
    CHANGE_CIPHER_SPEC,
    HEADER,
    MAX_IN_HANDSHAKE,
    RECORDS_AT_ONCE,
    TOO_MANY_IN_HANDSHAKE,
    TOO_MANY_WITHOUT_DATA,
    WORTH_LENDING,
    Records,
    too_many,
)

BATCH = 4 * RECORD
"""Bytes of data that are encrypted before they are sent, in one call."""

WORTH_FREEING = 8 * 1024
"""Bytes written by OpenSSL from which on their memory is freed, since the connection may be quiet next."""

MAX_UNSENT = 2 * BATCH
"""Encrypted bytes that wait for space, before the connection ends. One batch of data can be among them; the
others are answers of 30 bytes each, to key updates of a peer that does not read."""

WAITS = -1
"""What sending a message returns where all of it was taken, and some of that waits for space."""

MORE_TO_READ, WANTS_WRITE = "more to read", "wants write"

_DRAINED = 4
"""Records' worth of bytes that are taken from a peer whose handshake has failed."""

_RECORDS = range(RECORDS_AT_ONCE)


class TlsSocket:
    """Reads and writes through TLS, with the errors of a socket.

    :param connection: one that reads and writes memory.
    :param sock: connected, not blocking.
    :ivar is_established: whether the handshake is over.
    :ivar has_request: whether a whole record of data had come with the end of the handshake.
    :ivar error: why the peer, or OpenSSL, has ended the connection, once it has.
    :ivar pending: what the last read, or step of the handshake, has met: ``MORE_TO_READ``, there may be more
        to read, an end or an error among it; or ``WANTS_WRITE``, besides that OpenSSL has written something
        that waits for space. The caller that has used it sets it to None.
    :ivar unsent: encrypted bytes that wait for space.
    :ivar all_came: whether the step that has ended the handshake has taken all that the socket had. The
        caller sets it to False before there can be an event of more.
    """

    __slots__ = (
        "_ahead",
        "_close_notify_sent",
        "_data_is_out",
        "_grown",
        "_handle",
        "_is_client",
        "_last",
        "_lost",
        "_memory",
        "_records",
        "_sock",
        "all_came",
        "connection",
        "error",
        "has_request",
        "is_established",
        "pending",
        "unsent",
    )

    def __init__(self, connection: SSL.Connection, sock: SocketType) -> None:
        self.connection = connection
        self.is_established = self.has_request = False
        self.pending: str | None = None
        self.error: str | None = None
        self._handle, memory, self._memory = parts_of(connection)
        self._records = Records(connection, memory)
        # What every further read gives, and what an answer of OpenSSL's has met, which the kernel reports
        # once. Of an error what it says: itself it has references to the frames that it has passed, and so to
        # us.
        self._last: bytes | tuple[Any, ...] | None = None
        self._lost: tuple[Any, ...] | None = None
        self.unsent: bytes | bytearray = b""  # changed in place where it is not empty
        self._ahead = b""  # what `read_ahead` keeps for the next read
        self._grown = False  # whether OpenSSL writes to much memory
        self._is_client = False
        self._close_notify_sent = False
        self._data_is_out = False
        self._sock = sock
        self.all_came = False

    # The handshake

    def begin(self) -> None:
        """Say what a client says first.

        :raises SSL.Error: there is nothing that OpenSSL could say, such as no version that it may offer.
        """
        self._is_client = True
        self._step()

    def do_handshake(self, at_the_end: bool = True) -> bool | None:
        """Go on with the handshake.

        :param at_the_end: whether a short read is no sign that all was read.
        :returns: None while it is the peer's turn; else whether there may be more to read behind it.
        :raises SSL.Error: it has failed.
        """
        records = self._records
        more = True
        for _ in _RECORDS:
            if records.kept and records.ready:
                size = 0
            elif more and (size := self._fetch()):
                more = at_the_end or size == INCOMING_SIZE
            else:
                return None
            # One at a time: the last may have data behind it. This kind is read with what follows it.
            kind = INCOMING[0] if size else records.next_type
            together = kind == CHANGE_CIPHER_SPEC and not records.partial
            records.without_data += records.give(size, 2 if together else 1, RECORD)
            if self._step():
                # A client's last step has to arrive. A server's last words are tickets, without which its
                # client may have said what counts.
                if self._is_client and self._lost is not None:
                    raise SSL.SysCallError(*self._lost)
                self.is_established = True
                records.without_data = 0
                self._memory = shrink(self.connection)
                self.all_came = not more
                return more or not records.between
            if records.without_data > MAX_IN_HANDSHAKE:
                raise too_many(TOO_MANY_IN_HANDSHAKE)
        self.pending = self.pending or MORE_TO_READ
        return None

    def _fetch(self) -> int:
        """Read the socket.

        :returns: the bytes that wait in ``INCOMING``; none while nothing has come.
        """
        try:
            size = self._records.fetch(self._sock)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise SSL.SysCallError(error.errno, error.strerror) from error
        if not size:
            if self._lost is not None:
                raise SSL.SysCallError(*self._lost)
            raise SSL.ZeroReturnError
        return size

    def _step(self) -> bool:
        """Let OpenSSL go on with what it has got.

        :returns: whether the handshake is over.
        """
        is_over = False
        try:
            is_over = handshake(self.connection, self._handle)
            self.has_request = is_over and self._records.has_data
        except SSL.Error as error:
            if isinstance(self.connection, Connection):
                self.connection.answer_if_http(error)
            raise
        finally:
            self._answer(MORE if self.has_request and self._may_hold_tickets() else 0)
        return is_over

    def _may_hold_tickets(self) -> bool:
        """Whether our tickets, which are all that is to be sent, may travel with the answer to the client's
        request. Linux sends them after 200 ms without one: tcp(7)."""
        return not self._is_client and self.connection.get_protocol_version() == SSL.TLS1_3_VERSION

    # Reading

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read what has come; less than *size*, with nothing ``pending``, is all that there is.

        It may be more by a record, since OpenSSL would keep what is left of one where no further read looks
        for it.

        :param flags: of no use here.
        :returns: nothing at the end.
        """
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        records = self._records
        if records.between:
            end = self._sock.recv_into(INCOMING)
        elif not self.all_came or not (end := records.put_back()):
            # Other than behind a handshake, where most have sent one record with its last step.
            return self._recv(size, 0)
        if end < WORTH_LENDING and (INCOMING[3] << 8 | INCOMING[4]) == end - HEADER:
            # One record alone, as most are: what `Records` and `read` do for it, without their calls.
            BIO_write(records.memory, IN, end)
            count = SSL_read(self._handle, PLAINTEXT, BUFFER_SIZE)
            if count > 0:
                records.without_data = 0
                return PLAINTEXT_BYTES[:count]  # type: ignore[no-any-return]  # cffi is not annotated
            self._nothing_more(SSL_get_error(self._handle, count), 1, 0)
            return self._recv(size, 0)
        return self._recv(size, end) if end else self._end_of_stream()

    def read_ahead(self) -> bool:
        """Read what has come, and keep it for the next `recv`, which also meets whatever this has met.

        :returns: whether that is data, and all that there is.
        """
        try:
            self._ahead = self.recv(RECORD)
        except BlockingIOError:
            return False
        except OSError as error:
            if self._last is None:
                # The kernel reports it once.
                self._last = error.args
                self._records.end()
            return False
        return bool(self._ahead) and self.pending is None

    def _recv(self, size: int, end: int) -> bytes:
        """Do what ``recv`` does.

        :param end: bytes that have come and wait in ``INCOMING``; 0 to look for some.
        """
        records = self._records
        while self._last is None:
            if not end and not records.ready:
                end = records.fetch(self._sock)
                if not end:
                    return self._end_of_stream()
            is_all = 0 < end < INCOMING_SIZE or self.all_came
            data = self._decrypt(records.give(end, RECORDS_AT_ONCE, size))
            end = 0
            # Where that was but a part of a record, the rest or the end may be behind it: look again.
            if data or records.left:
                if records.left or not is_all or self._last is not None:
                    self.pending = self.pending or MORE_TO_READ
                if not data:
                    raise BlockingIOError
                return data
        return self._repeat_last()

    def _end_of_stream(self) -> bytes:
        """The kernel shows an end; behind a break that it has reported already, it does so, too."""
        if self._lost is not None:
            raise OSError(*self._lost)
        return b""

    def _decrypt(self, complete: int) -> bytes:
        """Give what is in the records that OpenSSL has got, of which so many are complete."""
        records = self._records
        # The beginning of one more is not data yet, but OpenSSL is to read it.
        data, count, why = read(self._handle, complete + 1 if records.partial else complete)
        if why:
            self._nothing_more(why, complete, count)
        elif count:
            records.without_data = 0
        return data

    def _nothing_more(self, why: int, complete: int, with_data: int) -> None:
        """Look into why OpenSSL gives no more data.

        :param why: by SSL_get_error(3).
        :param complete: records that it had.
        :param with_data: those of them that had data.
        """
        if why == ENDED:
            self._last = b""
        elif why != WANT_READ:
            self._last = self._broken(why).args
            self._answer()
        elif not self._records.are_worth_reading(complete, with_data) or (
            with_data < complete and not self._answer()
        ):
            self._last = self._refused(TOO_MANY_WITHOUT_DATA).args
        else:
            return
        self._records.end()

    def _repeat_last(self) -> bytes:
        if isinstance(self._last, bytes):
            return self._last
        assert self._last is not None
        raise OSError(*self._last)

    def _broken(self, why: int) -> OSError:
        """The error of a socket that comes closest."""
        number, words = trouble(why)
        return OSError(number, os.strerror(number)) if number else self._refused(words)

    def _refused(self, words: str) -> OSError:
        self.error = words or None
        return OSError(errno.EPROTO, words)

    # Writing

    def send_message(self, data: bytes, flags: int = 0) -> int:
        """Do what `send` does, in one call for data of one record.

        :param flags: as of `send`.
        :returns: the bytes that were encrypted; ``WAITS`` where that is all, and some of it is in ``unsent``.
        :raises BlockingIOError: none, since there is no space yet for what is kept.
        """
        size = len(data)
        if size > RECORD or self.unsent or self._grown:
            taken = self.send(data, flags)
            return WAITS if taken == size and self.unsent else taken
        count = SSL_write(self._handle, data, size)
        if count <= 0:
            raise self._broken(SSL_get_error(self._handle, count))
        length = BIO_read(self._memory, OUT, BUFFER_SIZE)
        try:
            sent = self._sock.send(OUTGOING[:length], flags)
        except BlockingIOError:
            sent = 0
        if length > WORTH_FREEING:
            self._memory = shrink(self.connection)
        if sent == length:
            return size
        self.unsent = bytearray(OUTGOING[sent:length])
        return WAITS

    def send(self, data: Any, flags: int = 0) -> int:
        """Encrypt *data* and send that; what the socket does not take is kept in ``unsent``, and goes first.

        :param flags: ``pump.MORE`` where the end follows at once.
        :returns: the bytes that were encrypted: all, or fewer once the socket is full.
        :raises BlockingIOError: none, since there is no space yet for what is kept.
        """
        size = len(data)
        if self.unsent:
            self.flush()
        elif size <= RECORD and type(data) is bytes and not self._grown:
            self.send_message(data, flags)
            return size
        if size > BATCH:
            return self._send_batches(memoryview(data))
        records = encrypt(self._handle, self._memory, data)
        if isinstance(records, int):
            raise self._broken(records)
        self._send_records(records, size, flags)
        return size

    def _send_records(self, records: memoryview, size: int, flags: int) -> None:
        """Send records, which have so many bytes of data, and keep what the socket does not take."""
        try:
            sent = self._sock.send(records, flags)
        except BlockingIOError:
            sent = 0
        if sent < len(records):
            self.unsent = bytearray(records[sent:])
        if len(records) > WORTH_FREEING or self._grown:
            # Behind more than a record more will follow soon, and need as much memory again.
            self._grown = size > RECORD
            if not self._grown:
                self._memory = shrink(self.connection)

    def _send_batches(self, data: memoryview) -> int:
        sent = 0
        while sent < len(data) and not self.unsent:
            sent += self.send(data[sent : sent + BATCH])
        return sent

    def flush(self, flags: int = 0) -> None:
        """Send what is kept.

        :param flags: as of `send`.
        :raises BlockingIOError: no space for all of it yet.
        """
        if self.unsent:
            sent = self._sock.send(self.unsent, flags)
            if sent < len(self.unsent):
                # What is left stays where it is: many answers may still be put behind it.
                assert isinstance(self.unsent, bytearray)
                del self.unsent[:sent]
                raise BlockingIOError
            self.unsent = b""

    def _answer(self, flags: int = 0) -> bool:
        """Send what OpenSSL has written of itself.

        :param flags: as of `send`.
        :returns: whether what finds no space is within its limit.
        """
        try:
            if self.unsent:
                self._keep_written()
                self.flush(flags)
            else:
                self._send_written(flags)
        except BlockingIOError:
            self.pending = WANTS_WRITE
        except OSError as error:  # for the reads that follow
            self._lost = error.args
            self.unsent = b""
        return len(self.unsent) <= MAX_UNSENT

    def _send_written(self, flags: int) -> None:
        """Send what OpenSSL has written of itself, while nothing is kept.

        :raises BlockingIOError: no space for all of it yet.
        """
        size = BIO_read(self._memory, OUT, BUFFER_SIZE)
        if 0 < size < BUFFER_SIZE:
            try:
                sent = self._sock.send(OUTGOING[:size], flags)
            except BlockingIOError:
                sent = 0
            if sent < size:
                self.unsent = bytearray(OUTGOING[sent:size])
                raise BlockingIOError
        elif size > 0:
            self.unsent = bytearray(OUTGOING[:size])
            self._keep_written()
            self.flush(flags)

    def _keep_written(self) -> None:
        """Put what OpenSSL has written of itself behind what is kept."""
        size = BIO_read(self._memory, OUT, BUFFER_SIZE)
        if size > 0:
            self.unsent = self.unsent or bytearray()
            self.unsent += OUTGOING[:size]
            if size == BUFFER_SIZE:
                self._keep_written()

    # Ending

    def send_close_notify(self, flags: int = 0) -> None:
        """Send a close_notify, once: RFC 8446, section 6.1.

        :param flags: ``pump.MORE`` where the end of the stream follows at once.
        :raises BlockingIOError: no space for it yet.
        """
        if not self._close_notify_sent:
            try:
                self.connection.shutdown()
            except SSL.Error as error:
                forget_errors()
                raise OSError(errno.EPROTO, str(error)) from error
            self._close_notify_sent = True
            self._data_is_out = not self.unsent
            self._keep_written()
        self.flush(flags)

    @property
    def has_said_all(self) -> bool:
        """Whether the close_notify is out, with all before it."""
        return self._close_notify_sent and not self.unsent

    @property
    def has_unsent_data(self) -> bool:
        """Whether more waits to be sent than a close_notify."""
        return bool(self.unsent) and not self._data_is_out

    @property
    def close_notify_received(self) -> bool:
        """Whether the peer's close_notify has come, and all before it is read."""
        return self._last == b"" and not self._ahead

    @property
    def kept(self) -> int:
        """Bytes that have come and were not given on: those read ahead, and what OpenSSL has not got yet."""
        return len(self._ahead) + self._records.left

    @property
    def has_unread(self) -> bool:
        """Whether something has come that is not read yet."""
        with contextlib.suppress(OSError, ValueError):
            return bool(self._ahead) or self._records.ready or unread(self._sock) > 0
        return False

    @property
    def has_input(self) -> bool:
        """Whether something has come that was not given on; OpenSSL may have got it, as part of a record."""
        return self._records.partial > 0 or self._records.left > 0 or self.has_unread

    def drain(self) -> None:
        """Take what has come and will not be used: a close with bytes unread would be a reset, and the peer
        would lose our last bytes."""
        with contextlib.suppress(OSError):
            for _ in range(_DRAINED):
                if not self._sock.recv(RECORD):
                    break

    # The socket beneath

    @property
    def family(self) -> int:
        """See ``socket.socket``."""
        return self._sock.family

    def fileno(self) -> int:
        """See ``socket.socket``."""
        return self._sock.fileno()

    def getsockname(self) -> Any:
        """See ``socket.socket``."""
        return self._sock.getsockname()

    def getsockopt(self, level: int, name: int, *size: int) -> Any:
        """See ``socket.socket``."""
        return self._sock.getsockopt(level, name, *size)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """See ``socket.socket``."""
        self._sock.setsockopt(level, name, value)

    def shutdown(self, how: int) -> None:
        """End the stream beneath."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket beneath."""
        self._sock.close()
