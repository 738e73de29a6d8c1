"""What a peer has sent, given to OpenSSL one record at a time.

Within one call OpenSSL goes on for as long as records without data wait, such as key updates. One that is
given a single record at a time goes no further than that.
"""

from __future__ import annotations

from socket import SocketType
from typing import Any

from OpenSSL import SSL

from tcpbalance.net.tls.openssl import INCOMING, copy_in, lend, lend_nothing

MAX_WITHOUT_DATA = 32
"""Records in a row that bring no data. There are reasons for a few: a key update, session tickets (up to 16
from BoringSSL), an empty record against attacks on TLS 1.0. OpenSSL and BoringSSL take 32 empty records,
BoringSSL and rustls 32 key updates, Go 16 of either."""

TOO_MANY_WITHOUT_DATA = "too many records without data"

MAX_IN_HANDSHAKE = 512
"""Records that a peer may take for its part of a handshake. It is a few; the longest chain of certificates
that OpenSSL reads, 100 KB, is 200 where 512 bytes were agreed on for each: RFC 6066, section 4."""

TOO_MANY_IN_HANDSHAKE = "too many records in the handshake"

RECORDS_AT_ONCE = 16
"""Records that OpenSSL is given at once, with or without data. They cost by the piece: those of a peer that
puts one byte in each would fill a read after a third of a second, and all others would wait for that."""

CHANGE_CIPHER_SPEC = 20
"""The type of a record; RFC 8446, section 5.1."""

APPLICATION_DATA = 23
"""The same."""

ALERT_SIZE = 19
"""Bytes of an alert of TLS 1.3 behind its header; it goes as application data: RFC 8446, section 5.2."""

HEADER = 5
"""Bytes before each record, of which the last two are its length: RFC 8446, section 5.1."""


_SECOND = HEADER + 1
"""Where the second record begins then."""

WORTH_LENDING = 4 * 1024
"""Bytes from which on OpenSSL reads them where they are. Fewer are cheaper to copy; and what they are copied
to keeps as much memory as it ever had to hold."""


def is_alone(size: int) -> bool:
    """Whether the first bytes of ``INCOMING`` are one record, and short enough to be copied."""
    return HEADER < size < WORTH_LENDING and (INCOMING[3] << 8 | INCOMING[4]) == size - HEADER


def end_of_two(size: int) -> int:
    """Find where the second record ends of those that wait in ``INCOMING``, where the first has a single
    byte, as change_cipher_spec has.

    :param size: bytes that wait there.
    :returns: 0 where that is not so, or not all of it has come, or is too long to be copied.
    """
    if size < _SECOND + HEADER or INCOMING[3] or INCOMING[4] != 1:
        return 0
    end = _SECOND + HEADER + (INCOMING[_SECOND + 3] << 8 | INCOMING[_SECOND + 4])
    return end if end <= size and end < WORTH_LENDING else 0


def cut(wire: Any, size: int, partial: int, max_records: int, enough: int) -> tuple[int, int, int]:
    """Find where records end.

    :param wire: bytes that have come.
    :param size: how many.
    :param partial: bytes of it, or more than there are, that belong to a record that has begun before.
    :param max_records: records that are wanted.
    :param enough: bytes after which no further record is wanted.
    :returns: the bytes that are wanted; the bytes that are missing of the last record in them, which is begun
        once its header is there; and how many records are complete.
    """
    at, left, complete = 0, partial, 0
    while at < size and complete < max_records and at < enough:
        if not left:
            if size - at < HEADER:
                break
            left = HEADER + (wire[at + 3] << 8 | wire[at + 4])
        if left > size - at:
            return size, left - (size - at), complete
        at += left
        left = 0
        complete += 1
    return at, left, complete


def too_many(words: str) -> SSL.Error:
    """What has happened, as OpenSSL reports it."""
    return SSL.Error([("", "", words)])


