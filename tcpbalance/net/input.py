"""What comes in at one socket: read for a protocol, or by another ``Reader``."""

from __future__ import annotations

from socket import SocketType
from typing import Any, Protocol

from tcpbalance.net.ends import report_connection_error
from tcpbalance.net.poller import Handler, Poller
from tcpbalance.net.pump import CHUNK, READS
from tcpbalance.net.reading import Reader


class InputOwner(Handler, Protocol):
    """The transport that an input belongs to."""

    @property
    def is_broken(self) -> bool:
        """Whether the connection is broken, by the peer or the network."""
        ...

    def ended_in_order(self) -> bool:
        """Whether an end of the stream is the peer's own: behind a break the kernel shows one, too."""
        ...

    def has_unread(self) -> bool:
        """Whether something has come that was not read."""
        ...

    def on_connection_error(self) -> None:
        """The connection is broken, and nothing is left to be read."""
        ...


class Input:
    """A ``Source``: reads as far as one turn allows, and goes on in the next; for the protocol itself.

    :param owner: the transport; it and the input hold each other until ``close``.
    :param poller: calls again in the next turn.
    :param sock: connected, not blocking.
    :param protocol: gets what comes in.
    :param at_the_end: see ``Source``; true from the start where every read may stop short of what is there.
    :ivar reader: what reads: the input itself while the protocol gets what comes in.
    :ivar relayed: whether that is a pump, or TLS with a pump behind it.
    :ivar done: see ``Source``.
    :ivar paused: whether the protocol wants no more for now.
    :ivar queued: whether the next turn reads.
    :ivar chunk: bytes that a read for the protocol takes at most.
    """

    drains = True

    __slots__ = (
        "_owner",
        "_poller",
        "at_the_end",
        "chunk",
        "done",
        "ending",
        "paused",
        "protocol",
        "queued",
        "readable",
        "reader",
        "relayed",
        "socket",
        "splices",
    )

    def __init__(
        self, owner: InputOwner, poller: Poller, sock: SocketType, protocol: Any, at_the_end: bool
    ) -> None:
        self._owner: InputOwner | None = owner
        self._poller = poller
        self.socket = sock
        self.protocol = protocol
        self.reader: Reader = self
        self.relayed = False
        self.at_the_end = at_the_end
        self.chunk = CHUNK
        self.splices = True
        self.readable = False
        self.ending = False
        self.done = False
        self.paused = False
        self.queued = False

    @property
    def is_open(self) -> bool:
        """See ``Source``."""
        return self._owner is not None

    def pull(self) -> None:
        """See ``Reader``: give the protocol what there is."""
        for _ in READS:
            if not self.readable or self.paused:
                return
            try:
                data = self.socket.recv(self.chunk)
            except BlockingIOError:
                self.readable = False
                return
            except OSError:
                self.on_connection_error()
                return
            if not data:
                self.on_eof()
                return
            if len(data) < self.chunk:
                self.readable = self.at_the_end
            self.protocol.dataReceived(data)
            if self.relayed:
                # The protocol has let a pump carry what follows.
                break
        self.read_again()

    def read_again(self) -> None:
        """See ``Source``."""
        if self.readable and not self.queued:
            self.queued = True
            self._poller.again(self._owner, self._next_read)  # type: ignore[arg-type]  # open while readable

    def _next_read(self) -> None:
        self.queued = False
        if self.readable:
            self.reader.pull()

    def read_on(self) -> None:
        """Read in the next turn, though no event may say that there is more."""
        self.readable = not self.done
        self.read_again()

    def read_up(self) -> None:
        """Read what is there now, unless reading is over."""
        if not self.done:
            # Short reads are no sign that all was read: as many as a turn allows.
            self.readable = self.at_the_end = True
            self.reader.pull()

    def pulled_by_sink(self) -> None:
        """See ``Source``."""
        if self.readable and not self.queued:
            self.reader.pull()

    def resume(self) -> None:
        """Read again, from the next turn on."""
        if self.paused:
            self.paused = False
            self.read_again()

    def stop(self) -> None:
        """Read no more."""
        self.done = True
        self.readable = False

    def drain_then_fail(self) -> None:
        """Read what the peer had sent before its connection broke, and pass it on; then report the break.

        It is reported at once that the break is to come where this takes longer: where the other side takes
        the bytes slowly, or there are more of them than one turn reads.
        """
        if self.done or not self.reader.drains:
            self.on_connection_error()
            return
        # The kernel reports no more events; so read until the end is seen.
        self.readable = self.at_the_end = True
        self.reader.pull()
        if self._owner is None:
            return
        if self._owner.has_unread():
            report_connection_error(self.protocol)
        else:
            self.on_eof()

    def on_eof(self) -> None:
        """See ``Source``: the peer has finished sending, or its connection is broken."""
        owner = self._owner
        if owner is None or not owner.ended_in_order():
            self.on_connection_error()
            return
        self.readable = False
        self.done = True
        self.protocol.readConnectionLost()
        if owner.is_broken:
            owner.on_connection_error()

    def on_connection_error(self) -> None:
        """See ``Source``."""
        if self._owner is not None:
            self._owner.on_connection_error()

    def close(self) -> None:
        """Let go of all that is held: the socket is closed."""
        self.done = True
        self.readable = False
        # No reference cycle is left behind for the garbage collector to find.
        self._owner = self.protocol = None
        self.reader = None  # type: ignore[assignment]  # nothing is readable any more
