"""Ends many sessions at once, a bounded number of them in one turn of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tcpbalance.net.wheel import CHECKS_TIME_A_TURN
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.reasons import EndReason

SESSIONS_A_TURN = 32
"""Sessions ended before the reactor has its turn, at most, and only for ``CHECKS_TIME_A_TURN``."""


class Ending(Protocol):
    """A session that can be ended."""

    @property
    def served_by(self) -> Backend | None:
        """The backend that it is connected to, None while it is not."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide its end."""
        ...


class SessionEnder:
    """Ends sessions in the order in which they are given.

    :param reactor: for the turns.
    :param clock: seconds on a monotonic clock.
    :ivar waiting: the sessions that are still to end, with the reason and the backends of each. The last one
        is ended first: from a dict, only that can be taken in constant time.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._clock = clock
        self.waiting: dict[Ending, tuple[EndReason, Collection[Backend] | None]] = {}
        self._call: IDelayedCall | None = None

    def end(
        self, sessions: Iterable[Ending], reason: EndReason, served_by: Collection[Backend] | None
    ) -> None:
        """End sessions, the first of them now.

        :param served_by: skip sessions that none of these backends serves when their turn comes; None to end
            all.
        """
        for session in reversed(list(sessions)):
            before = self.waiting.get(session)
            # One that is to end in any case does so, though its backend may change by then.
            if before is None or before[1] is not None:
                self.waiting[session] = (reason, served_by)
        if self._call is None:
            self._end_some()

    def forget(self, session: Ending) -> None:
        """A session has ended."""
        self.waiting.pop(session, None)
        if not self.waiting and self._call is not None:
            self._call.cancel()
            self._call = None

    def _go_on(self) -> None:
        self._call = None
        self._end_some()

    def _end_some(self) -> None:
        until = self._clock() + CHECKS_TIME_A_TURN
        for _ in range(SESSIONS_A_TURN):
            if not self.waiting:
                return
            session, (reason, served_by) = self.waiting.popitem()
            if served_by is None or session.served_by in served_by:
                self._end(session, reason)
                if self._clock() >= until:
                    break
        if self.waiting and self._call is None:
            self._call = self._reactor.callLater(0, self._go_on)

    def _end(self, session: Ending, reason: EndReason) -> None:
        try:
            session.end(reason)
        except Exception:
            self._log.failure("a session could not be ended")
