"""How long the open sessions of a frontend may go on that has ended."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from tcpbalance.event import OneTimeEvent
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.services.drains import LOOK_AGAIN_AFTER
from tcpbalance.services.shared import Shared


class SessionDrain:
    """Lets open sessions finish within the time that they have, and ends those that do not.

    :param shared: has the reactor and the grace.
    :param registry: of the sessions.
    """

    def __init__(self, shared: Shared, registry: SessionRegistry) -> None:
        self._shared = shared
        self._registry = registry
        self._grace_call: IDelayedCall | None = None
        self._drain_calls: dict[Pool, IDelayedCall] = {}
        self._late: OneTimeEvent[None] = OneTimeEvent()
        self._late.settle(None)

    @property
    def expects_clients(self) -> bool:
        """Whether clients may come still."""
        return not self._late.settled

    def within_grace(self) -> Deferred[None]:
        """Let them go on for the grace, as the program ends.

        :returns: fires when the last one has ended.
        """
        if not self._registry.sessions:
            return succeed(None)
        self.begin_grace()
        return self._when_idle()

    def by_pools(self, pools: Iterable[Pool], late: float) -> Deferred[None]:
        """Let them go on for as long as their pool lets a backend drain, as the frontend is gone.

        :param late: seconds for which clients may come still.
        :returns: fires when the last one has ended.
        """
        if late:
            self._expect_clients(late)
        elif not self._registry.sessions:
            return succeed(None)
        for pool in pools:
            if pool.drain_timeout is not None:
                self._end_drained_after(pool.drain_timeout, pool)
        return self._when_idle()

    def _expect_clients(self, seconds: float) -> None:
        late = self._late = OneTimeEvent()
        call = self._shared.reactor.callLater(seconds, late.settle, None)
        late.wait().addCallback(lambda _: call.active() and call.cancel())

    def _when_idle(self) -> Deferred[None]:
        idle = self._late.wait().addCallback(lambda _: self._registry.when_idle())
        return idle.addCallback(self._cancel_calls)

    def begin_grace(self) -> None:
        """Let them go on for no longer than the grace from now on."""
        self._grace_call = self._shared.reactor.callLater(
            self._shared.grace, self._registry.end_sessions, EndReason.SHUTDOWN
        )
        self._late.settle(None)

    def end_grace_now(self) -> None:
        """End them now, where the grace has begun."""
        if self._grace_call is not None and self._grace_call.active():
            self._grace_call.reset(0)

    def _end_drained_after(self, seconds: float, pool: Pool) -> None:
        self._drain_calls[pool] = self._shared.reactor.callLater(seconds, self._end_drained, pool)

    def _end_drained(self, pool: Pool) -> None:
        self._registry.end_sessions(EndReason.DRAINED, served_by=set(pool.backends))
        if self._registry.sessions or self.expects_clients:
            # A client may be queued, or a dial under way.
            self._end_drained_after(LOOK_AGAIN_AFTER, pool)

    def _cancel_calls(self, _: None) -> None:
        for call in (self._grace_call, *self._drain_calls.values()):
            if call is not None and call.active():
                call.cancel()
