"""One client's connection from accept to record: the one place where it is decided that it ends, and why.

What follows from what in which phase is written down in ``phases``. ``_dialler`` and ``_deadlines`` exist
once the pool is known, which is in no session that ends in ``PREREAD``.
``_reason`` is set once the end has been decided; ``_finish`` runs once, when both transports are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.net.addresses import ClientAddress
from tcpbalance.net.errnos import is_our_own
from tcpbalance.net.tls.errors import broken_cause, tls_cause, was_unheard
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.delivery import Delivery
from tcpbalance.proxy.dialler import Dialler
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.facts import QUEUED, STATES, SessionFacts
from tcpbalance.proxy.outgoing_proxy_header import OutgoingProxyHeader, outgoing_proxy_header
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.phases import (
    ABORT,
    AT_ONCE,
    AWAIT_BACKEND,
    BACKEND_CLOSED,
    BACKEND_ERROR,
    BACKEND_FINISHED,
    BACKEND_RESET,
    CLIENT_CLOSED,
    CLIENT_ERROR,
    CLIENT_FINISHED,
    CLIENT_RESET,
    DELIVER,
    DELIVER_AND_RESET,
    DIALLING,
    END,
    ENDED,
    ENDED_AT_ONCE,
    ENDING,
    FAILED,
    FIN,
    IGNORE,
    OVER,
    PASS_ON,
    PASS_ON_BEFORE_RESET,
    PREREAD,
    RELAYING,
    TABLE,
    TRY_ANOTHER,
    UNANSWERED,
    Event,
    Phase,
    closing,
)
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.registry import BytesCarrier
from tcpbalance.proxy.relay import carry, join, part
from tcpbalance.proxy.replay_buffer import ReplayBuffer

_JOINED = (UNANSWERED, RELAYING)


class Session:
    """Owns both sides of one connection and everything taken for it.

    :param context: of the frontend that it belongs to.
    :param address: where it connects from.
    :param admitted: the address that was admitted; None without admission control, and before its decision.
    :ivar admitted: the same.
    :ivar client: the client's side, from ``start`` on.
    :ivar backend: the backend's side, None while there is none.
    :ivar aged_at: when it is too old, by the frontend's clock.
    :ivar active: when the last event came, by the wheel's clock.
    :ivar dry_run_limits: limits that would have acted on it, were they enforced.
    """

    _log = Logger()

    __slots__ = (
        "_born",
        "_cause",
        "_context",
        "_deadlines",
        "_delivery",
        "_dialler",
        "_direct",
        "_failed_side",
        "_first_end",
        "_outgoing_header",
        "_peer",
        "_phase",
        "_pool",
        "_preread",
        "_reason",
        "_replay",
        "_served_by",
        "_started",
        "_wheel",
        "active",
        "admitted",
        "aged_at",
        "backend",
        "client",
        "dry_run_limits",
    )

    client: Peer
    dialler_kind: type[Dialler] = Dialler

    def __init__(
        self, context: SessionContext, address: ClientAddress, admitted: ClientAddress | None
    ) -> None:
        self._context = context
        self._wheel = context.wheel
        self._peer = address
        self.admitted = admitted
        self.dry_run_limits: tuple[DryRunLimit, ...] = ()
        self._phase: Phase = PREREAD
        self._pool: Pool | None = None
        self._first_end: EndReason | None = None
        self._reason: EndReason | None = None
        self._served_by: Backend | None = None
        self._outgoing_header: OutgoingProxyHeader | None = None
        self._born = self.active = context.clock()
        self.aged_at = self._born + context.age_limit()
        self._started = context.wall_clock()
        self._complete()

    def _complete(self) -> None:
        """Begin with what a session that is bare has no need of."""
        self.backend: Peer | None = None
        self._cause = ""
        self._preread: Preread | None = None
        self._replay: ReplayBuffer | None = None
        self._failed_side: Peer | None = None
        self._delivery: Delivery | None = None
        self._direct = False

    @property
    def served_by(self) -> Backend | None:
        """The backend that this session is connected to, None while it is not."""
        return self._served_by if self.backend is not None else None

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        return self._reason is not None

    @property
    def over(self) -> bool:
        """Whether it has been recorded."""
        return self._phase is OVER

    @property
    def dials(self) -> bool:
        """Whether it tries to reach a backend: not while it waits for one in the queue."""
        return self._phase is DIALLING and not self._dialler.queued

    @property
    def half_closed(self) -> bool:
        """Whether one side has finished sending."""
        return self._first_end is not None

    @property
    def quiet_since(self) -> float:
        """When the last byte came, by the wheel's clock, which may be one turn old."""
        if self.backend is None:
            return self.active
        return max(self.active, self.client.active, self.backend.active)

    def can_move(self, idle_for: float) -> bool:
        """See ``registry.OpenSession``."""
        backend = self.backend
        return (
            backend is not None
            and self._phase in _JOINED
            and self._first_end is None
            and (backend.received > 0 or not self.client.received)
            and self._wheel.now - self.quiet_since >= idle_for + RESOLUTION
            and self._dialler.slot is not None
            and not self._dialler.slot.is_bound
            and not self.buffered
            and not self.client.has_input()
            and not backend.has_input()
        )

    @property
    def started(self) -> float:
        """When the client was accepted, seconds since the epoch."""
        return self._started

    @property
    def carried(self) -> tuple[int, int]:
        """See ``registry.OpenSession``."""
        if self._pool is None:
            return 0, 0
        return self.client.received, 0 if self.backend is None else self.backend.received

    @property
    def carrier(self) -> BytesCarrier:
        """See ``registry.OpenSession``."""
        return self

    def facts(self) -> SessionFacts:
        """See ``registry.OpenSession``."""
        context, preread, served_by, backend = self._context, self._preread, self.served_by, self.backend
        now, queued = context.clock(), self._phase is DIALLING and self._dialler.queued
        return SessionFacts(
            self._started,
            self._peer if preread is None else preread.client,
            None if preread is None else preread.proxy,
            context.name,
            None if self._pool is None else self._pool.name,
            None if served_by is None else served_by.name,
            QUEUED if queued else STATES[self._phase],
            now - self._born,
            # The wheel's clock may be behind: no session is idle for longer than it is there.
            now - max(self.quiet_since, self._born),
            self.client.received,
            0 if backend is None else backend.received,
            None if preread is None else preread.server_name,
            None if preread is None else preread.tls,
        )

    def can_return(self) -> bool:
        """See ``registry.OpenSession``."""
        return self._context.registry.accept_pause.accepts_at(self._host)

    @property
    def _host(self) -> IAddress:
        """The address that the client has connected to."""
        host: IAddress = self.client.transport.getHost()
        return host

    @property
    def buffered(self) -> int:
        """Bytes that are held for either side."""
        held = self._replay.size if self._replay is not None else 0
        if self._preread is not None:
            held += len(self._preread.kept)
        behind = self.backend.in_flight() if self.backend is not None else 0
        return held + self.client.in_flight() + behind

    @property
    def cause(self) -> str:
        """What was wrong with what the client sent first, or with the TLS of the side that was reset, or why
        the last attempt that failed did so; empty otherwise."""
        if self._cause or self._pool is None:
            return self._cause
        failure = self._dialler.dial.failure
        return "" if failure is None else failure.cause

    def start(self, client: Peer) -> None:
        """Begin, with the client connected: with the preread, or with the dial.

        :param client: its side.
        """
        self.client = client
        context = self._context
        settings = context.preread
        try:
            if settings is not None and settings.asks(self._peer):
                self._preread = Preread(self, context, settings, self._peer)
                self._preread.start()
            else:
                assert context.pool is not None, "where there are only routes, every client has a preread"
                self._start_dial(context.pool, self._peer)
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """End because an exception of our own is being handled."""
        self._log.failure("frontend {name}: a session could not go on", name=self._context.name)
        self.end(EndReason.INTERNAL_ERROR)

    # Before a backend is chosen

    def tls_established(self) -> None:
        """The TLS handshake of the client is over; that of a foreign endpoint means nothing here."""
        if self._phase is PREREAD and self._preread is not None:
            self._preread.tls_established()

    def client_known(self) -> None:
        """See ``preread.PrereadSession``: the pool is that of the route, or of the frontend without one."""
        preread = self._preread
        assert preread is not None
        pool = self._context.pool_for(preread.server_name)
        if pool is None:
            self.end(EndReason.NO_ROUTE)
            return
        self.active = self._context.clock()
        preread.stop()
        try:
            self._start_dial(pool, preread.client)
        except Exception:
            self._fail()

    def hand_over(self, received: bytes, unused: int) -> None:
        """See ``preread.PrereadSession``: here, this session has not been."""
        preread = self._preread
        assert preread is not None
        self._phase = OVER
        self._context.registry.forget(self)
        preread.hand_over_client(self._born, received, unused)
        del self.client.session

    def backdate(self, seconds: float) -> None:
        """Take into account that the client was accepted some seconds ago, by another process."""
        self._born -= seconds
        self._started -= seconds
        self.aged_at -= seconds
        if self._preread is not None:
            self._preread.backdate(seconds)

    def turn_away(self, reason: EndReason, cause: str) -> None:
        """See ``preread.PrereadSession``."""
        self._cause = cause
        self.end(reason)

    # Reaching a backend

    def _start_dial(self, pool: Pool, client: ClientAddress) -> None:
        context, preread = self._context, self._preread
        self._dialler = dialler = self.dialler_kind(
            pool, context.connector, client.packed, context.clock, self
        )
        self._deadlines = Deadlines(self, context, self.active + pool.dial_timeout)
        self._pool = pool
        self._phase = DIALLING
        self._deadlines.start()
        rate = context.limits.bandwidth_per_connection
        if rate is not None:
            self._limit_bandwidth(self.client, rate)
        if preread is not None and preread.kept:
            early = bytes(preread.kept)
            preread.kept.clear()
            self.client_sent(early)
        dialler.go_on()

    def attempt_begins(self) -> None:
        """See ``dialler.Caller``.

        The PROXY header goes out before a TLS handshake, or else with the first bytes; which it is to be, and
        whether there is one, may have changed while this session has waited or tried another backend.
        """
        dialler, outgoing = self._dialler, self._outgoing_header
        pool = dialler.pool
        if pool.send_proxy_protocol is None:
            outgoing = None
        elif (outgoing is None or not outgoing.is_for(pool)) and not self.client.gone:
            transport = self.client.transport
            outgoing = outgoing_proxy_header(pool, transport.getPeer(), transport.getHost(), self._preread)
        self._outgoing_header = outgoing
        dialler.preamble = b"" if outgoing is None or pool.tls is None else outgoing.header

    def backend_connected(self, side: Peer) -> None:
        """A backend has accepted: give it what the client has sent so far, and join the two.

        :param side: the backend's.
        """
        client, dialler, outgoing = self.client, self._dialler, self._outgoing_header
        self.backend = side
        self._phase = UNANSWERED
        self.active = self._wheel.now
        self._served_by = dialler.slot.backend if dialler.slot is not None else None
        if dialler.pool.judges_connect_times:
            dialler.judge(side.transport)
        rate = self._context.limits.bandwidth_per_connection
        if rate is not None:
            self._limit_bandwidth(side, rate)
        self._deadlines.connected()
        if not client.gone:
            client.resumeProducing()
            join(client, side)
        early: Sequence[bytes] = self._replay.chunks if self._replay is not None else ()
        if not dialler.pool.replays:
            self._stop_replay_buffering()
        if outgoing is not None and not dialler.preamble:
            early = (outgoing.header, *early)
        if early:
            side.transport.writeSequence(early)
        if client.finished:
            self._pass_on_end(client, side)

    def queued(self) -> None:
        """See ``dialler.Caller``."""
        if self.client.finished:
            self._await_backend()

    def left_queue(self, waited: float) -> None:
        """See ``dialler.Caller``."""
        self._deadlines.allow(waited)

    def dial_timed_out(self) -> None:
        """No backend has accepted within ``dial_timeout``, or soon after the client has finished."""
        self.end(EndReason.CLIENT_CLOSED if self._has_asked_for_nothing else EndReason.DIAL_TIMEOUT)

    @property
    def _has_asked_for_nothing(self) -> bool:
        """Whether the client has finished without a byte, as port scans and checks do."""
        return self.client.finished and self._replay is None

    def _await_backend(self) -> None:
        """The client has finished, or has closed whole, and no backend is there: see whether to go on."""
        nothing, gone = self._replay is None, self.client.gone
        if self._dialler.queued:
            # A place in the queue is for a client that can still be answered.
            if nothing or gone:
                self.end(EndReason.CLIENT_CLOSED)
        elif nothing and gone:
            self.end(EndReason.CLIENT_CLOSED)
        elif nothing:
            # It may have closed, or it only reads: the two look the same.
            self._deadlines.end_dial_soon()

    def _try_another(self, cause: str) -> None:
        """The backend was lost before its first byte, and all that the client has sent is still here.

        The backend may have processed it. ``retry_on`` says that another one may process it again.
        """
        client = self.client
        self.backend = None
        self._phase = DIALLING
        part(client)
        if self._replay is not None and self._replay.size >= self._replay.limit:
            client.pauseProducing()
        else:
            client.resumeProducing()
        self._deadlines.allow(self._dialler.connected_for)
        if self._has_asked_for_nothing:
            self._deadlines.end_dial_soon()
        self._dialler.again(cause)

    # Bytes

    def client_sent(self, data: bytes) -> None:
        """Bytes came from the client."""
        if self._phase is not RELAYING and not self._is_for_backend(data):
            return
        self.active = self._wheel.now
        client, backend = self.client, self.backend
        client.reported += len(data)
        if client.limiter is not None:
            client.limiter.read(len(data))
        if backend is not None:
            if not self._direct and (backend.reported or client.reported > ReplayBuffer.limit):
                self._start_direct_relay()
            backend.send(data, client)

    def _is_for_backend(self, data: bytes) -> bool:
        """Hear what comes before a backend is chosen, and keep what comes before one has answered."""
        if self._phase is PREREAD:
            assert self._preread is not None
            self._preread.feed(data)
            return False
        if self._phase is DIALLING or self._phase is UNANSWERED:
            self._keep(data)
        return True

    def backend_sent(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self.active = self._wheel.now
        if self._phase is UNANSWERED:
            self._stop_replay_buffering()
        backend = self.backend
        if backend is not None:
            if not backend.reported:
                self._dialler.answered()
            elif not self._direct:
                self._start_direct_relay()
            backend.reported += len(data)
            if backend.limiter is not None:
                backend.limiter.read(len(data))
            self.client.send(data, backend)

    def _keep(self, data: bytes) -> None:
        """Keep bytes of the client for a backend to come, up to the limit."""
        replay = self._replay
        if replay is None:
            self._replay = replay = ReplayBuffer(data)
        elif replay.size >= replay.limit and self._phase is UNANSWERED:
            # All or nothing: another backend could not be given these bytes.
            self._stop_replay_buffering()
            return
        else:
            replay.add(data)
        if replay.size >= replay.limit and self._phase is DIALLING:
            self.client.pauseProducing()

    def _stop_replay_buffering(self) -> None:
        """No other backend will be tried: what the client has sent need not be kept any longer."""
        self._phase = RELAYING
        self._replay = None
        self._dialler.dial.settle()

    def _start_direct_relay(self) -> None:
        """Let the transports relay bytes without this session, where they can and no limiter counts them.

        This is for more than one message in each direction, or a long upload: many sessions end after one
        message, and the change would cost more than it saves.
        """
        client, backend = self.client, self.backend
        if self._phase is UNANSWERED or backend is None or client.gone or client.limiter is not None:
            return
        self._direct = True
        carry(client, backend, self._wheel)

    def _limit_bandwidth(self, side: Peer, rate: int) -> None:
        """Keep what comes from a side within *rate*, in bytes a second."""
        context = self._context
        if context.dry_run is None:
            side.limiter = BandwidthLimiter(side, rate, context.connector.wheel, context.clock)
        elif DryRunLimit.BANDWIDTH not in self.dry_run_limits:
            side.limiter = DryRunBandwidthLimiter(rate, context.clock, self._would_hold)

    def _would_hold(self) -> None:
        """A dry run of the bandwidth limit: count the session once, and limit it no more."""
        assert self._context.dry_run is not None
        self._context.dry_run.would_limit(self, DryRunLimit.BANDWIDTH)
        self.client.release_limiter()
        if self.backend is not None:
            self.backend.release_limiter()

    # Ends of a side

    def finished(self, side: Peer) -> None:
        """The peer at *side* has finished sending."""
        of_client = side is self.client
        action = TABLE[self._phase, CLIENT_FINISHED if of_client else BACKEND_FINISHED]
        other = self.backend if of_client else self.client
        if action is PASS_ON_BEFORE_RESET:
            side.finished = side.finished or side is self._failed_side
            if side is self._failed_side and other is not None and other.can_half_close:
                other.finish_writing()
            return
        if side.finished:
            return
        side.finished = True
        self._note_end(of_client)
        self.active = self._wheel.now
        if action is PASS_ON and other is not None:
            if self._phase is UNANSWERED and not of_client:
                self._stop_replay_buffering()  # An end is an answer, too.
            self._pass_on_end(side, other)
        elif action is AWAIT_BACKEND:
            self._await_backend()
        elif action is END:
            self.end(EndReason.CLIENT_CLOSED)
        else:
            raise AssertionError(f"{self._phase}: {action} when a peer has finished")

    def _pass_on_end(self, side: Peer, other: Peer) -> None:
        """The peer at *side* has finished: pass that on to *other*, or close both if both have finished."""
        all_is_said = other.finished and side.drained and other.drained
        # Where the client has closed whole, no answer can be given.
        if all_is_said or side.gone or not other.can_half_close:
            self.end(self._closed_reason())
        else:
            other.finish_writing()

    def write_closed(self, side: Peer) -> None:
        """Our write side of *side* is closed, and all bytes for its peer are out."""
        side.write_closed = True
        if self.client.write_closed and self.backend is not None and self.backend.write_closed:
            self.end(self._closed_reason())

    def _note_end(self, of_client: bool) -> None:
        if self._first_end is None:
            self._first_end = EndReason.CLIENT_CLOSED if of_client else EndReason.BACKEND_CLOSED

    def _closed_reason(self) -> EndReason:
        """An end in order is that of the side that has finished first."""
        return self._first_end or EndReason.BACKEND_CLOSED

    def connection_error(self, side: Peer) -> None:
        """The connection of *side* has failed, and not all that its peer sent before is read yet."""
        of_client = side is self.client
        action = TABLE[self._phase, CLIENT_ERROR if of_client else BACKEND_ERROR]
        reason = EndReason.CLIENT_RESET if of_client else EndReason.BACKEND_RESET
        other = self.backend if of_client else self.client
        if action is DELIVER and other is not None:
            # The sides are closed when all is passed on, or none of it gets on for half_close_timeout.
            self._decide(reason)
            self._failed_side = side
            other.read_no_more()
        elif action is END:
            self.end(reason)
        elif action is not IGNORE:
            raise AssertionError(f"{self._phase}: {action} when a connection has failed")

    def lost(self, side: Peer, failure: Failure) -> None:
        """The transport at *side* is gone."""
        side.gone = True
        if self._reason is not None:
            self._lost_while_ending(side, failure)
            return
        of_client, error = side is self.client, failure.value
        if isinstance(error, ConnectionDone):
            event = CLIENT_CLOSED if of_client else BACKEND_CLOSED
        elif isinstance(error, BROKEN_OFF):
            event = CLIENT_RESET if of_client else BACKEND_RESET
        else:
            event = FAILED
        action = TABLE[self._phase, event]
        if action is AWAIT_BACKEND:
            self._note_end(of_client)
            side.finished = True
            self._await_backend()
        elif action is TRY_ANOTHER and not was_unheard(failure):
            self._try_another(broken_cause(failure))
        elif action is not END and action is not TRY_ANOTHER:
            raise AssertionError(f"{self._phase}: {action} when a connection is gone")
        elif self._phase is PREREAD:
            assert self._preread is not None
            self.turn_away(*self._preread.reason_of(failure))
        else:
            self._end_with_loss(side, event, failure)

    def _lost_while_ending(self, side: Peer, failure: Failure) -> None:
        if self._failed_side is not None:
            # All that came before the reset is passed on, or the other side is gone. Twisted's TLS may
            # have come to a close_notify there, which is an end in order.
            ended = side is self._failed_side and isinstance(failure.value, ConnectionDone)
            side.finished = side.finished or ended
            self._failed_side = None
            assert self._reason is not None
            self._close(self._reason, ended, False)
        self._finish_when_gone()

    def _end_with_loss(self, side: Peer, event: Event, failure: Failure) -> None:
        """A connection is gone, and the session with it: find out why."""
        error = failure.value
        if event is CLIENT_CLOSED or event is BACKEND_CLOSED:
            self._note_end(event is CLIENT_CLOSED)
            side.finished = True
            self.end(self._closed_reason())
        elif event is FAILED:
            if isinstance(error, OSError) and is_our_own(error.errno or 0):
                self._dialler.lacked(error)
                self.end(EndReason.LOCAL_FAILURE)
            else:
                self.end(EndReason.INTERNAL_ERROR)
        elif self._both_finished and not side.cut_short:
            # Both have got everything: a unix socket whose peer has closed fails from then on.
            self.write_closed(side)
        elif event is CLIENT_RESET:
            self.turn_away(EndReason.CLIENT_RESET, tls_cause(failure))
        else:
            if not side.received and not was_unheard(failure):
                self._dialler.reset_unanswered(broken_cause(failure))
            self.turn_away(EndReason.BACKEND_RESET, tls_cause(failure))

    @property
    def _both_finished(self) -> bool:
        return self.client.finished and self.backend is not None and self.backend.finished

    # Ends of the session

    def end(self, reason: EndReason) -> None:
        """Decide the end; a session that is ending already keeps its reason.

        What is buffered still goes out if the reason is an orderly one, or a peer was reset: as long as some
        of it gets out within ``half_close_timeout``, and no reason of ``AT_ONCE`` comes.
        """
        action = TABLE[self._phase, ENDED_AT_ONCE if reason in AT_ONCE else ENDED]
        if action is END:
            self._decide(reason)
            if self.backend is None and self._pool is not None:
                self._dialler.end()
            self._close(reason, reason.orderly, False)
            if self._phase is ENDING and self.client.gone:
                self._finish_when_gone()
        elif action is ABORT:
            self.abort()

    def _decide(self, reason: EndReason) -> None:
        self._reason = reason
        self._phase = ENDING
        self._replay = None
        self.active = self._wheel.now

    def abort(self) -> None:
        """Close both sides at once: the end is decided, and what is buffered is not waited for any more."""
        assert self._reason is not None
        self._close(self._reason, False, True)

    def _close(self, reason: EndReason, orderly: bool, at_once: bool) -> None:
        """Close both sides, each as ``phases.closing`` says."""
        client, backend = self.client, self.backend
        how = closing(reason, client, backend, orderly, at_once)
        if how is DELIVER_AND_RESET:
            self._deliver_and_reset(client)
        else:
            client.close(how is FIN)
        if backend is None:
            return
        how = closing(reason, backend, client, orderly, at_once)
        if how is DELIVER_AND_RESET:
            self._deliver_and_reset(backend)
        else:
            backend.close(how is FIN)

    def _deliver_and_reset(self, side: Peer) -> None:
        if self._delivery is None:
            side.read_no_more()
            self._delivery = Delivery(side, self._context.connector.wheel)

    def _finish_when_gone(self) -> None:
        backend = self.backend
        if self.client.gone and (backend is None or backend.gone) and self._phase is ENDING:
            self._finish()

    def _finish(self) -> None:
        """Give back everything taken and record the session; runs once."""
        client, backend = self.client, self.backend
        if self._pool is None:
            if self._preread is not None:
                client.reported = len(self._preread.kept)
                self._preread.stop()
        else:
            self._deadlines.stop()
            if self._delivery is not None:
                self._delivery.stop()
            if backend is not None and not backend.reported and backend.received:
                self._dialler.answered()  # with bytes that passed us by
            self._dialler.end()
            del self._deadlines  # No reference cycle is left behind for the garbage collector to find.
        self._leave(client.received, 0 if backend is None else backend.received)
        del client.session
        if backend is not None:
            del backend.session

    def _leave(self, client_bytes: int, backend_bytes: int) -> None:
        """The session is over: give back its admission and have it recorded."""
        self._phase = OVER
        context, reason, upstream = self._context, self._reason, self._served_by or self._pool
        assert reason is not None
        if self.admitted is not None and context.admission is not None:
            context.admission.release(self.admitted)
        stats = None if upstream is None else upstream.stats
        lasted = context.clock() - self._born
        context.registry.remove(self, reason, stats, client_bytes, backend_bytes, lasted)

    def record(self, client_bytes: int, backend_bytes: int) -> SessionRecord:
        """See ``registry.OpenSession``."""
        assert self._reason is not None
        now, preread = self._context.clock(), self._preread
        attempts, began, cause = 0, now, self._cause
        connect: float | None = None
        failures: Sequence[tuple[str, str]] = ()
        if self._pool is not None:
            dialler, dial = self._dialler, self._dialler.dial
            attempts, connect, failures = dial.attempts, dialler.connect_time, dialler.failures
            began = now if connect is None else dialler.began
            if not cause and dial.failure is not None:
                cause = dial.failure.cause
        return SessionRecord(
            started=self._started,
            client=str(self._peer if preread is None else preread.client),
            frontend=self._context.name,
            backend=self._served_by.name if self._served_by is not None else None,
            attempts=attempts,
            wait=began - self._born,
            connect=connect,
            total=now - self._born,
            client_bytes=client_bytes,
            backend_bytes=backend_bytes,
            reason=self._reason,
            cause=cause,
            proxy=str(preread.proxy) if preread is not None and preread.proxy is not None else None,
            server_name=preread.server_name if preread is not None else None,
            unique_id=self._outgoing_header.unique_id if self._outgoing_header is not None else None,
            tls=preread.tls if preread is not None else None,
            failures=failures,
        )
