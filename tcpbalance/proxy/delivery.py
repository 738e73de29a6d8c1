"""Resets a side once its peer has what the other side had sent before its own reset.

A reset throws away what our kernel still holds for the peer. No event reports that the peer's kernel has
acknowledged the last byte, so this is looked at now and then, and only while there is something to wait for.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.peer import Peer

FIRST_LOOK = 0.02
"""Seconds until the first look; each wait after that is twice as long."""

MAX_WAIT = 1.0
"""Seconds between two looks at most."""


class Delivery:
    """Waits until all bytes for one peer are acknowledged, then resets it; its owner bounds the wait.

    :param side: the peer's; open, and read no more.
    :param wheel: times the looks; a fine one.
    """

    __slots__ = ("_side", "_wait", "_wheel", "slot")

    def __init__(self, side: Peer, wheel: Wheel) -> None:
        self._side = side
        self._wait = FIRST_LOOK
        self._wheel = wheel
        self.slot: int | None = None
        wheel.watch(self, self._wait)

    def check(self, now: float) -> float | None:
        """The wheel's call.

        :returns: the seconds until the next look; None once there is nothing left to wait for.
        """
        if self._side.in_flight():
            self._wait = min(2 * self._wait, MAX_WAIT)
            return self._wait
        self._side.close(orderly=False)
        return None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self._side.close(orderly=False)

    def stop(self) -> None:
        """Look no more."""
        self._wheel.forget(self)
