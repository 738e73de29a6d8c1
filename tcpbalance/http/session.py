"""One client's connection in mode "http": from accept to its last request.

It reads heads, and has one ``Exchange`` at a time: the bytes of further requests wait. What becomes of a
request is decided there; here it is decided when the connection is closed, and how:

1. between two requests in order, whatever the reason;
2. after a request as the exchange says: open for the next, in order, or with a reset;
3. in order means that the client has to read the last answer: a reset would throw it away that the kernel
   sends for bytes that nothing reads any more. So whatever the client still sends is read and dropped until
   it closes, or for a while once it has all (``LINGERING``).
"""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Callable
from typing import ClassVar

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.refusal import Refusal
from tcpbalance.http.bare_exchange import BareExchange
from tcpbalance.http.client_look import ClientLook
from tcpbalance.http.client_side import KEEP, RESET, HttpClient, Then
from tcpbalance.http.context import HttpContext
from tcpbalance.http.exchange import Exchange
from tcpbalance.http.record import RequestRecord
from tcpbalance.http.reported import own_report, reported
from tcpbalance.http.request_record import request_record
from tcpbalance.http.tunnel import ConnectTunnel, Tunnel
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.net.tls.errors import tls_cause
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.delivery import Delivery
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.phases import AT_ONCE
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.registry import BytesCarrier
from tcpbalance.wire.http.errors import BadRequest
from tcpbalance.wire.http.forwarded import ForwardedClient
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.head_reader import RequestReader

MAX_SENT_AHEAD = 64 * 1024
"""Bytes of further requests that wait here; beyond them the client is not read."""

REQUESTS_A_TURN = 16
"""Requests that were sent ahead and are answered here in one turn of the reactor."""

LINGER_TIME = 5.0
"""Seconds for which what a client still sends is read after the last answer."""

MAX_LOOK = 60.0
"""Seconds between two looks at the deadlines at most."""


class ConnectionPhase(enum.Enum):
    """What the connection of a client is about."""

    PREREAD = "preread"
    """The client has to send a PROXY header first, or to make a TLS handshake."""

    READY = "idle"
    """A request may come, or its head is coming."""

    SERVING = "request"
    """A request is under way."""

    LINGERING = "ending"
    """The last answer is sent, and what comes is dropped."""

    CLOSING = "closing"
    """The end is decided; bytes may still go out."""

    OVER = "over"
    """It is closed, and all that was taken is given back."""

    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__


PREREAD, READY, SERVING, LINGERING, CLOSING, OVER = ConnectionPhase

_NEVER = math.inf
_NO_MORE = sys.maxsize
"""In the place of the number of requests that have come: more than any number that may come."""
_TAKES_REQUESTS = (READY, SERVING)


