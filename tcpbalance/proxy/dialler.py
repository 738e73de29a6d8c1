"""Carries out what a ``Dial`` decides: attempts, pauses, and waits in the queue, one at a time."""

from __future__ import annotations

import typing
from collections.abc import Callable, Generator, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed, internal_error
from tcpbalance.net.connecting import Connector, Pending
from tcpbalance.net.tcp_info import connect_time
from tcpbalance.net.tls_attempt import TLS_CAUSE, dial_tls
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool, Slot
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.proxy.dial import Decision, Dial, GiveUp, Pause, Try
from tcpbalance.proxy.peer import Peer, PeerOwner
from tcpbalance.proxy.queue_entry import PauseTimer, QueueEntry
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import count_cause

GIVEN_UP = "given up"
"""What is noted of an attempt that was under way when the session ended."""


class Caller(PeerOwner, typing.Protocol):
    """What a backend is dialled for."""

    def attempt_begins(self) -> None:
        """A backend is about to be tried, by the settings that the pool has now."""
        ...

    def backend_connected(self, side: Peer) -> None:
        """The backend has accepted."""
        ...

    def queued(self) -> None:
        """It waits in the pool's queue from now on."""
        ...

    def left_queue(self, waited: float) -> None:
        """It has left the queue after *waited* seconds, to try a backend."""
        ...


class StreamCaller(Caller, typing.Protocol):
    """The session that a backend is dialled for."""

    def backend_sent(self, data: bytes) -> None:
        """Bytes came from the backend."""
        ...


class BackendConnection(Peer):
    """The backend's side of a session."""

    session: StreamCaller

    def __init__(self, session: StreamCaller) -> None:
        self.session = session

    def connectionMade(self) -> None:
        """The backend has accepted."""
        self.session.backend_connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self.session.backend_sent(data)

    @property
    def can_half_close(self) -> bool:
        """Whether the write side can be closed alone, so that the backend can still answer."""
        return super().can_half_close or self.transport.ends_by_close_notify


