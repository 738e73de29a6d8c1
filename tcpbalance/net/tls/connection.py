"""OpenSSL's side of one connection, which reads and writes memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from tcpbalance.net.tls.errors import openssl_words
from tcpbalance.net.tls.openssl import write_out
from tcpbalance.net.tls.records import (
    HEADER,
    MAX_IN_HANDSHAKE,
    MAX_WITHOUT_DATA,
    RECORDS_AT_ONCE,
    TOO_MANY_IN_HANDSHAKE,
    TOO_MANY_WITHOUT_DATA,
    cut,
    too_many,
)

_SPEAKS_HTTP = ("http request", "https proxy request")
"""OpenSSL's words where a client speaks HTTP without TLS."""


class Connection(SSL.Connection):
    """One as Twisted's TLS uses it, which writes all that has come, and then reads until there is no more.

    OpenSSL is given a few records at a time; those without data are counted. See ``records``.

    :param context: what it begins with.
    :ivar answer_to_http: gives what a client is answered that speaks HTTP without TLS; None for nothing.
    """

    answer_to_http: Callable[[], bytes] | None = None

    # What has come, up to where OpenSSL has got it; see ``records.Records``.
    _kept = b""
    _at = 0
    _partial = 0  # bytes missing of a record that it has got the beginning of
    _unread = 0  # complete records that it may not have read
    _without_data = 0  # records in a row that brought none

    def bio_write(self, buf: Any) -> int:
        """Take what has come."""
        self._kept = self._kept[self._at :] + buf
        self._at = 0
        return len(buf)

    def do_handshake(self) -> None:
        """Go on with the handshake.

        :raises SSL.WantReadError: the peer's turn.
        :raises SSL.Error: it has failed.
        """
        while True:
            try:
                super().do_handshake()
            except SSL.WantReadError:
                self._count(MAX_IN_HANDSHAKE, TOO_MANY_IN_HANDSHAKE)
                if not self._give():
                    raise
            except SSL.ZeroReturnError:
                # Twisted cannot deal with a close_notify in the middle of a handshake.
                raise SSL.SysCallError(-1, "Unexpected EOF") from None
            except SSL.Error as error:
                self.answer_if_http(error)
                raise
            else:
                self._unread = self._without_data = 0
                return

    def answer_if_http(self, error: SSL.Error) -> None:
        """Let a client that speaks HTTP without TLS read why that does not work.

        :param error: in which the handshake has ended.
        """
        if self.answer_to_http is not None and openssl_words(error) in _SPEAKS_HTTP:
            write_out(self, self.answer_to_http())

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Read a record.

        :raises SSL.WantReadError: there is no more.
        :raises SSL.Error: it is broken, or too many brought no data.
        """
        while True:
            try:
                data: bytes = super().recv(bufsiz, flags)
            except SSL.WantReadError:
                self._count(MAX_WITHOUT_DATA, TOO_MANY_WITHOUT_DATA)
                if not self._give():
                    raise
            else:
                self._unread = self._without_data = 0
                return data

    def _count(self, limit: int, words: str) -> None:
        """Count the records that were read and brought nothing."""
        self._without_data += self._unread
        self._unread = 0
        if self._without_data > limit:
            self._kept, self._at = b"", 0
            raise too_many(words)

    def _give(self) -> bool:
        """Give OpenSSL some records.

        :returns: whether there were any.
        """
        rest = memoryview(self._kept)[self._at :]
        end, self._partial, self._unread = cut(rest, len(rest), self._partial, RECORDS_AT_ONCE, len(rest))
        if end:
            super().bio_write(bytes(rest[:end]))
            self._at += end
            if len(rest) - end < HEADER:
                self._kept, self._at = bytes(rest[end:]), 0
        return end > 0
