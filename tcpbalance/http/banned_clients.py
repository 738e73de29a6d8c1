"""Clients that are banned while they have connections open: these take no further requests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tcpbalance.admission.control import AdmissionControl

INTERVAL = 1.0
"""Seconds between two looks through all connections: a flood leads to thousands of bans a second."""

LOOKS_A_TURN = 100
"""Connections that are looked at in one turn of the reactor, all of which may have to be ended."""


class BannableSession(Protocol):
    """A connection on which requests come."""

    def end_if_banned(self, is_banned: Callable[[bytes | None], bool]) -> None:
        """Take no further request, if the client is banned.

        :param is_banned: says so of a packed address.
        """


class BannedClients:
    """Looks for the connections of clients that have been banned, soon after each ban.

    :param sessions: those that are open, and others; they come and go.
    :param clock: seconds on a monotonic clock.
    :param timer: makes calls later.
    """

    def __init__(
        self,
        sessions: Callable[[], Collection[BannableSession]],
        clock: Callable[[], float],
        timer: IReactorTime,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._timer = timer
        self._control: AdmissionControl | None = None
        self._call: IDelayedCall | None = None
        self._left: list[BannableSession] = []
        self._is_due = False
        self._next = clock()

    def follow(self, control: AdmissionControl | None) -> None:
        """Look by the bans of this from now on; None for none."""
        before, self._control = self._control, control
        if before is not None and before is not control and before.on_banned == self._look_soon:
            before.on_banned = None
        if control is not None:
            control.on_banned = self._look_soon

    def _look_soon(self) -> None:
        """A client may have been banned; what calls may be in the middle of its own work."""
        self._is_due = True
        if self._call is None:
            self._call = self._timer.callLater(max(0.0, self._next - self._clock()), self._look)

    def _look(self) -> None:
        """Look at all connections, some in each turn."""
        self._call = None
        if not self._left:
            self._is_due, self._left = False, list(self._sessions())
        control, left = self._control, self._left
        some, self._left = left[:LOOKS_A_TURN], left[LOOKS_A_TURN:]
        if control is not None:
            for session in some:
                session.end_if_banned(control.is_banned)
        if self._left:
            self._call = self._timer.callLater(0, self._look)
            return
        self._next = self._clock() + INTERVAL
        if self._is_due:
            self._look_soon()

    def close(self) -> None:
        """Look no more: no connection is open."""
        self.follow(None)
        self._left = []
        if self._call is not None:
            self._call.cancel()
            self._call = None