class Records:
    """Bytes that have come from a socket, on their way to OpenSSL.

    OpenSSL is to read all of what it is given before it is given more.

    :param connection: one that reads memory.
    :param memory: what OpenSSL reads from.
    :ivar memory: the same now.
    :ivar partial: bytes that are missing of a record that OpenSSL has got the beginning of.
    :ivar without_data: complete records in a row that brought none.
    :ivar between: whether OpenSSL has got all that came, which ended with a record, and reads what is copied
        next.
    """

    __slots__ = ("_at", "_connection", "_copies", "between", "kept", "memory", "partial", "without_data")

    def __init__(self, connection: SSL.Connection, memory: Any) -> None:
        self._connection = connection
        self.memory = memory
        self._copies = True
        self.between = True
        # What has come behind the records that were wanted, up to where OpenSSL has got it. It stays where it
        # is until all of it is given: a peer may have put thousands of records into it.
        self.kept = b""
        self._at = 0
        self.partial = 0
        self.without_data = 0

    @property
    def left(self) -> int:
        """Bytes that have come and that OpenSSL has not got."""
        return len(self.kept) - self._at

    @property
    def ready(self) -> bool:
        """Whether OpenSSL can be given something of what is kept."""
        if not self.kept:
            return False
        left = len(self.kept) - self._at
        return left >= HEADER or bool(self.partial and left)

    @property
    def has_data(self) -> bool:
        """Whether what is kept begins with a whole record of data; one as short as an alert may be one."""
        kept, at = self.kept, self._at
        left = len(kept) - at - HEADER
        if self.partial or left <= ALERT_SIZE:
            return False
        return kept[at] == APPLICATION_DATA and ALERT_SIZE < (kept[at + 3] << 8 | kept[at + 4]) <= left

    def fetch(self, sock: SocketType) -> int:
        """Read the socket, once nothing that is kept can be given.

        :returns: the bytes that wait in ``INCOMING``; none at the end.
        :raises OSError: of the socket.
        """
        if not self.kept:
            return sock.recv_into(INCOMING)
        left = len(self.kept) - self._at
        INCOMING[:left] = self.kept[self._at :]
        size = sock.recv_into(INCOMING[left:])
        return left + size if size else 0

    def put_back(self) -> int:
        """Have what is kept wait in ``INCOMING`` once more, as if it had come by now.

        :returns: how many bytes wait there; none where nothing is kept, or OpenSSL has not read all that it
            has got.
        """
        size = len(self.kept)
        if not size or self.partial or self._at or not self._copies:
            return 0
        INCOMING[:size] = self.kept
        self.kept = b""
        self.between = True
        return size

    @property
    def next_type(self) -> int:
        """The type of the record that is given next of what is kept, if it has not begun."""
        return self.kept[self._at]

    def give(self, size: int, max_records: int, enough: int) -> int:
        """Give OpenSSL some records, the last of them as far as it is there, and keep the rest.

        :param size: bytes that wait in ``INCOMING``; 0 to go on with what is kept.
        :param max_records: records.
        :param enough: bytes after which no further record is begun.
        :returns: how many of them are complete.
        """
        if self.between and is_alone(size):
            copy_in(self.memory, size)
            return 1
        if max_records == 2 and self.between and (end := end_of_two(size)):
            # The last step of most clients, with or without something behind it.
            copy_in(self.memory, end)
            self.kept, self._at = bytes(INCOMING[end:size]), 0
            self.between = end == size
            return 2
        if size:
            end, self.partial, complete = cut(INCOMING, size, self.partial, max_records, enough)
            self.kept = bytes(INCOMING[end:size]) if end < size else b""
            self._at = 0
        else:
            rest = memoryview(self.kept)[self._at :]
            end, self.partial, complete = cut(rest, len(rest), self.partial, max_records, enough)
            INCOMING[:end] = rest[:end]
            self._at += end
            if len(rest) - end < HEADER:
                self.kept, self._at = bytes(rest[end:]), 0
        self._hand_over(end)
        self.between = self._copies and not self.partial and not self.kept
        return complete

    def _hand_over(self, end: int) -> None:
        """Let OpenSSL read so much of ``INCOMING``."""
        if end >= WORTH_LENDING:
            self.memory = lend(self._connection, end)
            self._copies = False
        else:
            if not self._copies:
                self.memory = lend_nothing(self._connection)
                self._copies = True
            copy_in(self.memory, end)

    def end(self) -> None:
        """Give OpenSSL nothing any more, and forget what has come and it has not read."""
        if not self._copies:
            self.memory = lend_nothing(self._connection)
            self._copies = True
        self.kept, self._at, self.partial = b"", 0, 0
        self.between = False

    def are_worth_reading(self, complete: int, with_data: int) -> bool:
        """Count records that bring nothing.

        :param complete: records that OpenSSL has read.
        :param with_data: how many of them had data.
        """
        self.without_data = 0 if with_data else self.without_data + complete
        return self.without_data <= MAX_WITHOUT_DATA