class HttpSession:
    """Owns the connection of one client.

    :param context: of the frontend that it belongs to.
    :param address: where it connects from.
    :param admitted: the address that was admitted; None without admission control, and before its decision.
    :ivar client: the client's side, from ``start`` on.
    :ivar preread: what the client has sent first; None where nothing was asked for.
    :ivar is_full: whether the client takes no more for now.
    :ivar due: when deadlines are looked at next, by the frontend's clock.
    :ivar text: the client's address, once a request was recorded.
    :ivar slot: see ``wheel.Watched``.
    """

    _log = Logger()

    __slots__ = (
        "_active",
        "_address",
        "_admission",
        "_aged_at",
        "_body_waits",
        "_born",
        "_cause",
        "_context",
        "_delivery",
        "_exchange",
        "_head_began",
        "_is_reading",
        "_last_look",
        "_peer",
        "_phase",
        "_reader",
        "_reason",
        "_report",
        "_requests",
        "_started",
        "_successor",
        "_until",
        "_waiting",
        "_wheel",
        "admitted",
        "client",
        "dry_run_limits",
        "due",
        "is_full",
        "packed",
        "preread",
        "slot",
        "text",
    )

    client: HttpClient
    exchange_kind: ClassVar[type[Exchange]] = BareExchange
    tunnel_kind: ClassVar[type[Tunnel]] = Tunnel
    connect_tunnel_kind: ClassVar[type[Tunnel]] = ConnectTunnel

    def __init__(self, context: HttpContext, address: ClientAddress, admitted: ClientAddress | None) -> None:
        self._context = context
        self._peer = self._address = address
        self.admitted = admitted
        self.dry_run_limits: tuple[DryRunLimit, ...] = ()
        self.preread: Preread | None = None
        self.packed = address.packed
        self.is_full = False
        self.slot: int | None = None
        self._phase = PREREAD
        self._wheel = context.wheel
        self._admission = context.admission
        self._exchange: Exchange | None = None
        self._reader = RequestReader(context.http.limits)
        self._waiting = b""
        self._is_reading = self._body_waits = False
        self._head_began: float | None = None
        self._requests = 0
        self.text: str | None = None
        self._reason: EndReason | None = None
        self._cause = ""
        self._delivery: Delivery | None = None
        self._successor: Tunnel | None = None
        self._report: ForwardedClient | None = None
        self._born = self._active = context.clock()
        self._started = context.wall_clock()
        self._aged_at = self._born + context.age_limit()
        self.due = math.inf
        self._until = math.inf
        self._last_look: ClientLook | None = None

    # What the registry asks

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, and none has begun to come."""
        return self._phase is READY and self._head_began is None

    @property
    def served_by(self) -> Backend | None:
        """See ``registry.OpenSession``."""
        exchange = self._exchange
        return None if exchange is None or exchange.backend is None else exchange.served_by

    @property
    def ending(self) -> bool:
        """See ``registry.OpenSession``."""
        return self._reason is not None

    @property
    def over(self) -> bool:
        """See ``registry.OpenSession``."""
        return self._phase is OVER

    @property
    def started(self) -> float:
        """See ``registry.OpenSession``."""
        return self._started

    @property
    def cause(self) -> str:
        """See ``registry.OpenSession``."""
        return self._cause

    @property
    def buffered(self) -> int:
        """See ``registry.OpenSession``."""
        held = len(self._waiting) + self.client.in_flight()
        if self.preread is not None:
            held += len(self.preread.kept)
        return held if self._exchange is None else held + self._exchange.buffered

    @property
    def carried(self) -> tuple[int, int]:
        """See ``registry.OpenSession``."""
        return (0, 0) if self._exchange is None else self._exchange.carried

    @property
    def carrier(self) -> BytesCarrier:
        """See ``registry.OpenSession``."""
        return self if self._exchange is None else self._exchange

    def can_move(self, idle_for: float) -> bool:
        """See ``registry.OpenSession``: between two requests, it has no backend."""
        return False

    def can_return(self) -> bool:
        """See ``registry.OpenSession``."""
        host: IAddress = self.client.transport.getHost()
        return self._context.registry.accept_pause.accepts_at(host)

    def facts(self) -> SessionFacts:
        """See ``registry.OpenSession``."""
        exchange, preread, served_by = self._exchange, self.preread, self.served_by
        now = self._context.clock()
        client_bytes, backend_bytes = self.carried
        return SessionFacts(
            self._started,
            self._address,
            None if preread is None else preread.proxy,
            self._context.name,
            None if exchange is None else exchange.pool_name,
            None if served_by is None else served_by.name,
            self._phase.value if exchange is None else exchange.state,
            now - self._born,
            now - max(self._active, self._born),
            client_bytes,
            backend_bytes,
            None if preread is None else preread.server_name,
            None if preread is None else preread.tls,
        )

    # The beginning

    def start(self, client: HttpClient) -> None:
        """Begin, with the client connected.

        :param client: its side.
        """
        self.client = client
        settings = self._context.preread
        if settings is not None and settings.asks(self._peer):
            self.preread = Preread(self, self._context, settings, self._peer)
            self.preread.start()
        else:
            self._await_requests()

    def tls_established(self) -> None:
        """The TLS handshake of the client is over; that of a foreign endpoint means nothing here."""
        if self._phase is PREREAD and self.preread is not None:
            self.preread.tls_established()

    def client_known(self) -> None:
        """See ``preread.PrereadSession``."""
        preread = self.preread
        assert preread is not None
        preread.stop()
        self._address = preread.client
        self.packed = preread.client.packed
        self._await_requests()
        if preread.kept:
            early = bytes(preread.kept)
            preread.kept.clear()
            self.client_sent(early)

    def _await_requests(self) -> None:
        self._phase = READY
        self._active = self._context.clock()
        self.client.transport.registerProducer(self, True)
        self.limit_bandwidth(self.client)
        self.expect(min(self._active + self._context.http.keepalive_timeout, self._aged_at))

    def hand_over(self, received: bytes, unused: int) -> None:
        """See ``preread.PrereadSession``: here, this session has not been."""
        preread = self.preread
        assert preread is not None
        self._phase = OVER
        preread.hand_over_client(self._born, received, unused)
        self._context.registry.forget(self)
        del self.client.session

    def backdate(self, seconds: float) -> None:
        """Take into account that the client was accepted some seconds ago, by another process."""
        self._born -= seconds
        self._started -= seconds
        self._aged_at -= seconds
        if self.preread is not None:
            self.preread.backdate(seconds)

    def turn_away(self, reason: EndReason, cause: str) -> None:
        """See ``preread.PrereadSession``."""
        self._cause = cause
        self.end(reason)

    # Requests

    def client_sent(self, data: bytes) -> None:  # noqa: C901 - each request passes here, without a further call
        """Bytes came from the client."""
        phase, client = self._phase, self.client
        if client.limiter is not None:
            client.limiter.read(len(data))
        if phase is READY and not (self._waiting or self.is_full or client.finished):
            # The usual case: one request, and all that is done for it at once.
            rest = self._begin(data)
            if rest is None:
                self._let_wait(data)
            elif rest:
                self._read(rest, REQUESTS_A_TURN - 1)
            return
        if phase is SERVING:
            exchange = self._exchange
            assert exchange is not None
            if not self._body_waits:
                data = exchange.client_sent(data)
            self._go_on_with(data)
        elif phase is READY:
            self._go_on_with(data)
        elif phase is PREREAD:
            assert self.preread is not None
            self.preread.feed(data)

    def _go_on_with(self, data: bytes) -> None:
        """Read a request, if none is under way, or have bytes wait that are not for the present one."""
        phase = self._phase
        if phase is READY and not self.has_requests_waiting:
            self._read(self._waiting + data if self._waiting else data)
        elif data and (phase is READY or phase is SERVING):
            self._let_wait(self._waiting + data)

    @property
    def has_requests_waiting(self) -> bool:
        """Whether the client has sent requests ahead, which are looked at in a later turn."""
        return bool(self._waiting) and self._head_began is None

    def _let_wait(self, data: bytes) -> None:
        """Keep what the client has sent and is not looked at yet; beyond a bound, read no more requests."""
        self._waiting = data
        if data and self._exchange is not None and self._exchange.is_uploading:
            # It was too much work for one turn.
            self.client.pauseProducing()
            if not self._body_waits:
                self._body_waits = True
                self._context.next_turn(self._take_body_on)
            return
        if len(data) < MAX_SENT_AHEAD or self.client.stopped:
            return
        if self._phase in _TAKES_REQUESTS and self._head_began is None:
            self.client.pauseProducing()

    def _take_body_on(self) -> None:
        """Go on with a body of which more has come than one turn allows."""
        self._body_waits = False
        data, exchange, client = self._waiting, self._exchange, self.client
        if exchange is None or not exchange.is_uploading:
            return
        self._waiting = b""
        self._go_on_with(exchange.client_sent(data))
        if exchange is self._exchange and client.stopped and not self._waiting:
            exchange.read_client_on()

    def _read(self, data: bytes, left: int = REQUESTS_A_TURN) -> None:
        """Begin the requests whose heads have come, one after the other, as far as one turn allows.

        :param left: how many it allows.
        """
        self._is_reading = True
        is_partial = False
        while data and self._phase is READY and not self.is_full and left:
            left -= 1
            rest = self._begin(data)
            if rest is None:
                is_partial = True
                break
            data = rest
        self._is_reading = False
        self._let_wait(data)
        client = self.client
        if client.finished and self._exchange is not None:
            self._exchange.client_finished()
        if self._phase is not READY:
            return
        if client.finished and (is_partial or not data):
            self._close(EndReason.CLIENT_CLOSED)
            return
        if client.stopped and len(data) < MAX_SENT_AHEAD:
            client.resumeProducing()
        if data and not left:
            self._context.next_turn(self._read_on)

    def _read_on(self) -> None:
        if self._phase is READY and self._waiting and not self._is_reading:
            self._read(self._waiting)

    def _begin(self, data: bytes) -> bytes | None:
        """Begin the request whose head stands first.

        :returns: what comes behind the request; None while its head is not whole.
        """
        began, context = self._head_began, self._context
        if began is None and context.frontend.context is not context:
            context = self._adopt(context.frontend.context)
        clock = context.clock
        now = clock()
        try:
            head = self._reader.read(data)
        except BadRequest as error:
            exchange = self._make_exchange(now)
            exchange.refuse(EndReason.BAD_REQUEST, error.cause, error.status, data)
            return b""
        if head is None:
            if began is None:
                self._head_began = now
                self.expect(now + context.http.head_timeout)
            return None
        size = head.size
        return self._make_exchange(now).begin(head, data[size:] if len(data) > size else b"")

    def _adopt(self, context: HttpContext) -> HttpContext:
        """Serve the next request by another snapshot of the frontend."""
        self._context = context
        self._reader = RequestReader(context.http.limits)
        return context

    def _make_exchange(self, now: float) -> Exchange:
        began, self._head_began = self._head_began, None
        self._requests += 1
        self._phase = SERVING
        exchange = self._exchange = self.exchange_kind(
            self, self._context, now if began is None else began, now
        )
        return exchange

    def reported_client(self, head: RequestHead, context: HttpContext) -> ForwardedClient:
        """See ``exchange.ExchangeOwner``."""
        report, http = self._report, context.http
        if report is None:
            report = self._report = own_report(self._address, self.client.transport, self.preread)
        if not http.trusts or self.packed not in http.trust:
            return report
        return reported(head, report, http.trust, http.read)

    def limit_bandwidth(self, side: Peer) -> None:
        """See ``exchange.ExchangeOwner``."""
        context = self._context
        rate = context.limits.bandwidth_per_connection
        if rate is None or side.limiter is not None:
            return
        if context.dry_run is None:
            side.limiter = BandwidthLimiter(side, rate, context.connector.wheel, context.clock)
        elif DryRunLimit.BANDWIDTH not in self.dry_run_limits:
            side.limiter = DryRunBandwidthLimiter(rate, context.clock, self._would_hold)

    def _would_hold(self) -> None:
        """A dry run of the bandwidth limit: count the session once, and limit it no more."""
        assert self._context.dry_run is not None
        self._context.dry_run.would_limit(self, DryRunLimit.BANDWIDTH)
        self.client.release_limiter()
        if self._exchange is not None and self._exchange.backend is not None:
            self._exchange.backend.release_limiter()

    def end_if_banned(self, is_banned: Callable[[bytes | None], bool]) -> None:
        """See ``banned_clients.BannableSession``: a request that has begun is served, and is the last."""
        packed, preread = self.packed, self.preread
        if self._phase is PREREAD and preread is not None:
            if preread.expects_header:
                return  # It is a proxy's, whose client is admitted later.
            packed = preread.client.packed
        if self._reason is not None or self._phase is OVER or not is_banned(packed):
            return
        if self._exchange is None:
            self.turn_away(EndReason.REFUSED, Refusal.BANNED.word)
        else:
            self._requests = _NO_MORE

    def may_keep(self, context: HttpContext) -> bool:
        """See ``exchange.ExchangeOwner``."""
        return (
            self._requests < context.http.keepalive_requests
            and not context.registry.closed
            and self._reason is None
            and (self._aged_at == _NEVER or context.clock() < self._aged_at)
        )

    def request_over(self, reason: EndReason, then: Then) -> None:
        """See ``exchange.ExchangeOwner``."""
        self._exchange = None
        client = self.client
        if then is KEEP and not client.gone:
            self._phase = READY
            active = self._active = self._wheel.now
            due = active + RESOLUTION + self._context.http.keepalive_timeout
            if due < self.due:
                self.expect(due)
            if client.stopped:
                client.resumeProducing()
            if not self._is_reading and (self._waiting or client.finished):
                self._go_on()
        elif client.gone:
            self._reason = reason
            self._finish()
        elif then is RESET:
            self._reset(reason)
        else:
            self._close(reason, answered=True)

    def change_protocol(self, exchange: Exchange, answer: bytes) -> None:
        """See ``exchange.ExchangeOwner``: a session of mode "tcp" goes on here."""
        client, admitted, early = self.client, self.admitted, self._waiting
        self._exchange, self.admitted, self._waiting = None, None, b""
        self._phase = OVER
        self._wheel.forget(self)
        # What was taken of admission control is given back to the same one.
        context = attrs.evolve(self._context, admission=self._admission)
        kind = self.tunnel_kind if exchange.opening is None else self.connect_tunnel_kind
        tunnel = self._successor = kind(context, self._address, admitted, self.preread, exchange)
        context.registry.replace(self, tunnel)
        tunnel.begin(client, self._aged_at, early, answer)

    def _go_on(self) -> None:
        """Begin what has come meanwhile."""
        if self._waiting:
            self._read_on()
        elif self.client.finished:
            self._close(EndReason.CLIENT_CLOSED)

    # See ``IPushProducer``: what the client is sent comes from the backend of the request under way.

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self.is_full = True
        if self._exchange is not None and self._exchange.backend is not None:
            self._exchange.backend.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has taken all."""
        self.is_full = False
        if self._exchange is not None:
            if self._exchange.backend is not None:
                self._exchange.backend.resumeProducing()
        elif not self._is_reading:
            self._read_on()

    def stopProducing(self) -> None:
        """The client's transport is lost; its protocol reports that, too."""

    # What happens to the client's connection

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the client has finished sending."""
        side.finished = True
        phase = self._phase
        if phase is SERVING:
            assert self._exchange is not None
            self._exchange.client_finished()
        elif phase is LINGERING:
            side.close(orderly=True)
        elif phase is PREREAD or (phase is READY and not self.has_requests_waiting):
            self.end(EndReason.CLIENT_CLOSED)

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: a client that cannot be answered is not served."""
        side.close(orderly=False)

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        if self._reason is not None:
            self._finish()
            return
        if self._phase is PREREAD:
            assert self.preread is not None
            self._reason, self._cause = self.preread.reason_of(failure)
            self._finish()
            return
        error, cause = failure.value, ""
        if isinstance(error, ConnectionDone):
            reason = EndReason.CLIENT_CLOSED
        elif isinstance(error, BROKEN_OFF):
            reason, cause = EndReason.CLIENT_RESET, tls_cause(failure)
        else:
            reason = EndReason.INTERNAL_ERROR
        if self._exchange is not None:
            self._exchange.client_lost(reason, cause)
        else:
            self._reason, self._cause = reason, cause
            self._finish()

    # Deadlines

    def expect(self, due: float) -> None:
        """See ``exchange.ExchangeOwner``."""
        if due < self.due:
            self.due = self._wheel.watch(self, max(0.0, due - self._context.clock()))

    def _deadline(self) -> float:
        """When the first deadline comes, by how things stand now; the wheel's times may be one turn old."""
        if self._exchange is not None:
            return self._exchange.due
        if self._phase is not READY:
            return self._until
        http = self._context.http
        if self._head_began is not None:
            return self._head_began + http.head_timeout
        return min(self._active + RESOLUTION + http.keepalive_timeout, self._aged_at)

    def check(self, now: float) -> float | None:
        """The wheel's call: end what has lasted too long.

        :param now: by the frontend's clock.
        :returns: the seconds until the next look; None once it is over.
        """
        self.due = math.inf
        if self._exchange is not None:
            self._exchange.check(now)
        elif now >= self._deadline():
            self._end_late(now)
        if self._phase is OVER:
            return None
        self.due = min(self._deadline(), now + MAX_LOOK)
        return max(0.0, self.due - now)

    def _end_late(self, now: float) -> None:
        if self._phase is not READY:
            self._end_unless_fetching(now)
        elif self._head_began is not None:
            self._make_exchange(now).refuse(EndReason.HEAD_TIMEOUT, "", 0, self._waiting)
        elif now >= self._aged_at:
            self._close(EndReason.MAX_CONNECTION_AGE)
        else:
            self._close(EndReason.KEEPALIVE_TIMEOUT)

    def _end_unless_fetching(self, now: float) -> None:
        """Reset a client at its end, unless it has fetched enough of its last answer since the last look."""
        look = ClientLook(now, self.client.in_flight(), 0)
        before, self._last_look = self._last_look, look
        is_late = before is not None and look.shows_too_slow(before, self._context.http.send_min_rate)
        if is_late or not look.in_flight:
            # A client that has fetched all, and only does not close, loses nothing of it.
            self.client.close(orderly=self._phase is LINGERING and not is_late)
        else:
            self._until = now + self._context.timeouts.half_close_timeout

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``: without deadlines, it must not go on."""
        self.end(EndReason.INTERNAL_ERROR)

    # The end

    def end(self, reason: EndReason) -> None:
        """Decide the end, whatever is under way; where it is decided already, what still goes out is cut off
        for a reason that does not wait."""
        if self._successor is not None:
            self._successor.end(reason)
        elif self._reason is not None:
            if self._phase is not OVER and reason in AT_ONCE:
                self.client.close(orderly=False)
        elif self._exchange is not None:
            self._exchange.stop(reason)
        elif self._phase is PREREAD and not reason.orderly:
            self._reset(reason)
        else:
            self._close(reason)

    def _close(self, reason: EndReason, answered: bool = False) -> None:
        """Close the client in order.

        :param answered: whether it is just being sent a response.
        """
        self._reason = reason
        client, now = self.client, self._context.clock()
        if not client.finished and (answered or client.in_flight()):
            self._phase = LINGERING
            self._until = now + LINGER_TIME
            client.finish_writing()
            if client.stopped:
                client.resumeProducing()
        else:
            self._phase = CLOSING
            self._until = now + self._context.timeouts.half_close_timeout
            client.close(orderly=True)
        if self._phase is not OVER:
            self.expect(self._until)

    def _reset(self, reason: EndReason) -> None:
        """Reset the client, once it has what was sent to it."""
        self._reason = reason
        self._phase = CLOSING
        client = self.client
        if reason in AT_ONCE or not client.in_flight():
            client.close(orderly=False)
            return
        client.read_no_more()
        self._delivery = Delivery(client, self._context.connector.wheel)
        self._until = self._context.clock() + self._context.timeouts.half_close_timeout
        self.expect(self._until)

    def _finish(self) -> None:
        """Give back everything taken and have the connection counted; runs once."""
        received = 0 if self._requests else len(self._waiting)
        if self._phase is PREREAD and self.preread is not None:
            received = len(self.preread.kept)
        self._phase = OVER
        self._wheel.forget(self)
        if self.preread is not None:
            self.preread.stop()
        if self._delivery is not None:
            self._delivery.stop()
        context, reason = self._context, self._reason
        assert reason is not None
        if self.admitted is not None and self._admission is not None:
            self._admission.release(self.admitted)
        lasted = context.clock() - self._born
        context.registry.remove(self, reason, None, received, 0, lasted)
        del self.client.session

    def record(self, client_bytes: int, backend_bytes: int) -> SessionRecord | None:
        """See ``registry.OpenSession``: a connection on which requests have come is in their records."""
        if self._requests:
            return None
        assert self._reason is not None
        preread, lasted = self.preread, self._context.clock() - self._born
        return SessionRecord(
            started=self._started,
            client=str(self._address),
            frontend=self._context.name,
            backend=None,
            attempts=0,
            wait=lasted,
            connect=None,
            total=lasted,
            client_bytes=client_bytes,
            backend_bytes=backend_bytes,
            reason=self._reason,
            cause=self._cause,
            proxy=None if preread is None or preread.proxy is None else str(preread.proxy),
            server_name=None if preread is None else preread.server_name,
            tls=None if preread is None else preread.tls,
        )

    def record_of(self, exchange: Exchange) -> RequestRecord:
        """See ``exchange.ExchangeOwner``."""
        if self.text is None:
            self.text = str(self._address)
        return request_record(exchange, self.text, self.preread)
