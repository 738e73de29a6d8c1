"""A socket that speaks TLS: what a leg asks of a socket, with OpenSSL in between."""

from __future__ import annotations

import errno
from socket import SocketType
from typing import Any

from OpenSSL import SSL

RECORD = 16 * 1024
"""Bytes that fit into one record: RFC 8446, section 5.1."""


class TlsSocket:
    """Reads and writes through TLS, with the errors of a socket.

    :param connection: made for *sock*.
    :param sock: connected, not blocking.
    :ivar wants_write: reading waits for room to write.
    """

    __slots__ = (
        "_send",
        "_sock",
        "connection",
        "family",
        "fileno",
        "getsockname",
        "getsockopt",
        "setsockopt",
        "wants_write",
    )

    def __init__(self, connection: SSL.Connection, sock: SocketType) -> None:
        self.connection = connection
        self.wants_write = False
        self._sock = sock
        self._send = connection.send
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
        self.wants_write = False
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            raise BlockingIOError from None
        except SSL.WantWriteError:
            self.wants_write = True
            raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """Read what is in the next record.

        :returns: nothing at the end.
        """
        self.wants_write = False
        try:
            return self.connection.recv(min(size, RECORD))
        except SSL.WantReadError:
            raise BlockingIOError from None
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantWriteError:
            self.wants_write = True
            raise BlockingIOError from None
        except SSL.Error as error:
            raise _os_error(error) from error

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as many records as the socket takes.

        What did not fit has to come again, with or without more behind it: SSL_write(3).

        :param flags: of no use here.
        :returns: the bytes that are on their way.
        """
        size = len(data)
        if size <= RECORD:
            return self._write(data)
        sent = 0
        view = memoryview(data)
        while sent < size:
            try:
                sent += self._write(view[sent : sent + RECORD])
            except BlockingIOError:
                if sent:
                    break
                raise
        return sent

    def _write(self, data: Any) -> int:
        try:
            return self._send(data)
        except (SSL.WantWriteError, SSL.WantReadError):
            raise BlockingIOError from None
        except SSL.Error as error:
            raise _os_error(error) from error

    def say_goodbye(self) -> None:
        """Tell the peer that no more will come: RFC 8446, section 6.1.

        :raises BlockingIOError: no room for it yet.
        """
        try:
            self.connection.shutdown()
        except (SSL.WantWriteError, SSL.WantReadError):
            raise BlockingIOError from None
        except SSL.Error as error:
            raise _os_error(error) from error

    def shutdown(self, how: int) -> None:
        """End the stream beneath."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket beneath."""
        self._sock.close()


def _os_error(error: SSL.Error) -> OSError:
    """The error of a socket that comes closest."""
    number = error.args[0] if isinstance(error, SSL.SysCallError) else None
    return OSError(number if isinstance(number, int) and number > 0 else errno.EPROTO, str(error))
