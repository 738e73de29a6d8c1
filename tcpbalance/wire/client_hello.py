"""The ClientHello on the wire: found in what a client has sent so far, without consuming or answering it.

1. A handshake message is cut into records anywhere, down to one byte each (RFC 8446, section 5.1), and the
   records come in segments that are cut anywhere as well. What is found depends on neither.
2. What cannot become a ClientHello is refused at the first byte that shows it; what is inside the message is
   looked at when all of it is there.
3. No more than `MAX_HELLO` in `MAX_RECORDS` is ever waited for, and each record carries something: there
   is always an end.
"""

from __future__ import annotations

from tcpbalance.wire.hello_message import ClientHello, ClientHelloError, HelloError, NotTls, parse_body

__all__ = [
    "MAX_HELLO",
    "MAX_RECORDS",
    "ClientHello",
    "ClientHelloError",
    "HelloError",
    "HelloReader",
    "NotTls",
]

MAX_HELLO = 64 * 1024
"""Bytes on the wire, the headers of records among them: as many as are kept for a backend that is not there
yet. Its own length could promise 16 MiB (24 bits); with post-quantum key shares it takes a few KiB."""

MAX_RECORDS = 512
"""Records that a hello may be cut into: they cost by the piece. Clients use one, or a few to get it past
middleboxes that look for a name; a hello of usual size may still come in records of a byte each."""

MAX_RECORD = 2**14
"""Bytes of a record behind its header; RFC 8446, section 5.1."""

_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_CLIENT_HELLO = 1  # message type, RFC 8446, section 4

_TYPE_AND_VERSION = (range(22, 23), range(3, 4), range(5))
"""What a record begins with: handshake, and a version from 3.0 to 3.4, which says nothing about what the
client speaks (RFC 8446, section 5.1)."""


class HelloReader:
    """Reads a ClientHello from the beginning of a connection, in pieces of any size.

    It copies the message while it comes in, and keeps nothing of it once it has answered. A reader that has
    answered or raised is not fed again. The bytes stay the caller's, to be sent on.
    """

    __slots__ = ("_header", "_left", "_message", "_records", "_seen")

    def __init__(self) -> None:
        self._header = bytearray()  # of a record, as far as it is there
        self._left = 0  # bytes of the record that are still to come
        self._message = bytearray()  # with its own header
        self._records = 0
        self._seen = 0  # bytes on the wire

    def feed(self, data: bytes | bytearray) -> ClientHello | None:
        """Go on with the bytes that follow those of the calls before.

        :returns: None while more are needed; what comes behind the hello's last record is not looked at.
        :raises NotTls: as soon as it cannot be a TLS handshake that a client begins.
        :raises ClientHelloError: when it is malformed, or as soon as it will be more than `MAX_HELLO` or
            begins with one record more than `MAX_RECORDS`.
        """
        at = 0
        while at < len(data):
            at += self._take_fragment(data, at) if self._left else self._take_header(data, at)
            missing = self._missing
            if self._seen + missing > MAX_HELLO:
                raise ClientHelloError(f"the ClientHello takes more than {MAX_HELLO} bytes")
            if not missing:
                return self._finish()
        return None

    @property
    def _missing(self) -> int:
        """How many bytes of the message are still to come; of its header, while that is not there."""
        have = len(self._message)
        if have < _MESSAGE_HEADER:
            return _MESSAGE_HEADER - have
        return _MESSAGE_HEADER + int.from_bytes(self._message[1:_MESSAGE_HEADER]) - have

    def _take_header(self, data: bytes | bytearray, at: int) -> int:
        """Take what there is of a record's header; give the number of bytes."""
        header = self._header
        piece = data[at : at + _RECORD_HEADER - len(header)]
        header += piece
        self._check_type_and_version()
        if len(header) == _RECORD_HEADER:
            self._begin_record(int.from_bytes(header[3:]))
        return len(piece)

    def _check_type_and_version(self) -> None:
        for place, (value, allowed) in enumerate(zip(self._header, _TYPE_AND_VERSION, strict=False), start=1):
            if value not in allowed:
                found = f"byte {place} of a record is {value:#04x}"
                raise ClientHelloError(f"within the ClientHello, {found}") if self._message else NotTls(found)

    def _begin_record(self, length: int) -> None:
        if not 0 < length <= MAX_RECORD:
            raise ClientHelloError(f"a record of {length} bytes; 1 to {MAX_RECORD} are allowed")
        if self._records == MAX_RECORDS:
            raise ClientHelloError(f"the ClientHello takes more than {MAX_RECORDS} records")
        self._records += 1
        self._left = length
        self._seen += _RECORD_HEADER
        self._header.clear()

    def _take_fragment(self, data: bytes | bytearray, at: int) -> int:
        """Take what there is of the message in this record; give the number of bytes."""
        size = min(self._left, self._missing, len(data) - at)
        self._message += data[at : at + size]
        if self._message[0] != _CLIENT_HELLO:
            raise NotTls(f"the first handshake message is of type {self._message[0]}, no ClientHello")
        self._left -= size
        self._seen += size
        return size

    def _finish(self) -> ClientHello:
        if self._left:
            # A client has nothing more to say in the clear before it is answered: RFC 8446, section 5.1.
            raise ClientHelloError("something stands behind the ClientHello in its last record")
        body, self._message = bytes(self._message[_MESSAGE_HEADER:]), bytearray()
        return parse_body(body)
