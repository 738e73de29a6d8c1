"""Carries a known number of bytes from one transport to another, past their protocols, and then stops.

It is for messages whose length is known: behind them, the protocol reads on. Bytes go by a pipe where one can
be had, else they are copied; never more of them than are left, so that what follows stays in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from tcpbalance.net.pump import BYTES_A_TURN, CHUNK, READS, Origin, Pump, Sink
from tcpbalance.net.reading import Source
from tcpbalance.net.splice import Pipe, PipeStore
from tcpbalance.net.wheel import Wheel


def _nothing() -> None:
    """What is left to be done by one that is over."""


class BoundedPump(Pump):
    """A ``Pump`` that stops after so many bytes.

    For the parameters not named here see there.

    :param size: bytes to carry.
    :param on_done: called once they are with the sink's kernel.
    :param undo: has the protocol of the source read again.
    :ivar left: bytes still to be read.
    """

    __slots__ = ("_is_over", "_on_done", "_undo", "left")

    def __init__(
        self,
        origin: Origin,
        source: Source,
        sink: Sink,
        pipes: PipeStore,
        wheel: Wheel,
        *,
        size: int,
        on_done: Callable[[], None],
        undo: Callable[[], None],
    ) -> None:
        super().__init__(origin, source, None, sink, pipes, wheel)
        self.left = size
        self._on_done = on_done
        self._undo = undo
        self._is_over = False

    def pull(self, reads: range = READS) -> None:
        """See ``Pump``."""
        source, output = self.source, self._output
        until = self.carried + BYTES_A_TURN
        for _ in reads:
            if not self.left or not source.readable or output.full:
                return
            pipe = self._pipe = self._pipes.take() if source.splices and output.splices else None
            if pipe is None:
                goes_on = self._copy()
            else:
                goes_on = self._fill(pipe, min(self.left, until - self.carried)) and self.push()
            if not goes_on:
                return
            if self.carried == until:
                break
        source.read_again()

    def _copy(self) -> bool:
        """Carry as much as one read brings.

        :returns: whether there may be more.
        """
        source, asked = self.source, min(CHUNK, self.left)
        try:
            data = source.socket.recv(asked)
        except BlockingIOError:
            source.readable = False
            return False
        except OSError:
            source.on_connection_error()
            return False
        if not data:
            source.on_eof()
            return False
        self._took(len(data))
        if len(data) < asked:
            source.readable = source.at_the_end
        try:
            goes_on = self._output.send(data)
        except OSError as error:
            self.sink.break_later(error)
            return False
        self._look_whether_done()
        return goes_on

    def _fill(self, pipe: Pipe, size: int) -> bool:
        """See ``Pump``."""
        try:
            size = pipe.fill(self.source.socket, size)
        except BlockingIOError:
            self.source.readable = False
            self.release()
        except OSError as error:
            self.release()
            self._source_failed(error)
        else:
            self._took(size)
            return self._filled(size)
        return False

    def _filled(self, size: int) -> bool:
        """See ``Pump``: nothing is decided by how much it was."""
        if size:
            return True
        self.release()
        self.source.splices = False
        self.source.read_again()
        return False

    def _took(self, size: int) -> None:
        self.left -= size
        self.carried += size
        self.active = self._wheel.now

    def push(self) -> bool:
        """See ``Pump``."""
        is_empty = super().push()
        if is_empty:
            self._look_whether_done()
        return is_empty

    def _look_whether_done(self) -> None:
        if not self.left and not self._is_over and self._output.unsent is None and not self.held:
            on_done = self._on_done
            self.stop()
            on_done()

    def stop(self) -> None:
        """Carry nothing more: the protocol of the source reads what follows. Further calls do nothing."""
        if not self._is_over:
            self._is_over = True
            self.left = 0
            self.release()
            self._undo()
            # No reference cycle is left behind for the garbage collector to find.
            self._undo = self._on_done = _nothing
