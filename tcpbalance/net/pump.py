"""One direction of a session once both sides are connected: the bytes of one transport go to the other, past
their protocols.

Copying comes first: for a message that one ``recv`` can take, nothing is cheaper. When reads keep coming back
full, the pump is in bulk, and the kernel moves its bytes through a pipe; when the bursts have become small
again, it goes back to copying. Ends and breaks are reported to the protocol of the transport that they happen
at, as in the portable relay.

What the sink has not taken yet is in one place at a time: in the sink's output or in the pipe. Until it is
gone nothing is read from the source: that is all there is to back-pressure.
"""

from __future__ import annotations

import socket
from socket import SocketType
from typing import Protocol

from twisted.python.failure import Failure

from tcpbalance.net.output import Output
from tcpbalance.net.poller import READABLE, WRITABLE, Handler
from tcpbalance.net.reading import Layer, Source
from tcpbalance.net.splice import UNSUPPORTED, Pipe, PipeStore
from tcpbalance.net.wheel import Wheel

MORE = int(getattr(socket, "MSG_MORE", 0))
"""The flag of send(2) that lets what follows at once travel in the same segment, as a FIN with the bytes
before it, which saves both peers a packet. 0 where there is none."""

CHUNK = 64 * 1024
"""Bytes read at once."""

READS_A_TURN = 4
BYTES_A_TURN = 1024 * 1024
"""Reads, or fillings of the pipe, and bytes after which others have their turn: it takes 300 microseconds."""

READS, FURTHER_READS = range(READS_A_TURN), range(READS_A_TURN - 1)
"""Made once."""

MESSAGE = READABLE | WRITABLE
"""What the poller reports of a message at a socket that takes bytes."""

BULK_AFTER = 4
"""Full reads in a row that make a direction a bulk one: by then a quarter of a mebibyte has passed."""

LEAN = 16 * 1024
"""Bytes. A burst below it is cheaper to copy."""

CHATTY_AFTER = 4
"""Lean bursts in a row that end a bulk transfer."""


class Origin(Handler, Protocol):
    """The part of a socket transport that bytes are pumped from.

    :ivar output: what goes out there, in the other direction.
    """

    output: Output


class Sink(Protocol):
    """The part of a socket transport that bytes are pumped to.

    :ivar output: keeps what the socket does not take.
    """

    socket: SocketType
    output: Output

    def break_later(self, error: OSError) -> None:
        """A write has failed: report it in a later turn."""
        ...


