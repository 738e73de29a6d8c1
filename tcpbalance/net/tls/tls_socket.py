"""A socket that speaks TLS: what a leg asks of a socket, with OpenSSL in between."""

from __future__ import annotations

import contextlib
import errno
import os
from fcntl import ioctl
from socket import SocketType
from termios import FIONREAD
from typing import Any

from OpenSSL import SSL

from tcpbalance.net.tls.openssl import (
    ENDED,
    RECORD,
    WANT_READ,
    WANT_WRITE,
    forget_errors,
    handle_of,
    read,
    trouble,
    write,
)

RECORDS_A_READ = 16
"""Records read at once. They cost by the piece: those of a peer that puts one byte in each would fill a read
after a third of a second, and all others would wait for that."""

MORE_TO_TELL, WANTS_WRITE = "more to tell", "wants write"

_DRAINED = 4
"""Records' worth of bytes that are taken from a peer whose handshake has failed."""

_NO_BYTE = bytes(4)
"""How FIONREAD says that nothing waits: ioctl_fionread(2const)."""

_NO_ROOM = (WANT_WRITE, WANT_READ)


class TlsSocket:
    """Reads and writes through TLS, with the errors of a socket.

    :param connection: made for *sock*.
    :param sock: connected, not blocking.
    :ivar complaint: what the peer, or OpenSSL, did not like, once that has ended the connection.
    :ivar deaf: a write has failed, since when OpenSSL takes bytes in but gives none out.
    :ivar news: what the last read, or step of the handshake, has met: ``MORE_TO_TELL``, an end or an error
        behind what was read, which the next read tells; or ``WANTS_WRITE``, there has to be room to write
        before it can go on. Whoever heeds it sets it to None.
    """

    __slots__ = (
        "_failed",
        "_handle",
        "_number",
        "_said_goodbye",
        "_sock",
        "complaint",
        "connection",
        "deaf",
        "family",
        "fileno",
        "getsockname",
        "getsockopt",
        "news",
        "setsockopt",
    )

    def __init__(self, connection: SSL.Connection, sock: SocketType) -> None:
        self.connection = connection
        self.news: str | None = None
        self._failed: OSError | None = None
        self._said_goodbye = False
        self.complaint: str | None = None
        self.deaf = False
        self._sock = sock
        self._number = sock.fileno()
        self._handle = handle_of(connection)
        self.family = sock.family
        self.fileno = sock.fileno
        self.getsockname = sock.getsockname
        self.getsockopt = sock.getsockopt
        self.setsockopt = sock.setsockopt

    def do_handshake(self) -> None:
        """Go on with the handshake.

        :raises BlockingIOError: the peer's turn.
        :raises SSL.Error: it has failed.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            raise BlockingIOError from None
        except SSL.WantWriteError:
            self.news = WANTS_WRITE
            raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """Read what has come: less than *size* says that there is no more, as with any socket.

        It may be more by a record, since OpenSSL would keep what is left of one where nobody looks for it.

        :returns: nothing at the end.
        """
        if self._failed is not None:
            raise self._failed
        data = read(self._handle)
        if isinstance(data, int):
            return self._nothing_read(data)
        # OpenSSL reads no further than to the end of a record, so what else has come is still in the kernel.
        if ioctl(self._number, FIONREAD, _NO_BYTE) == _NO_BYTE:
            return data
        return self._read_on(data, size)

    def _read_on(self, data: bytes | int, size: int) -> bytes:
        """Read the records behind the first."""
        parts, left = list[bytes](), size
        while not isinstance(data, int):
            parts.append(data)
            left -= len(data)
            if left <= 0 or len(parts) >= RECORDS_A_READ:
                self.news = MORE_TO_TELL
                return b"".join(parts)
            data = read(self._handle)
        if data != WANT_READ:  # that is a part of a record, and the rest will tell of itself
            self.news = MORE_TO_TELL
            if data != ENDED:
                # The system tells an error once, and shows the end of the stream from then on.
                self._failed = self._broken(data)
        return b"".join(parts)

    def _nothing_read(self, why: int) -> bytes:
        if why == ENDED:
            return b""
        if why == WANT_WRITE:
            self.news = WANTS_WRITE
        elif why != WANT_READ:
            raise self._broken(why)
        raise BlockingIOError

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as many records as the socket takes.

        What did not fit has to come again, with or without more behind it: SSL_write(3).

        :param flags: of no use here.
        :returns: the bytes that are on their way.
        """
        if len(data) > RECORD:
            return self._send_records(memoryview(data))
        size = write(self._handle, data)
        if size > 0:
            return size
        raise self._not_written(-size)

    def _send_records(self, data: memoryview) -> int:
        sent = 0
        while sent < len(data):
            size = write(self._handle, data[sent : sent + RECORD])
            if size > 0:
                sent += size
            elif sent and -size in _NO_ROOM:
                break
            else:
                raise self._not_written(-size)
        return sent

    def _not_written(self, why: int) -> OSError:
        if why in _NO_ROOM:
            return BlockingIOError()
        self.deaf = True
        return self._broken(why)

    def _broken(self, why: int) -> OSError:
        """The error of a socket that comes closest."""
        number, words = trouble(why)
        if number:
            return OSError(number, os.strerror(number))
        self.complaint = words or None
        return OSError(errno.EPROTO, words)

    def say_goodbye(self) -> None:
        """Tell the peer that no more will come, once: RFC 8446, section 6.1.

        :raises BlockingIOError: no room for it yet.
        """
        if self._said_goodbye:
            return
        try:
            self.connection.shutdown()
        except (SSL.WantWriteError, SSL.WantReadError):
            raise BlockingIOError from None
        except SSL.Error as error:
            self.deaf = True
            forget_errors()
            raise OSError(errno.EPROTO, str(error)) from error
        self._said_goodbye = True

    @property
    def something_waits(self) -> bool:
        """Whether the kernel has bytes that nobody has read."""
        with contextlib.suppress(OSError):
            return bool(ioctl(self._number, FIONREAD, _NO_BYTE) != _NO_BYTE)
        return False

    def drain(self) -> None:
        """Take what has come and nobody will read: a close with bytes unread would be a reset, and the peer
        lose what it was told last."""
        with contextlib.suppress(OSError):
            for _ in range(_DRAINED):
                if not self._sock.recv(RECORD):
                    break

    def shutdown(self, how: int) -> None:
        """End the stream beneath."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket beneath."""
        self._sock.close()
