"""Holds back a side of a session that sends faster than it may.

Only reading stops: what has been read goes on its way, and what has not, the end included, waits in the
kernel, whose window closes. So ends and breaks are carried over as without a limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from twisted.python.failure import Failure

from tcpbalance.admission.gcra import Gcra
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.transport import Transport
from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.reasons import EndReason

READS_A_SECOND = 10
"""Reads that the rate is divided into, so that bytes go in small steps instead of one leap. Of a rate that is
lower, each read takes one byte."""


class LimitedOwner(Protocol):
    """What a side belongs to, as a limiter sees it."""

    def end(self, reason: EndReason) -> None:
        """Decide its end."""
        ...


class Limited(Protocol):
    """A side whose bytes are counted."""

    @property
    def transport(self) -> Transport:
        """The side's."""
        ...

    @property
    def session(self) -> LimitedOwner:
        """What it belongs to."""
        ...

    def read_on(self) -> None:
        """Read again, unless something else speaks against it."""
        ...


def _piece(rate: int) -> int:
    """Bytes that a read may take."""
    return min(CHUNK, max(1, rate // READS_A_SECOND))


class DryRunBandwidthLimiter:
    """Takes a limiter's place in a dry run, and counts what a limiter would have held back.

    :param rate: bytes a second.
    :param clock: a monotonic one, in seconds.
    :param would_hold: called then.
    """

    __slots__ = ("_clock", "_gcra", "_piece", "_until", "_would_hold")

    holds = False

    def __init__(self, rate: int, clock: Callable[[], float], would_hold: Callable[[], None]) -> None:
        self._gcra = Gcra(rate)
        self._piece = _piece(rate)
        self._until = -math.inf
        self._clock = clock
        self._would_hold = would_hold

    def read(self, count: int) -> None:
        """So many bytes have been read at the side, which a limiter would have had read in pieces."""
        now = self._clock()
        last = count % self._piece or self._piece
        if now < self._until or self._gcra.spent(count - last, now):
            self._would_hold()
        else:
            self._until = now + self._gcra.spent(last, now)

    def release(self) -> None:
        """Nothing waits."""


class BandwidthLimiter:
    """Pauses a side until what it has sent is within its rate.

    It and the side hold each other until ``release``.

    :param side: whose bytes are counted; connected.
    :param rate: bytes a second.
    :param wheel: ends the waits; a fine one.
    :param clock: a monotonic one, in seconds.
    :ivar holds: whether the side has to wait.
    """

    __slots__ = ("_clock", "_gcra", "_side", "_wheel", "holds", "slot")

    def __init__(self, side: Limited, rate: int, wheel: Wheel, clock: Callable[[], float]) -> None:
        self.holds = False
        self.slot: int | None = None
        self._side = side
        self._gcra = Gcra(rate)
        self._wheel = wheel
        self._clock = clock
        side.transport.read_at_most(_piece(rate))

    def read(self, count: int) -> None:
        """So many bytes have been read at the side."""
        wait = self._gcra.spent(count, self._clock())
        if wait:
            self.holds = True
            self._side.transport.pauseProducing()
            self._wheel.watch(self, wait)

    def check(self, now: float) -> None:
        """The wheel's call: the wait is over."""
        self.holds = False
        self._side.read_on()

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self._side.session.end(EndReason.INTERNAL_ERROR)

    def release(self) -> None:
        """Count no more; the side forgets it, too."""
        self._wheel.forget(self)
