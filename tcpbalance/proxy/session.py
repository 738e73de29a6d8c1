"""One client's connection from accept to account: the one place where it is decided that it ends, and why.

A session has two phases, told apart by what it holds: a dial under way (``backend`` is None, and ``_kept``
holds what the client has sent meanwhile), and the relay (``_kept`` is None). Where the pool retries on a
reset before the answer, there is one between them: the backend has said nothing yet, and ``_kept`` still
holds what the client has sent, so that another backend can be given all of it. ``_reason`` is set once the
end has been decided; ``_finish`` runs once, when both transports are gone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.errors import Fault
from tcpbalance.net.addresses import packed_host, shown
from tcpbalance.net.errnos import is_our_own
from tcpbalance.net.tls.errors import broken_cause, tls_cause, was_unheard
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.backend import BackendConnection
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.client_info import ClientInfo
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.delivery import Delivery
from tcpbalance.proxy.dial import Dial
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.outgoing_proxy_header import OutgoingProxyHeader, outgoing_proxy_header
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.relay import carry, join, part

KEEP_LIMIT = 64 * 1024
"""Bytes of the client's that are kept for a backend. While none is connected, the client is read no further.
Where the pool retries on a reset before the answer, a client that has sent more is not retried for."""

_BROKEN_OFF = (EndReason.CLIENT_RESET, EndReason.BACKEND_RESET)

_AT_ONCE = (
    EndReason.MAX_CONNECTION_AGE,
    EndReason.OVERLOAD,
    EndReason.SHUTDOWN,
    EndReason.INTERNAL_ERROR,
)
"""What does not wait for the last bytes of a session whose end is decided."""


class Session:
    """Owns both sides of one connection and everything taken for it.

    :param context: of the frontend that it belongs to.
    :param client: the client's side, connected.
    :param pool: where a backend is chosen.
    :param introduction: who the client is, where it had to say so; None where its address says all.
    """

    __slots__ = (
        "_born",
        "_breaking",
        "_context",
        "_deadlines",
        "_delivery",
        "_dial",
        "_finished",
        "_first_finished",
        "_introduction",
        "_kept",
        "_kept_size",
        "_outgoing_header",
        "_reason",
        "_served_by",
        "_started",
        "_tls_cause",
        "_wheel",
        "backend",
        "client",
    )

    def __init__(
        self,
        context: SessionContext,
        client: ClientConnection,
        pool: Pool,
        introduction: ClientInfo | None = None,
    ) -> None:
        self._context = context
        self._wheel = context.wheel
        self.client = client
        self.backend: Peer | None = None
        self._kept: list[bytes] | None = []
        self._kept_size = 0
        self._first_finished: Peer | None = None
        self._finished = False
        self._reason: EndReason | None = None
        self._breaking: Peer | None = None
        self._delivery: Delivery | None = None
        self._served_by: Backend | None = None
        self._tls_cause = ""
        self._outgoing_header: OutgoingProxyHeader | None = None
        self._introduction = introduction
        now = context.clock()
        if introduction is None:
            self._born, self._started = now, context.wall_clock()
        else:
            self._born, self._started = introduction.born, introduction.started
        self._deadlines = Deadlines(self, context, now, self._born, pool.dial_timeout)
        address = packed_host(self._client_address)
        self._dial = Dial(pool, context.connector, address, context.clock, self)

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
        """Whether it has been accounted for."""
        return self._finished

    @property
    def dials(self) -> bool:
        """Whether it tries to reach a backend: not while it waits for one in the queue."""
        return self.backend is None and self._reason is None and not self._dial.waits

    @property
    def half_closed(self) -> bool:
        """Whether one side has finished sending."""
        return self._first_finished is not None

    @property
    def buffered(self) -> int:
        """Bytes that are held for either side."""
        kept = self._kept_size if self._kept is not None else 0
        behind = self.backend.in_flight() if self.backend is not None else 0
        return kept + self.client.in_flight() + behind

    @property
    def _client_address(self) -> Any:
        return self._introduction.client if self._introduction else self.client.transport.getPeer()

    @property
    def cause(self) -> str:
        """What was wrong with the TLS of the side that broke off, or why the last dial that failed did so;
        empty when nothing was and none did."""
        return self._tls_cause or (self._dial.failure.cause if self._dial.failure else "")

    def start(self) -> None:
        """Begin, with the client connected."""
        self._deadlines.start()
        self._apply_rate_limit(self.client)
        self._announce(outgoing_proxy_header(self._dial.pool, self.client.transport, self._introduction))
        if self._introduction is not None:
            self._replay(self._introduction.said.kept)
        self._dial.next()

    def _announce(self, made: OutgoingProxyHeader | None) -> None:
        """Tell backends whom the connection is for: before a handshake, or else with the first bytes."""
        self._outgoing_header = made
        if made is not None and self._dial.pool.tls is not None:
            self._dial.preamble = made.header

    def _replay(self, kept: bytearray) -> None:
        """Take what the client has sent for the backend while it was being heard."""
        if kept:
            self.client_sent(bytes(kept))
            kept.clear()

    def secured(self) -> None:
        """The client speaks TLS by an endpoint of somebody else's; all that comes is told in any case."""

    # Bytes

    def client_sent(self, data: bytes) -> None:
        """Bytes came from the client."""
        self._deadlines.active = self._wheel.now
        client, backend = self.client, self.backend
        client.told += len(data)
        if client.limiter is not None:
            client.limiter.read(len(data))
        if self._kept is not None:
            self._keep(data)
        if backend is not None:
            if self._kept is None and (backend.told or client.told > KEEP_LIMIT):
                self._start_direct_relay()
            backend.send(data, client)

    def backend_sent(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self._deadlines.active = self._wheel.now
        if self._kept is not None:
            self._settle()
        backend = self.backend
        if backend is not None:
            if backend.told:
                self._start_direct_relay()
            else:
                self._dial.answered()
            backend.told += len(data)
            if backend.limiter is not None:
                backend.limiter.read(len(data))
            self.client.send(data, backend)

    def _keep(self, data: bytes) -> None:
        if self.backend is not None and self._kept_size >= KEEP_LIMIT:
            self._settle()
            return
        assert self._kept is not None
        self._kept.append(data)
        self._kept_size += len(data)
        if self.backend is None and self._kept_size >= KEEP_LIMIT:
            self.client.pauseProducing()

    def _settle(self) -> None:
        """No other backend will be tried: what the client has sent need not be kept any longer."""
        self._kept = None
        self._dial.settle()

    def _start_direct_relay(self) -> None:
        """Let the bytes pass without us, where they can and nobody has to count them: there are more than one
        message each way, or a long upload. (Many sessions end after one, and are not worth the change.)"""
        client = self.client
        if (
            client.direction is None
            and client.limiter is None
            and not client.gone
            and self.backend is not None
        ):
            carry(client, self.backend, self._wheel)

    def _apply_rate_limit(self, side: Peer) -> None:
        """Keep what comes from a side within the bandwidth of a connection."""
        context = self._context
        rate = context.limits.bandwidth_per_connection
        if rate is None:
            return
        if context.dry_run is None:
            side.limiter = BandwidthLimiter(side, rate, context.connector.wheel, context.clock)
        elif DryRunLimit.BANDWIDTH not in self.client.dry_run_limits:
            side.limiter = DryRunBandwidthLimiter(rate, context.clock, self._would_hold)

    def _would_hold(self) -> None:
        """The bandwidth is only tried: this session would have been held back, and is free from now on."""
        assert self._context.dry_run is not None
        self._context.dry_run.would_limit(self.client, DryRunLimit.BANDWIDTH)
        self.client.release_limiter()
        if self.backend is not None:
            self.backend.release_limiter()

    def _read_client_while_there_is_room(self) -> None:
        if self._kept_size < KEEP_LIMIT:
            self.client.resumeProducing()
        else:
            self.client.pauseProducing()

    # Reaching a backend

    def make_backend_protocol(self) -> BackendConnection:
        """See ``dial.Caller``."""
        return BackendConnection(self)

    def backend_connected(self, side: Peer) -> None:
        """A backend has accepted: give it what the client has sent so far, and join the two.

        :param side: the backend's.
        """
        self.backend = side
        self._deadlines.active = self._wheel.now
        self._served_by = self._dial.slot.backend if self._dial.slot else None
        if self._dial.pool.judges_connect_times:
            self._dial.judge(side.transport)
        self._apply_rate_limit(side)
        self._deadlines.connected()
        if not self.client.gone:
            self.client.resumeProducing()
            join(self.client, side)
        kept = self._kept or ()
        if not self._dial.pool.replays:
            self._settle()
        if self._outgoing_header is not None and not self._dial.preamble:
            kept = (self._outgoing_header.header, *kept)
        side.transport.writeSequence(kept)
        if self.client.gone:
            self.end(EndReason.CLIENT_CLOSED)
        elif self.client.finished:
            self._carry_finish(side)

    def waits(self) -> None:
        """See ``dial.Caller``: a client that is gone, or has finished without a byte, does not wait."""
        if self.client.gone or self._has_asked_for_nothing:
            self.end(EndReason.CLIENT_CLOSED)

    def goes_on(self, waited: float) -> None:
        """See ``dial.Caller``."""
        self._deadlines.allow(waited)

    def broke_down(self) -> None:
        """See ``dial.Caller``."""
        self.end(EndReason.INTERNAL_ERROR)

    def no_backend_left(self) -> None:
        """See ``dial.Caller``."""
        failure = self._dial.failure
        if self._dial.turned_away is not None:
            self.end(self._dial.turned_away)
        elif failure is None:
            self.end(EndReason.NO_BACKEND)
        elif failure.out_of_descriptors:
            self.end(EndReason.OUT_OF_DESCRIPTORS)
        elif failure.fault is Fault.BALANCER:
            self.end(EndReason.LOCAL_FAILURE)
        elif self._served_by is not None:
            self.end(EndReason.BACKEND_RESET)
        else:
            self.end(EndReason.CONNECT_FAILED)

    def dial_timed_out(self) -> None:
        """No backend has accepted within ``dial_timeout``, or soon after the client has finished."""
        self.end(EndReason.CLIENT_CLOSED if self._has_asked_for_nothing else EndReason.DIAL_TIMEOUT)

    @property
    def _has_asked_for_nothing(self) -> bool:
        """Whether the client has finished without a byte, as port scans and checks do."""
        return self.client.finished and not self._kept

    def _try_another(self, cause: str) -> None:
        """The backend broke off before its first byte, and all that the client has sent is still here.

        The backend may have worked on it; that this does not matter is what the operator says with
        ``reset_before_answer``.
        """
        self.backend = None
        part(self.client)
        self._read_client_while_there_is_room()
        self._deadlines.allow(self._dial.connected_for)
        if self._has_asked_for_nothing:
            self._deadlines.end_dial_soon()
        self._dial.again(cause)

    # Ends of a side

    def finished(self, side: Peer) -> None:
        """The peer at *side* has finished sending."""
        if side is self._breaking:
            self._finished_before_it_broke_off(side)
        if side.finished or self._reason is not None:
            return
        side.finished = True
        self._first_finished = self._first_finished or side
        self._deadlines.active = self._wheel.now
        other = self.backend if side is self.client else self.client
        if side is self.backend and self._kept is not None:
            self._settle()
        if other is not None:
            self._carry_finish(other)
        elif self._dial.waits:
            self.waits()
        elif self._has_asked_for_nothing:
            self._deadlines.end_dial_soon()

    def _finished_before_it_broke_off(self, side: Peer) -> None:
        """The peer's end came in order, and its reset after that: both are passed on."""
        side.finished = True
        other = self.backend if side is self.client else self.client
        if other is not None and other.can_half_close:
            other.finish_writing()

    def _carry_finish(self, other: Peer) -> None:
        if self._all_is_said() or not other.can_half_close:
            self.end(self._closed_reason())
        else:
            other.finish_writing()

    def _all_is_said(self) -> bool:
        """Whether both have finished and nothing waits here: then closing says it all."""
        client, backend = self.client, self.backend
        return (
            client.finished
            and backend is not None
            and backend.finished
            and client.drained
            and backend.drained
        )

    def write_closed(self, side: Peer) -> None:
        """All bytes for the peer at *side* are out, and it has been told that no more will come."""
        side.write_closed = True
        if self.client.write_closed and self.backend is not None and self.backend.write_closed:
            self.end(self._closed_reason())

    def _closed_reason(self) -> EndReason:
        if self._first_finished is self.client:
            return EndReason.CLIENT_CLOSED
        return EndReason.BACKEND_CLOSED

    def connection_error(self, side: Peer) -> None:
        """The peer at *side* has broken off, and the other one has not taken yet all that it sent before.

        The end is decided, and comes when all is passed on, or none of it gets on for ``half_close_timeout``.
        """
        if self._reason is not None:
            return
        reason = EndReason.CLIENT_RESET if side is self.client else EndReason.BACKEND_RESET
        other = self.backend if side is self.client else self.client
        if other is None:
            self.end(reason)
            return
        self._decide(reason)
        self._breaking = side
        other.read_no_more()

    def lost(self, side: Peer, failure: Failure) -> None:
        """The transport at *side* is gone."""
        side.gone = True
        if self._reason is not None:
            self._lost_while_ending(side, failure)
        elif isinstance(failure.value, ConnectionDone):
            self._lost_in_order(side)
        elif not isinstance(failure.value, BROKEN_OFF):
            self._lost_by_ourselves(failure.value)
        else:
            self._lost_by_a_break(side, failure)

    def _lost_by_a_break(self, side: Peer, failure: Failure) -> None:
        all_said = self.client.finished and self.backend is not None and self.backend.finished
        if all_said and not side.cut_short:
            # Each had got all it was to get: a unix socket whose peer has closed looks broken from then on.
            self.write_closed(side)
        elif side is self.client:
            self._tls_cause = tls_cause(failure)
            self.end(EndReason.CLIENT_RESET)
        elif self._kept is not None and not was_unheard(failure):
            self._try_another(broken_cause(failure))
        else:
            if not side.received and not was_unheard(failure):
                self._dial.broken_off(broken_cause(failure))
            self._tls_cause = tls_cause(failure)
            self.end(EndReason.BACKEND_RESET)

    def _lost_by_ourselves(self, error: BaseException | None) -> None:
        if isinstance(error, OSError) and is_our_own(error.errno or 0):
            self._dial.lacked(error)
            self.end(EndReason.LOCAL_FAILURE)
        else:
            self.end(EndReason.INTERNAL_ERROR)

    def _lost_while_ending(self, side: Peer, failure: Failure) -> None:
        if self._breaking is not None:
            # All that came before the break is passed on, or nobody is left to pass it to. Twisted's TLS may
            # have come to a goodbye there, which is an end in order.
            ended = side is self._breaking and isinstance(failure.value, ConnectionDone)
            side.finished = side.finished or ended
            self._breaking = None
            self._close(orderly=ended)
        self._finish_when_gone()

    def _lost_in_order(self, side: Peer) -> None:
        """A transport without half-close ends whole: what its peer sent before still goes out."""
        self._first_finished = self._first_finished or side
        side.finished = True
        if self.backend is None and self._kept and not self._dial.waits:
            return
        self.end(self._closed_reason())

    # Ends of the session

    def end(self, reason: EndReason) -> None:
        """Decide the end; a session that is ending already keeps its reason.

        What is buffered still goes out where the reason is an orderly one, or a peer has broken off: as long
        as some of it gets out within ``half_close_timeout``, and nothing else ends the session at once.
        """
        if self._reason is not None:
            if reason in _AT_ONCE:
                self.break_off()
            return
        self._decide(reason)
        if self.backend is None:
            self._dial.end()
        self._close(reason.orderly)
        if not self._finished:
            self._finish_when_gone()

    def _decide(self, reason: EndReason) -> None:
        self._reason = reason
        self._kept = None
        self._deadlines.active = self._wheel.now

    def _close(self, orderly: bool) -> None:
        """Close both sides; in order, a side is only told of an end that the other has really come to."""
        backend = self.backend
        self._close_side(self.client, orderly and (backend is None or backend.finished))
        if backend is not None:
            self._close_side(backend, orderly and self.client.finished)

    def _close_side(self, side: Peer, orderly: bool) -> None:
        if orderly or self._knows_the_end(side):
            side.close(orderly=True)
        elif self._reason not in _BROKEN_OFF or not side.in_flight():
            side.close(orderly=False)
        elif self._delivery is None:
            # The peer gets what the other side had sent before its end, and then the reset.
            side.read_no_more()
            self._delivery = Delivery(side, self._context.connector.wheel)

    def break_off(self) -> None:
        """Close both sides at once: the end is decided, and what is buffered is not waited for any more."""
        for side in (self.client, self.backend):
            if side is not None:
                side.close(self._knows_the_end(side))

    def _knows_the_end(self, side: Peer) -> bool:
        """Whether we end what this peer was told the end of before: the kernel has the rest for it."""
        return side.write_closed and self._reason is not None and self._reason.closer == "balancer"

    def _finish_when_gone(self) -> None:
        if self.client.gone and (self.backend is None or self.backend.gone):
            self._finish()

    def _finish(self) -> None:
        """Give back everything taken and render the account; runs once."""
        if self._finished:
            return
        self._finished = True
        self._deadlines.stop()
        if self._delivery is not None:
            self._delivery.stop()
        if self.backend is not None and not self.backend.told and self.backend.received:
            self._dial.answered()  # with bytes that passed us by
        self._dial.end()
        assert self._reason is not None
        self.client.release_admission()
        self._context.registry.remove(self, self._reason)
        # No circle is left behind for the garbage collector to find.
        del self._deadlines
        del self.client.session
        if self.backend is not None:
            del self.backend.session

    def record(self) -> SessionRecord:
        """The account of an ended session."""
        assert self._reason is not None
        dial, now = self._dial, self._context.clock()
        connected = dial.connect_time is not None
        return SessionRecord(
            started=self._started,
            client=shown(self._client_address),
            frontend=self._context.name,
            backend=self._served_by.name if self._served_by else None,
            attempts=dial.attempts,
            wait=(dial.began if connected else now) - self._born,
            connect=dial.connect_time,
            total=now - self._born,
            client_bytes=self.client.received,
            backend_bytes=self.backend.received if self.backend else 0,
            reason=self._reason,
            cause=self.cause,
            proxy=self._introduction.shown_proxy if self._introduction else None,
            server_name=self._introduction.said.server_name if self._introduction else None,
            unique_id=self._outgoing_header.unique_id if self._outgoing_header else None,
            tls=self._introduction.said.secured if self._introduction else None,
            failures=dial.failures,
        )