class Dialler:
    """The attempts of one session to reach a backend.

    At any time at most one slot of the pool is held: the attempt's, which becomes the connection's. It is
    the factory of each attempt's connection, too.

    :param pool: whose backends are tried.
    :param connector: opens the connections.
    :param client: the client's packed address, None when it has none.
    :param clock: seconds on a monotonic clock.
    :param caller: called with the outcome.
    :ivar dial: decides.
    :ivar preamble: what a backend is sent in the clear before a TLS handshake.
    :ivar slot: of the attempt under way, or of the connection; None without one.
    :ivar began: when the last attempt began.
    :ivar connect_time: seconds that the attempt took that succeeded; None while none has.
    :ivar failures: the attempts that failed, in order: the name of the backend, and why.
    """

    _log = Logger()

    __slots__ = (
        "_caller",
        "_clock",
        "_connector",
        "_handshake_began",
        "_holds_budget",
        "_pending",
        "_queued_at",
        "_queued_until",
        "began",
        "connect_time",
        "dial",
        "failures",
        "pool",
        "preamble",
        "slot",
    )

    _take = staticmethod(Pool.take)

    def __init__(
        self,
        pool: Pool,
        connector: Connector,
        client: bytes | None,
        clock: Callable[[], float],
        caller: Caller,
    ) -> None:
        self.pool = pool
        self.dial = Dial(pool, client)
        self._connector = connector
        self._clock = clock
        self._caller: Caller | None = caller
        self._pending: Pending | None = None
        self._holds_budget = False
        self._handshake_began: float | None = None
        self._queued_until: float | None = None
        self.began = 0.0
        self.slot: Slot | None = None
        self.connect_time: float | None = None
        self.failures: Sequence[tuple[str, str]] = ()
        self.preamble = b""

    @property
    def queued(self) -> bool:
        """Whether it waits in the pool's queue."""
        return isinstance(self._pending, QueueEntry)

    @property
    def connected_for(self) -> float:
        """Seconds since the backend has accepted."""
        assert self.connect_time is not None
        return self._clock() - self.began - self.connect_time

    def resume(self, slot: Slot | None, choices: Generator[Backend, None, None] | None, began: float) -> None:
        """Take over the first attempt of a session that has begun bare.

        :param slot: of the attempt; None where no backend could be chosen.
        :param choices: what may be tried after it; None for what the pool yields after it.
        :param began: when it began.
        """
        self.slot = slot
        self.began = began
        self.dial.resume(None if slot is None else slot.backend, choices)

    def go_on_refused(self, backend: Backend, choices: Generator[Backend, None, None] | None) -> None:
        """Go on with the first attempt of a session that has begun bare, where another process was quicker.

        :param backend: that was to be tried.
        :param choices: what may be tried after it; None for what the pool yields after it.
        """
        self.dial.resume(backend, choices)
        self._carry_out(self.dial.after_refusal())

    def go_on(self) -> None:
        """Do what is next; a session that has ended does nothing.

        It may have ended while it gave its slot back: another has that now, and may end in turn.
        """
        self._pending = None
        if self._caller is not None:
            self._carry_out(self.dial.decide())

    def _carry_out(self, decision: Decision) -> None:
        if self.dial.retrying is not self._holds_budget:
            self._adjust_budget()
        if isinstance(decision, Try):
            self._try(decision.backend)
        elif isinstance(decision, Pause):
            wheel = self._connector.wheel
            self._pending = PauseTimer(wheel, decision.seconds, self.go_on, self.failed)
        elif isinstance(decision, GiveUp):
            self._end(decision.reason)
        else:
            self._join_queue(decision.put_back)

    def _try(self, backend: Backend) -> None:
        try:
            self.slot = self._take(self.pool, backend, self.dial.client)
        except NoCapacityError:
            self._carry_out(self.dial.after_refusal())
            return
        if self.failures:
            last_failed, _ = self.failures[-1]
            backend.stats.retries += 1
            backend.stats.redispatches += backend.name != last_failed
        self._begin_attempt(backend)

    def _begin_attempt(self, backend: Backend) -> None:
        """Have a connection opened to a backend whose slot is held."""
        pool, address = self.pool, backend.address
        timeout, tls = pool.connect_timeout, pool.tls
        self.began = self._clock()
        backend.stats.connect_attempts += 1
        try:
            assert self._caller is not None
            self._caller.attempt_begins()
            if tls is None:
                self._pending = self._connector.connect(address, self, timeout)
            else:
                peer = tls.peer(address, backend.server_name)
                self._pending = dial_tls(self._connector, address, self, timeout, peer, self._begin_handshake)
        except Exception:
            # A later attempt is made within a call of the wheel or of the connector, which do not know us.
            self._log.failure("backend {name} could not be dialled", name=backend.name)
            self._note_failure(internal_error().cause)
            self.failed()

    def _begin_handshake(self, _: object) -> bytes:
        """Give what is sent before the handshake, and remember when that began, if the pool judges by it."""
        if self.pool.judges_connect_times:
            self._handshake_began = self._clock()
        return self.preamble

    def _adjust_budget(self, failed: bool = False) -> None:
        """Take a part of the retry budget where the dial needs one, and give back one that it does not."""
        self._holds_budget = self.dial.retrying
        if self._holds_budget:
            self.pool.retry_budget.take()
        else:
            self.pool.retry_budget.give_back(failed)

    # The queue

    def _join_queue(self, put_back: bool) -> None:
        """All are full: wait for the first that is not, within one time for the whole dial.

        :param put_back: whether it waits on where it was.
        """
        queue = self.pool.queue
        assert queue is not None
        now = self._queued_at = self._clock()
        if self._queued_until is None:
            self._queued_until = now + self.pool.queue_timeout
        left = max(0.0, self._queued_until - now)
        entry = QueueEntry(queue, self._connector.wheel, self.dial.client, left, self)
        if put_back:
            entry.put_back()
        elif not entry.join():
            self._end(EndReason.QUEUE_FULL)
            return
        self._pending = entry
        assert self._caller is not None
        self._caller.queued()

    def its_turn(self) -> None:
        """See ``queue_entry.Queued``."""
        self._leave_queue()
        self._carry_out(self.dial.after_queue())

    def timed_out(self) -> None:
        """See ``queue_entry.Queued``."""
        self._leave_queue()
        self._carry_out(self.dial.after_queue_timeout())

    def _leave_queue(self) -> None:
        self._pending = None
        if self._caller is not None:
            self._caller.left_queue(self._clock() - self._queued_at)

    def displaced(self) -> None:
        """See ``queue_entry.Queued``."""
        self._pending = None
        self._end(EndReason.QUEUE_FULL)

    def no_backend_left(self) -> None:
        """See ``queue_entry.Queued``."""
        self._pending = None
        self._end(EndReason.NO_BACKEND)

    def failed(self) -> None:
        """See ``queue_entry.Queued``."""
        self._end(EndReason.INTERNAL_ERROR)

    def _end(self, reason: EndReason) -> None:
        if self._caller is not None:
            self._caller.end(reason)

    # Attempts and connections

    def buildProtocol(self, addr: Any) -> Peer:
        """The backend has accepted: its slot is the session's until ``end``."""
        return BackendConnection(self._accepted())  # type: ignore[arg-type]  # a session, where not overridden

    def _accepted(self) -> Caller:
        """The attempt has succeeded: take note, and give what it was made for."""
        assert self.slot is not None
        assert self._caller is not None
        self._pending = None
        seconds = self._clock() - self.began
        self.slot.connected(seconds)
        self.connected(seconds)
        return self._caller

    def connected(self, seconds: float) -> None:
        """The attempt has taken so long and has succeeded."""
        if self._holds_budget:
            self.dial.retrying = False
            self._adjust_budget()
        self.dial.reached = True
        self.connect_time = seconds

    def await_attempt(self, attempt: Pending) -> None:
        """An attempt is under way that was begun elsewhere."""
        self._pending = attempt

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The attempt has failed; a fault of this machine does not count against the backend.

        :param reason: holds a ``ConnectFailed``.
        """
        failure, slot = reason.value, self.slot
        assert isinstance(failure, ConnectFailed)
        assert slot is not None
        self._pending = None
        self.dial.failure = failure
        self._note_failure(failure.cause)
        if failure.cause.startswith(TLS_CAUSE):
            failures = slot.backend.stats.tls_handshake_failures
            count_cause(failures, failure.cause.removeprefix(TLS_CAUSE))
        if failure.fault is Fault.BACKEND:
            slot.backend.stats.connect_failures += 1
            self._count_failure(failure.cause)
        else:
            slot.backend.stats.local_failures += 1
            self.pool.shortage.note(failure.cause, failure.remedy)
        self._drop_slot()
        self.go_on()

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
        took = connect_time(transport.socket, connecting, handshake, transport.getHandle())
        if took is not None:
            self.slot.took(took.seconds, took.noticeable)

    def lacked(self, error: OSError) -> None:
        """The connection has ended for want of something on this machine."""
        failure = self.dial.failure = ConnectFailed.from_error(error)
        self.pool.shortage.note(failure.cause, failure.remedy)

    def answered(self) -> None:
        """The backend has answered: a reset does not count against it from now on."""
        if self.slot is not None:
            self.slot.answered()

    def again(self, cause: str) -> None:
        """The backend was lost before it had answered: try another.

        :param cause: how, in a word.
        """
        self.reset_unanswered(cause)
        self.connect_time = None
        self._drop_slot()
        self.go_on()

    def reset_unanswered(self, cause: str) -> None:
        """The backend was lost before it had answered, and no other is tried.

        :param cause: how, in a word.
        """
        self.dial.failure = ConnectFailed(cause)
        if self.slot is not None:
            self.slot.backend.stats.resets_before_answer += 1
        self._note_failure(cause)
        self._count_failure(cause)

    def end(self) -> None:
        """Give up what is under way, give back the slot, and forget the caller; calling it again does
        nothing."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
            self._note_failure(GIVEN_UP)
        if self._holds_budget:
            self.dial.retrying = False
            self._adjust_budget(failed=True)
        self._drop_slot()
        self.dial.settle()
        self._caller = None

    def _note_failure(self, cause: str) -> None:
        """Note how the attempt under way has ended, where there is one."""
        if self.slot is not None:
            self.failures = (*self.failures, (self.slot.backend.name, cause))

    def _count_failure(self, cause: str) -> None:
        if self.slot is not None:
            self.slot.failed(self._clock() - self.began, cause)

    def _drop_slot(self) -> None:
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.release()
