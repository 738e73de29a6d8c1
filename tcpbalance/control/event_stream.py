"""A stream of events to one client: server-sent events, as the HTML standard has them (section 9.2)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from tcpbalance.control.api_request import StreamSink
from tcpbalance.control.events import Events, NumberedEvent

KEEP_ALIVE_EVERY = 15.0
"""Seconds after which a comment is sent where nothing else was: it shows that the stream is alive."""

EVENTS_AT_ONCE = 100
"""Events that are sent in one turn of the reactor."""

_BEGINS = b"retry: 1000\n\n"
"""Sent at once; a browser that loses the stream comes again after so many milliseconds."""

_MISSED = b"event: missed\ndata: {}\n\n"
"""Some events are not there any more that the client has not got."""

_ALIVE = b":\n\n"


class EventStream:
    """Sends events as they come.

    :param events: what is sent.
    :param since: the number of the last event that the client has.
    :param sink: takes it.
    """

    def __init__(self, events: Events, since: int, sink: StreamSink) -> None:
        self._reactor = events.reactor
        self._events = events
        self._sent = since
        self._sink = sink
        self._next: IDelayedCall | None = None
        self._alive: IDelayedCall | None = None
        self._unfollow: Callable[[], object] = lambda: None

    def begin(self) -> Callable[[], None]:
        """Send what there is, and what comes.

        :returns: ends that.
        """
        self._unfollow = self._events.follow(self._wake)
        self._write(_BEGINS)
        self._wake()
        return self.stop

    def _wake(self) -> None:
        if self._next is None:
            self._next = self._reactor.callLater(0, self._send)

    def _send(self) -> None:
        self._next = None
        missed, events = self._events.after(self._sent, EVENTS_AT_ONCE)
        if not events:
            return
        self._sent = events[-1].number
        if self._sent < self._events.newest:
            self._wake()
        self._write(b"".join([_MISSED if missed else b"", *map(_encoded, events)]))

    def _write(self, data: bytes) -> None:
        self._keep_alive_later()
        self._sink.write(data)

    def _keep_alive_later(self) -> None:
        if self._alive is None:
            self._alive = self._reactor.callLater(KEEP_ALIVE_EVERY, self._write_alive)
        else:
            self._alive.reset(KEEP_ALIVE_EVERY)

    def _write_alive(self) -> None:
        self._alive = None
        self._write(_ALIVE)

    def stop(self) -> None:
        """Send nothing any more."""
        self._unfollow()
        for call in (self._next, self._alive):
            if call is not None and call.active():
                call.cancel()
        self._next = self._alive = None


def _encoded(event: NumberedEvent) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (event.number, event.encoded)