class Pump:
    """A ``Reader`` that carries what comes in at one transport to another, and the ``Handler`` of its socket.

    :param origin: the transport that bytes come in at.
    :param source: what comes in there.
    :param layer: what is between the two; None in the clear.
    :param sink: where they go.
    :param pipes: lends a pipe while there is bulk to be moved.
    :param wheel: has the time, to the second.
    :ivar carried: bytes read from the source.
    :ivar active: the wheel's time at the last of them.
    """

    drains = True

    __slots__ = (
        "_back",
        "_bulk",
        "_layer",
        "_origin",
        "_output",
        "_pipe",
        "_pipes",
        "_send",
        "_streak",
        "_wheel",
        "active",
        "carried",
        "sink",
        "source",
    )

    def __init__(
        self, origin: Origin, source: Source, layer: Layer | None, sink: Sink, pipes: PipeStore, wheel: Wheel
    ) -> None:
        self.source = source
        self.sink = sink
        self._origin = origin
        self._layer = layer
        self._back = origin.output
        self._output = sink.output
        self._send = sink.output.sender
        self.carried = 0
        self.active = wheel.now
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._wheel = wheel
        self._bulk = False
        self._streak = 0

    @property
    def held(self) -> int:
        """Bytes in the pipe."""
        return 0 if self._pipe is None else self._pipe.held

    def on_events(self, events: int) -> None:  # noqa: C901 - a message is carried in one call
        """See ``poller.Handler``: carry a message; all else is the transport's.

        It does no more than `pull` does for one short read, and that in one call: most events bring no more.
        """
        source, output = self.source, self._output
        if (
            events != MESSAGE
            or source.readable
            or source.done
            or source.at_the_end
            or output.full
            or self._back.full
            or self._bulk
        ):
            self._origin.on_events(events)
            return
        sock = source.socket
        try:
            data = sock.recv(CHUNK)
        except BlockingIOError:
            pass
        except OSError:
            source.on_connection_error()
        else:
            size = len(data)
            if size and size < CHUNK:
                self.carried += size
                self.active = self._wheel.now
                self._streak = 0
                send = self._send
                try:
                    sent = send(data)
                except OSError as error:
                    self._not_sent(data, error)
                else:
                    if sent != size:
                        output.keep(data, sent)
            else:
                source.readable = True
                if self._take(data):
                    self.pull(FURTHER_READS)
        layer = self._layer
        if layer is not None and layer.socket.pending is not None:
            layer.go_on()

    def on_failure(self, failure: Failure) -> None:
        """See ``poller.Handler``."""
        self._origin.on_failure(failure)

    def on_teardown(self) -> None:
        """See ``poller.Handler``."""
        self._origin.on_teardown()

    def pull(self, reads: range = READS) -> None:
        """Carry what there is, as far as the sink takes it and the turn allows.

        :param reads: as many are allowed.
        """
        source, output = self.source, self._output
        for _ in reads:
            if self._bulk:
                self._pull_by_pipe()
                return
            if not source.readable or output.full:
                return
            try:
                data = source.socket.recv(CHUNK)
            except BlockingIOError:
                source.readable = False
                return
            except OSError:
                source.on_connection_error()
                return
            if not self._take(data):
                return
        source.read_again()

    def _take(self, data: bytes) -> bool:
        """Pass on what was read.

        :returns: whether the sink may take more.
        """
        source, size = self.source, len(data)
        if not size:
            source.on_eof()
            return False
        self.carried += size
        self.active = self._wheel.now
        if size < CHUNK:
            # Less than was asked for: that was all, unless the end is behind it (epoll(7), Q9).
            source.readable = source.at_the_end
            self._streak = 0
        else:
            self._note_full_read()
        try:
            return self._output.send(data, MORE if source.ending else 0)
        except OSError as error:
            self.sink.break_later(error)
            return False

    def _not_sent(self, data: bytes, error: OSError) -> None:
        """The sink takes nothing for now, or is broken."""
        if isinstance(error, BlockingIOError):
            self._output.keep(data, 0)
        else:
            self._output.cut_short = True
            self.sink.break_later(error)

    def push(self) -> bool:
        """Go on with what is in the pipe.

        :returns: whether nothing is left in it.
        """
        pipe = self._pipe
        if pipe is None:
            return True
        try:
            while pipe.held:
                pipe.drain(self.sink.socket)
        except BlockingIOError:
            self._output.full = True
            return False
        except OSError as error:
            return self._sink_failed(pipe, error)
        self.release()
        return True

    # By splicing

    def _note_full_read(self) -> None:
        self._streak += 1
        if self._streak >= BULK_AFTER:
            self._streak = 0
            self._bulk = self.source.splices and self._output.splices

    def _pull_by_pipe(self) -> None:
        source, output = self.source, self._output
        until = self.carried + BYTES_A_TURN
        for _ in READS:
            if not source.readable or output.full:
                return
            pipe = self._pipe = self._pipes.take() if source.splices and output.splices else None
            if pipe is None:
                self._bulk = False
                break
            if not self._fill(pipe, until - self.carried) or not self.push():
                return
            if self.carried == until:
                break
        source.read_again()

    def _fill(self, pipe: Pipe, size: int) -> bool:
        """Fill the pipe from the source.

        :param size: bytes at most.
        :returns: whether there is something in it now.
        """
        try:
            size = pipe.fill(self.source.socket, size)
        except BlockingIOError:
            self.source.readable = False
            self.release()
        except OSError as error:
            self.release()
            self._source_failed(error)
        else:
            return self._filled(size)
        return False

    def _filled(self, size: int) -> bool:
        if not size:
            # The end; or an urgent byte with the end somewhere behind it. recv(2) shows which.
            self.release()
            self._bulk = False
            self.source.read_again()
            return False
        self.carried += size
        self.active = self._wheel.now
        self._streak = self._streak + 1 if size < LEAN else 0
        if self._streak >= CHATTY_AFTER:
            self._streak = 0
            self._bulk = False
        return True

    def _source_failed(self, error: OSError) -> None:
        if error.errno in UNSUPPORTED:
            self.source.splices = self._bulk = False
            self.source.read_again()
        else:
            self.source.on_connection_error()

    def _sink_failed(self, pipe: Pipe, error: OSError) -> bool:
        """The sink broke; or it cannot be spliced to, and what is in the pipe is copied.

        :returns: whether nothing is left in the pipe.
        """
        if error.errno not in UNSUPPORTED:
            self.sink.break_later(error)
            return False
        self._output.splices = self._bulk = False
        data = pipe.take_back()
        self.release()
        try:
            return self._output.send(data)
        except OSError as broken:
            self.sink.break_later(broken)
            return False

    def release(self) -> None:
        """Give the pipe back, with what is in it where the sink is no more."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give(pipe)

    def __repr__(self) -> str:
        return f"<Pump from {self._origin!r}>"
