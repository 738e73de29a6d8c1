"""Finds a backend that accepts: the pool's choices in order, again and again, under the pool's bounds.

A dial waits for one thing at a time: an attempt; a place in the pool's queue, when everybody is full; or a
pause, when all have been tried that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed, internal_error
from tcpbalance.net.connecting import Connector, Pending
from tcpbalance.net.tcp_info import connect_time
from tcpbalance.net.tls_attempt import dial_tls
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.connection_queue import ConnectionQueue
from tcpbalance.pool.pool import Pool, Slot
from tcpbalance.proxy.backend import BackendConnection, BackendFactory
from tcpbalance.proxy.backoff import backoff
from tcpbalance.proxy.queue_entry import Pause, QueueEntry
from tcpbalance.proxy.reasons import EndReason

PATIENCE = 10
"""Pauses that a dial makes for the retry budget, the better part of a second together: those who failed at
once, because a backend has died, are served one after the other; in an outage of all they are told soon."""


GIVEN_UP = "given up"
"""What is noted of an attempt that was under way when the session ended."""


class Caller(Protocol):
    """Whom a dial is for."""

    def make_backend_protocol(self) -> BackendConnection:
        """Give the protocol for a connection that stands."""
        ...

    def waits(self) -> None:
        """Hear that it stands in the pool's queue now."""
        ...

    def goes_on(self, waited: float) -> None:
        """Hear that it has left the queue after *waited* seconds, to try a backend."""
        ...

    def no_backend_left(self) -> None:
        """Hear that nobody is left to be tried."""
        ...

    def broke_down(self) -> None:
        """Hear that an exception has ended the search."""
        ...


