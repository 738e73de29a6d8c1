"""Shows a protocol what has come before it is read, so that TLS can begin in the middle of it."""

from __future__ import annotations

import contextlib
import socket

from tcpbalance.net.pump import CHUNK
from tcpbalance.net.reading import Source


class Preview:
    """A ``Reader`` that gives a protocol what has come and reads it after that, less what is to be left.

    :param source: what comes in.
    """

    __slots__ = ("_over", "_shown", "_source")

    drains = False

    def __init__(self, source: Source) -> None:
        self._source = source
        self._shown = 0
        self._over = False

    def pull(self) -> None:
        """See ``Reader``."""
        source = self._source
        try:
            data = source.socket.recv(CHUNK, socket.MSG_PEEK)
        except BlockingIOError:
            source.readable = False
            return
        except OSError:
            source.on_connection_error()
            return
        if not data:
            source.on_eof()
            return
        self._shown = len(data)
        source.protocol.dataReceived(data)
        # The protocol may have ended the preview.
        if not self._over:
            self._take(self._shown)
        source.read_again()

    def end(self, leave: int) -> None:
        """Read what is being shown, less its last bytes; show no more.

        :param leave: how many of them.
        """
        self._over = True
        self._take(max(0, self._shown - leave))

    def _take(self, count: int) -> None:
        # It was there a moment ago; a break since then is reported later, and a close was the protocol's.
        with contextlib.suppress(OSError):
            self._source.socket.recv(count)
