"""An answer that goes on for as long as its client reads it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from tcpbalance.control.api_request import BeginStream

MAX_UNREAD = 1024 * 1024
"""Bytes of a stream that its client has not read, beyond what the system and the transport hold."""


@implementer(IPushProducer)
class StreamWriter:
    """Writes a stream; see ``StreamSink``.

    What is written is an event, which cannot wait: where the client does not keep up, it is kept up to a
    bound, and the connection is ended then.

    :param request: that is answered; its head has been made.
    :param abort: ends the connection.
    """

    def __init__(self, request: Request, abort: Callable[[], None]) -> None:
        self._request = request
        self._abort = abort
        self._unread: int | None = None
        self._is_over = False
        self._stop: Callable[[], None] = lambda: None

    def begin(self, stream: BeginStream) -> None:
        """Begin it."""
        self._request.registerProducer(self, True)  # type: ignore[no-untyped-call]  # Twisted's
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self._stop = stream(self)

    def write(self, data: bytes) -> None:
        """Write a part of it."""
        if self._is_over:
            return
        self._request.write(data)  # type: ignore[no-untyped-call]  # Twisted's
        if self._unread is not None:
            self._unread += len(data)
            if self._unread > MAX_UNREAD:
                self._abort()

    def finish(self) -> None:
        """End it; what was written goes out."""
        if not self._is_over:
            self.stopProducing()
            self._request.unregisterProducer()  # type: ignore[no-untyped-call]  # Twisted's
            self._request.finish()  # type: ignore[no-untyped-call]  # Twisted's

    def pauseProducing(self) -> None:
        """Twisted's call, at each write while it is so: the client does not keep up."""
        if self._unread is None:
            self._unread = 0

    def resumeProducing(self) -> None:
        """Twisted's call: it does again."""
        self._unread = None

    def stopProducing(self) -> None:
        """Twisted's call: the client is gone."""
        if not self._is_over:
            self._is_over = True
            self._stop()