class Dial:
    """The attempts of one session to reach a backend.

    At any time at most one slot of the pool is held: the attempt's, which becomes the connection's.

    :param pool: whose backends are tried, with at most ``1 + pool.retries`` attempts.
    :param connector: opens the connections.
    :param client: the client's packed address, None when it has none.
    :param seconds: the clock.
    :param caller: told how it goes.
    :ivar preamble: what a backend is sent in the clear before a TLS handshake.
    :ivar failures: the attempts that failed, in order: the name of the backend, and why.
    :ivar turned_away: why nobody was dialled although somebody is available, None where that is not so.
    """

    _log = Logger()

    __slots__ = (
        "_caller",
        "_choices",
        "_connector",
        "_handshake_began",
        "_patience",
        "_pauses",
        "_pending",
        "_queued_at",
        "_queued_until",
        "_retries",
        "_seconds",
        "attempts",
        "began",
        "client",
        "connect_time",
        "failure",
        "failures",
        "pool",
        "preamble",
        "slot",
        "turned_away",
    )

    def __init__(
        self,
        pool: Pool,
        connector: Connector,
        client: bytes | None,
        seconds: Callable[[], float],
        caller: Caller,
    ) -> None:
        self.pool = pool
        self._connector = connector
        self._choices = pool.choices(client)
        self._seconds = seconds
        self._caller: Caller | None = caller
        self._pending: Pending | None = None
        self._retries = False
        self._pauses = 0
        self._patience = PATIENCE
        self._handshake_began: float | None = None
        self._queued_until: float | None = None
        self._queued_at = 0.0
        self.began = 0.0
        self.client = client
        self.slot: Slot | None = None
        self.attempts = 0
        self.connect_time: float | None = None
        self.failure: ConnectFailed | None = None
        self.failures: Sequence[tuple[str, str]] = ()
        self.preamble = b""
        self.turned_away: EndReason | None = None

    @property
    def waits(self) -> bool:
        """Whether it stands in the pool's queue."""
        return isinstance(self._pending, QueueEntry)

    @property
    def connected_for(self) -> float:
        """Seconds since the backend has accepted."""
        assert self.connect_time is not None
        return self._seconds() - self.began - self.connect_time

    def next(self) -> None:
        """Try the next backend, wait for one, or give up; a dial that has ended does nothing.

        It may have ended while it gave its slot back: somebody else has that now, and may end in turn.
        """
        if self._caller is None:
            return
        if self.attempts > self.pool.retries or (self.attempts and not self.pool.has_available()):
            self._give_up()
        elif self.attempts and not self._may_retry():
            pass
        elif self._pauses:
            self._rest()
        else:
            self._choose()

    def _choose(self) -> None:
        backend = next(self._choices, None)
        if backend is None and self._pauses:
            self._begin_anew()
            backend = next(self._choices, None)
        if backend is not None:
            self._try(backend)
        elif self.pool.queue is not None and self.pool.is_full():
            self._queue_up(self.pool.queue)
        elif self.attempts and self.pool.has_available():
            self._rest()
        else:
            self._give_up()

    def _try(self, backend: Backend) -> None:
        self.attempts += 1
        self.slot = self.pool.take(backend, self.client)
        self.began = self._seconds()
        address, timeout, tls = backend.address, self.pool.connect_timeout, self.pool.tls
        try:
            if tls is None:
                self._pending = self._connector.connect(address, BackendFactory(self), timeout)
            else:
                peer = tls.peer(address, backend.server_name)
                self._pending = dial_tls(
                    self._connector, address, BackendFactory(self), timeout, peer, self._begin_handshake
                )
        except Exception:
            # A later attempt is made within a call of the wheel or of the connector, who know nothing of us.
            self._log.failure("backend {name} could not be dialled", name=backend.name)
            self._note_failure(internal_error().cause)
            self.broke_down()

    def _begin_handshake(self, _: object) -> bytes:
        """Give what is sent before the handshake, and remember when that began, if anybody will ask."""
        if self.pool.judges_connect_times:
            self._handshake_began = self._seconds()
        return self.preamble

    # Retries

    def _may_retry(self) -> bool:
        """Whether the pool's budget has room for another attempt; else it is waited for, or given up."""
        if not self._retries:
            self._retries = self.pool.retry_budget.take()
            if not self._retries:
                self._wait_for_budget()
        return self._retries

    def _wait_for_budget(self) -> None:
        if self._patience:
            self._patience -= 1
            self._pause(0, self._go_on)
            return
        if self.failure is not None:
            self.failure = ConnectFailed(f"{self.failure.cause}, and too many retries are under way")
        self._give_up()

    def _end_retries(self, in_vain: bool) -> None:
        if self._retries:
            self._retries = False
            self.pool.retry_budget.give_back(in_vain)

    def _rest(self) -> None:
        """All have been tried: from now on, there is a pause before each attempt."""
        self._pause(self._pauses, self._after_rest)
        self._pauses += 1

    def _after_rest(self) -> None:
        self._pending = None
        self._choose()

    def _pause(self, times: int, call: Callable[[], None]) -> None:
        self._pending = Pause(self._connector.wheel, backoff(times, self.pool.rng), call, self.broke_down)

    def _go_on(self) -> None:
        self._pending = None
        self.next()

    def _begin_anew(self) -> None:
        """Let all be chosen from again, by how things stand now."""
        self._choices.close()
        self._choices = self.pool.choices(self.client)

    # The queue

    def _queue_up(self, room: ConnectionQueue) -> None:
        """All are full: wait for the first that is not, within one time for the whole dial."""
        self._end_retries(in_vain=False)
        now = self._queued_at = self._seconds()
        if self._queued_until is None:
            self._queued_until = now + self.pool.queue_timeout
        left = max(0.0, self._queued_until - now)
        place = QueueEntry(room, self._connector.wheel, self.client, left, self)
        if not place.take():
            self._turn_away(EndReason.QUEUE_FULL)
            return
        self._pending = place
        assert self._caller is not None
        self._caller.waits()

    def its_turn(self) -> None:
        """See ``waiting.Queued``; slots are given back one by one, so the retry budget is not asked."""
        self._leave_queue()
        self._choose()

    def _leave_queue(self) -> None:
        self._pending = None
        if self._caller is not None:
            self._caller.goes_on(self._seconds() - self._queued_at)
        self._begin_anew()

    def displaced(self) -> None:
        """See ``waiting.Queued``."""
        self._pending = None
        self._turn_away(EndReason.QUEUE_FULL)

    def left_alone(self) -> None:
        """See ``waiting.Queued``."""
        self._pending = None
        self._turn_away(EndReason.NO_BACKEND)

    def timed_out(self) -> None:
        """See ``waiting.Queued``; whoever waited for its home may go elsewhere now."""
        self._leave_queue()
        backend = next(self._choices, None)
        if backend is not None:
            self._try(backend)
        else:
            available = self.pool.has_available()
            self._turn_away(EndReason.QUEUE_TIMEOUT if available else EndReason.NO_BACKEND)

    def broke_down(self) -> None:
        """See ``waiting.Queued``."""
        if self._caller is not None:
            self._caller.broke_down()

    def _turn_away(self, reason: EndReason) -> None:
        self.turned_away = reason
        self._give_up()

    def accepted(self) -> BackendConnection:
        """The backend accepted: its slot is the session's until ``end``."""
        assert self.slot is not None
        self._pending = None
        if self._retries:
            self._end_retries(in_vain=False)
        seconds = self._seconds() - self.began
        self.slot.connected(seconds)
        self.connect_time = seconds
        assert self._caller is not None
        return self._caller.make_backend_protocol()

    def judge(self, transport: Any) -> None:
        """Take note of how long the network and the backend took; only where the pool asks for it.

        :param transport: the backend's, connected this moment.
        """
        if self.slot is None or self.connect_time is None:
            return
        connecting, handshake = self.connect_time, None
        if self._handshake_began is not None:
            connecting = self._handshake_began - self.began
            handshake = self.connect_time - connecting
        took = connect_time(transport, connecting, handshake)
        if took is not None:
            self.slot.took(took.seconds, took.noticeable)

    def refused(self, failure: ConnectFailed) -> None:
        """The attempt failed. Where the fault is ours, nobody is blamed.

        Without a descriptor, no other backend could do better.
        """
        self._pending = None
        self.failure = failure
        self._note_failure(failure.cause)
        if failure.fault is Fault.BACKEND:
            self._blame(failure.cause)
        else:
            self.pool.shortage.note(failure.cause, failure.remedy)
        self._drop_slot()
        if failure.out_of_descriptors:
            self._give_up()
        else:
            self.next()

    def lacked(self, error: OSError) -> None:
        """The connection has ended for want of something on this machine; nobody is blamed."""
        self.failure = ConnectFailed.from_error(error)
        self.pool.shortage.note(self.failure.cause, self.failure.remedy)

    def answered(self) -> None:
        """The backend has said something: it is no more to blame."""
        if self.slot is not None:
            self.slot.answered()

    def again(self, cause: str) -> None:
        """The backend broke off before it had said anything: try another.

        :param cause: what it did, in a word.
        """
        self.broken_off(cause)
        self.connect_time = None
        self._drop_slot()
        self.next()

    def broken_off(self, cause: str) -> None:
        """The backend broke off before it had said anything, and no other is tried.

        :param cause: what it did, in a word.
        """
        self.failure = ConnectFailed(cause)
        self._note_failure(cause)
        self._blame(cause)

    def end(self) -> None:
        """Give up what is under way, give back the slot, and let go of the caller; calling it again does
        nothing."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
            self._note_failure(GIVEN_UP)
        self._end_retries(in_vain=True)
        self._drop_slot()
        self._choices.close()
        self._caller = None

    def settle(self) -> None:
        """No other backend will be asked for: the policy hears so now."""
        self._choices.close()

    def _give_up(self) -> None:
        if self._caller is not None:
            self._caller.no_backend_left()

    def _note_failure(self, cause: str) -> None:
        """Note how the attempt under way has ended, where there is one."""
        if self.slot is not None:
            self.failures = (*self.failures, (self.slot.backend.name, cause))

    def _blame(self, cause: str) -> None:
        if self.slot is not None:
            self.slot.failed(self._seconds() - self.began, cause)

    def _drop_slot(self) -> None:
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.release()
