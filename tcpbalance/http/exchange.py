"""One request, from its head to its record: the one place where it is decided what becomes of it, and why.

What follows from what in which phase is written down in ``phases``. An exchange owns all that is taken for
its request: the slot of a backend, the connection to it, and the dial. The connection to the client is the
session's: an exchange writes to it, and says in the end what is to become of it.

Most requests have no body, and find a connection to their backend open. For those, nothing is made but this
object and a slot.
"""

from __future__ import annotations

import math
import typing

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.config.http import NO_RESPONSE
from tcpbalance.http import carried_body
from tcpbalance.http.answers import RETRY_AFTER, STATUS_OF, own_answer
from tcpbalance.http.bodies import LengthBody, PassedBody, request_body
from tcpbalance.http.carried_body import CarriedBody
from tcpbalance.http.client_side import HttpClient, Then
from tcpbalance.http.context import HttpContext
from tcpbalance.http.dialling import HttpDialler
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.idle import REPEATABLE, UNREPEATABLE, IdleConnections
from tcpbalance.http.pages import Page
from tcpbalance.http.phases import (
    ANSWER,
    ANSWERING,
    AWAITING,
    BACKEND_FINISHED,
    BACKEND_LOST,
    BAD_REQUEST,
    BAD_RESPONSE,
    CLIENT_FINISHED,
    CLIENT_LOST,
    COMPLETE,
    GIVE_UP,
    OVER,
    REACHING,
    REQUEST_LATE,
    REQUEST_TABLE,
    STOPPED,
    TRY_AGAIN,
    UNREACHED,
    RequestEvent,
    RequestPhase,
)
from tcpbalance.http.record import RequestRecord
from tcpbalance.http.refusals import RequestRefused
from tcpbalance.http.reported import SEND_REQUEST_ID, packed_client, request_id
from tcpbalance.http.request_deadlines import excuses, next_deadline
from tcpbalance.http.responses import is_event_stream, passed_body
from tcpbalance.http.routes import Route
from tcpbalance.http.routing import check_size, find_route, fixed_answer
from tcpbalance.http.upload import KEPT, Upload
from tcpbalance.http.upstream import NOT_IN_USE, BackendHttpConnection
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.tls.errors import broken_cause
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.facts import QUEUED
from tcpbalance.proxy.outgoing_proxy_header import OutgoingProxyHeader, outgoing_proxy_header
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import SessionStats
from tcpbalance.wire.http.errors import BadRequest, BadResponse
from tcpbalance.wire.http.fields import expects_continue, keeps_alive, upgrade
from tcpbalance.wire.http.forwarded import ForwardedClient
from tcpbalance.wire.http.framing import (
    CHUNKED,
    NO_BODY,
    TUNNEL,
    UNTIL_CLOSE,
    Body,
    Framing,
    request_framing,
    response_framing,
)
from tcpbalance.wire.http.head import RequestHead, ResponseHead
from tcpbalance.wire.http.rewrite import NO_EDITS
from tcpbalance.wire.http.target import RequestTarget, read_target

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
"""Methods whose requests may be sent again: RFC 9110, section 9.2.2."""

CONTINUE, UNAVAILABLE = 100, 503

STATE_NAMES = {REACHING: "dialling", AWAITING: "unanswered", ANSWERING: "relaying", OVER: "ending"}
"""What the phases are called."""

MAX_INTERIM = 64
"""1xx responses to one request: a backend that sends more never comes to the final one."""


class ExchangeOwner(typing.Protocol):
    """The session of a request.

    :ivar client: the client's side.
    :ivar is_full: whether the client takes no more for now.
    :ivar packed: the client's packed address, None where it has none.
    :ivar preread: what is known of a client that had to send something first; else None.
    """

    client: HttpClient
    is_full: bool
    packed: bytes | None
    preread: Preread | None

    def reported_client(self, head: RequestHead, context: HttpContext) -> ForwardedClient:
        """Give the client as backends are to know it: behind a trusted proxy, what that reports."""

    def may_keep(self, context: HttpContext) -> bool:
        """Whether the client's connection may take another request, as far as this one does not matter."""

    def expect(self, due: float) -> None:
        """Have deadlines looked at when one may have come, by the frontend's clock."""

    def request_over(self, reason: EndReason, then: Then) -> None:
        """The request is recorded."""

    def limit_bandwidth(self, side: Peer) -> None:
        """Keep what comes from a side within the rate of each connection, if there is one."""

    def change_protocol(self, exchange: Exchange, answer: bytes) -> None:
        """The client and the backend go on in another protocol.

        :param answer: what the backend has sent of it already.
        """

    def record_of(self, exchange: Exchange) -> RequestRecord:
        """Give the record of a request that is over."""


class Exchange:
    """Owns one request, and everything taken for it.

    :param session: its session.
    :param context: what it begins by.
    :param began: when its first byte came, by the frontend's clock.
    :param started: the same in seconds since the epoch.
    :ivar head: the request's, None where that was none.
    :ivar target: what it is for; None while that is not known.
    :ivar route: what becomes of it; None while that is not known.
    :ivar phase: see ``phases``.
    :ivar status: of the final response that the client is sent; 0 while it is sent none.
    :ivar reason: why it has ended.
    :ivar cause: what was wrong, in a few words; empty when nothing was.
    :ivar client_bytes: bytes received from the client, with the head.
    :ivar backend_bytes: the same from backends.
    :ivar served_by: the backend that the request was sent to last.
    :ivar backend: the connection to it; None while there is none.
    :ivar client: the client as backends are to know it; None while no backend is looked for.
    :ivar packed: the packed address of that, by which a backend is chosen; None where it has none.
    """

    __slots__ = (
        "_carried",
        "_dialled_anew",
        "_framing",
        "_heads",
        "_idle",
        "_interim",
        "_keeps_client",
        "_outgoing_header",
        "_pool",
        "_response",
        "_reuses_backend",
        "_session",
        "_slot",
        "_unread",
        "_upgrade",
        "backend",
        "backend_bytes",
        "began",
        "cause",
        "client",
        "client_bytes",
        "context",
        "dial_until",
        "dialler",
        "first_byte",
        "has_event_stream",
        "head",
        "head_time",
        "is_failing",
        "looked_at",
        "looked_like",
        "packed",
        "phase",
        "reason",
        "request_id",
        "response_active",
        "response_size",
        "reused",
        "route",
        "sent_at",
        "served_by",
        "started",
        "status",
        "target",
        "upload",
    )

    head: RequestHead | None
    target: RequestTarget | None
    route: Route | None
    client: ForwardedClient | None
    packed: bytes | None
    upload: Upload | None
    head_time: float | None
    first_byte: float | None
    served_by: Backend | None
    backend: BackendHttpConnection | None
    dialler: HttpDialler | None
    reason: EndReason | None
    request_id: bytes | None
    phase: RequestPhase

    _heads: RouteHeads
    _pool: Pool
    _idle: IdleConnections
    _slot: Slot | None
    _outgoing_header: OutgoingProxyHeader | None
    _response: PassedBody | None
    _carried: CarriedBody | None

    def __init__(self, session: ExchangeOwner, context: HttpContext, began: float, started: float) -> None:
        self._session = session
        self.context = context
        self.began = began
        self.started = started
        self.phase = REACHING
        self.head = self.target = self.route = self.client = self.packed = self.upload = None
        self.head_time = self.first_byte = self.request_id = self.reason = None
        self.served_by = self.backend = self.dialler = self._slot = self._outgoing_header = None
        self._response = self._carried = None
        self.cause = ""
        self.status = self.client_bytes = self.backend_bytes = self.response_size = 0
        self._framing = NO_BODY
        self._upgrade = self._unread = b""
        self.dial_until = math.inf
        self.sent_at = self.response_active = 0.0
        self._interim = 0
        self.reused = self._reuses_backend = self._keeps_client = self._dialled_anew = False
        self.has_event_stream = self.is_failing = False
        self.looked_at, self.looked_like = -math.inf, -1
        context.registry.stats.requests_total += 1

    # The request

    def refuse(self, reason: EndReason, cause: str, status: int, size: int) -> None:
        """Answer a client whose head cannot be read; what follows it cannot be, either.

        :param size: bytes that have come of it.
        """
        self.client_bytes = size
        self._answer(reason, cause, status, in_doubt=True)

    def begin(self, head: RequestHead, rest: bytes) -> bytes:
        """Begin with the head.

        :param rest: what came behind it.
        :returns: what of that is no part of the request.
        """
        self.head = head
        self.client_bytes = head.size
        self.head_time = self.context.clock() - self.began
        try:
            self._framing = request_framing(head)
            self.target = read_target(head)
            awaits_continue = expects_continue(head)
        except BadRequest as error:
            self._answer(EndReason.BAD_REQUEST, error.cause, error.status, in_doubt=True)
            return b""
        body = request_body(self._framing)
        if body is not None:
            upload = self.upload = Upload(body, awaits_continue, self.context.wheel.now)
            if rest:
                rest = self._take(upload, rest)
                if self.phase is OVER:
                    return b""
        try:
            self._follow_route(head, self.target)
        except RequestRefused as error:
            self._answer(EndReason.BAD_REQUEST, error.cause, error.status, extra=error.extra)
        return rest

    def _follow_route(self, head: RequestHead, target: RequestTarget) -> None:
        """Find out what becomes of the request, and begin with it.

        :raises RequestRefused: it is none that is served.
        """
        context = self.context
        route = self.route = find_route(context, head, target, self._session.preread)
        if route is None:
            self._answer(EndReason.NO_ROUTE)
        elif route.pool is None:
            answer = fixed_answer(route, target)
            self._answer(EndReason.ANSWERED_HERE, "", answer.status, answer.page, answer.extra)
        else:
            if self.upload is not None:
                check_size(route, self._framing, self.upload)
            self._heads = context.heads(route)
            self.client = client = self._session.reported_client(head, context)
            # Of a connection of its own, the session knows.
            self.packed = packed_client(client) if client.trusted else self._session.packed
            if SEND_REQUEST_ID in context.http.send:
                self.request_id = request_id(head, client)
            self._reach(route.pool)

    def client_sent(self, data: bytes) -> bytes:
        """Take bytes that the client has sent.

        :returns: what of them is no part of the request.
        """
        upload = self.upload
        return data if upload is None or upload.whole else self._take(upload, data)

    def _take(self, upload: Upload, data: bytes) -> bytes:
        limit = None if self.route is None else self.route.body_size
        self.client_bytes += len(data)
        try:
            passed, rest = upload.feed(data, limit, self.context.wheel.now)
        except (BadRequest, RequestRefused) as error:
            self._happened(BAD_REQUEST, EndReason.BAD_REQUEST, error.cause, error.status)
            return b""
        self.client_bytes -= len(rest)
        backend = self.backend
        if backend is None:
            # Before its route is known, it may be answered here.
            if upload.is_full and self.route is not None:
                self._session.client.pauseProducing()
        else:
            if upload.keeps and upload.is_full:
                upload.keep_no_more()
            backend.transport.write(passed)
            if upload.whole:
                self._request_whole(backend)
            elif upload.long_body is not None:
                self._carry_request(upload.long_body, backend)
        return rest

    def _carry_request(self, body: LengthBody, backend: BackendHttpConnection) -> None:
        """Let the kernel carry what is left of the body, where it can."""
        client, upload = self._session.client, self.upload
        assert upload is not None
        if upload.keeps or client.stopped or client.limiter is not None or self._carried is not None:
            return
        carried = CarriedBody(body, is_request=True)
        if carried.start(client.transport, backend.transport, self.context.wheel, self._request_carried):
            self._carried = carried

    def _request_carried(self) -> None:
        self.count_carried()
        self._carried = None
        assert self.backend is not None
        self._request_whole(self.backend)

    def count_carried(self) -> None:
        """Take note of what the kernel has carried."""
        carried = self._carried
        count = 0 if carried is None else carried.count()
        if carried is None or not count:
            return
        if carried.is_request:
            assert self.upload is not None
            self.upload.active = carried.active
            self.client_bytes += count
        else:
            self.response_active = carried.active
            self.backend_bytes += count

    def _request_whole(self, backend: BackendHttpConnection) -> None:
        backend.transport.unregisterProducer()
        if self._session.client.stopped:
            self._session.client.resumeProducing()
        self._session.expect(self.due)

    # Reaching a backend

    def _reach(self, pool: Pool) -> None:
        """Give the request to a connection that waits, or have one opened."""
        context, client = self.context, self.packed
        self._pool = pool
        idle = self._idle = context.idle_connections(pool)
        backend, choices = pool.selection.choose(client)
        if backend is None:
            self._dial().begin(None, choices)
            return
        try:
            slot = pool.take(backend, client)
        except NoCapacityError:
            self._dial().go_on_refused(backend, choices)
            return
        connection = idle.take(backend, self._max_idle)
        if connection is None:
            self._dial().begin(slot, choices)
            return
        if choices is not None:
            choices.close()
        slot.reused()
        self._slot = slot
        self._send(connection)

    @property
    def _max_idle(self) -> float:
        """Seconds that a connection may have waited which gets the request."""
        assert self.head is not None
        long_body = self.upload is not None and (self._framing.length or KEPT) >= KEPT
        return UNREPEATABLE if long_body or self.head.method not in IDEMPOTENT else REPEATABLE

    def _dial(self) -> HttpDialler:
        context, pool = self.context, self._pool
        self.dial_until = context.clock() + pool.dial_timeout
        dialler = self.dialler = HttpDialler(
            pool,
            context.connector,
            self.packed,
            context.clock,
            self,
            idle=self._idle,
            max_idle=self._max_idle,
        )
        self._session.expect(self.dial_until)
        return dialler

    def attempt_begins(self) -> None:
        """See ``dialler.Caller``."""
        pool, dialler, transport = self._pool, self.dialler, self._session.client.transport
        assert dialler is not None
        outgoing = None
        if pool.send_proxy_protocol is not None:
            outgoing = outgoing_proxy_header(
                pool, transport.getPeer(), transport.getHost(), self._session.preread
            )
        self._outgoing_header = outgoing
        dialler.preamble = b"" if outgoing is None or pool.tls is None else outgoing.header

    def queued(self) -> None:
        """See ``dialler.Caller``."""

    def left_queue(self, waited: float) -> None:
        """See ``dialler.Caller``."""
        self.dial_until += waited
        self._session.expect(self.dial_until)

    def end(self, reason: EndReason) -> None:
        """See ``dialler.Caller``: no backend is left to be tried."""
        self._happened(UNREACHED, reason, self._dial_cause)

    @property
    def _dial_cause(self) -> str:
        failure = None if self.dialler is None else self.dialler.dial.failure
        return "" if failure is None else failure.cause

    def backend_connected(self, side: Peer) -> None:
        """See ``dialler.Caller``."""
        assert isinstance(side, BackendHttpConnection)
        dialler = self.dialler
        assert dialler is not None
        self._slot = dialler.slot
        if side.served:
            # It was made for an attempt before this one.
            self._outgoing_header = None
        elif self._pool.judges_connect_times:
            dialler.judge(side.transport)
        self._send(side)

    def _send(self, connection: BackendHttpConnection) -> None:
        """Give a connection all that has come of the request."""
        session, upload, pool = self._session, self.upload, self._pool
        connection.session = self
        self.backend = connection
        self.phase = AWAITING
        if self.context.limits.bandwidth_per_connection is not None:
            session.limit_bandwidth(connection)
        backend = self.served_by = connection.backend
        self.reused = connection.served > 0
        backend.stats.requests_total += 1
        data = self._request_head(backend)
        outgoing = self._outgoing_header
        if outgoing is not None and pool.tls is None:
            data = outgoing.header + data
        self.sent_at = now = self.context.clock()
        if upload is None:
            connection.transport.write(data)
            session.expect(now + self.response_timeout)
            return
        connection.transport.write(b"".join((data, *upload.kept)))
        if upload.is_full or not self._is_idempotent:
            upload.keep_no_more()
        if not upload.whole:
            connection.transport.registerProducer(session.client, True)
            session.client.resumeProducing()
        session.expect(self.due)

    def _request_head(self, backend: Backend) -> bytes:
        head, target, client = self.head, self.target, self.client
        assert head is not None
        assert target is not None
        assert client is not None
        host = self._pool.http.host
        if b"upgrade" in head.special:
            self._upgrade = self._offered(head)
        return self._heads.request(
            head,
            target,
            self._framing,
            client,
            backend,
            host=host,
            request_id=self.request_id,
            upgrade=self._upgrade,
        )

    def _offered(self, head: RequestHead) -> bytes:
        """Give the protocols that the backend may change to: those that the route allows, and none after a
        body, which would stand between the two."""
        assert self.route is not None
        if self.upload is not None:
            return b""
        allowed = self.route.upgrade
        return b", ".join(name for name in upgrade(head) if name.decode("latin-1") in allowed)

    # The response

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``upstream.ConnectionUser``."""
        self.backend_bytes += len(data)
        if connection.limiter is not None:
            connection.limiter.read(len(data))
        self.response_active = self.context.wheel.now
        if self.phase is AWAITING:
            self._read_heads(connection, data)
        else:
            self._pass_on(data)

    def _read_heads(self, connection: BackendHttpConnection, data: bytes) -> None:
        """Read 1xx responses, and the head of the final one."""
        assert self.head is not None
        if self.first_byte is None:
            self.first_byte = self.context.clock() - self.sent_at
            assert self._slot is not None
            self._slot.answered()
        if self._unread:
            data = self._unread + data
        try:
            while True:
                head = connection.reader.read(data)
                if head is None:
                    self._unread = data
                    return
                framing = response_framing(head, self.head.method)
                data = data[head.size :]
                if head.status >= 200 or framing is TUNNEL:
                    self._begin_response(head, framing, data)
                    return
                self._pass_interim(head)
        except BadResponse as error:
            self._happened(BAD_RESPONSE, EndReason.BAD_RESPONSE, str(error))

    def _pass_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx response: 100 only where it is waited for, and none to HTTP/1.0."""
        assert self.head is not None
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadResponse(f"more than {MAX_INTERIM} responses of 1xx come before the final one")
        upload = self.upload
        if head.status == CONTINUE:
            if upload is None or not upload.awaits_continue:
                return
            upload.go_ahead(self.context.wheel.now)
            self._session.expect(self.due)
        if self.head.version == b"1.1":
            self._session.client.transport.write(self._heads.interim(head))

    def _begin_response(self, head: ResponseHead, framing: Framing, rest: bytes) -> None:
        """Pass the head of the final response on, and what came with it of the body.

        :raises BadResponse: what came is no such body, or more than that.
        """
        session, context, request = self._session, self.context, self.head
        assert request is not None
        if framing is TUNNEL:
            self._change_protocol(head, rest)
            return
        version = request.version
        body, passed, surplus = self._response_body(framing, version, rest)
        if surplus:
            raise BadResponse("bytes come behind the response")
        closes = framing is UNTIL_CLOSE
        upload = self.upload
        # HTTP/1.0 has no chunks: there, a body without a length ends with the connection.
        closes_client = version == b"1.0" and (closes or framing is CHUNKED)
        keeps = self._keeps_client = (
            (upload is None or upload.whole)
            and not closes_client
            and keeps_alive(request)
            and session.may_keep(context)
        )
        # A PROXY header names one client: other requests may not come behind it.
        self._reuses_backend = not closes and self._outgoing_header is None and keeps_alive(head)
        self.status = head.status
        self.phase = ANSWERING
        data = self._heads.response(head, framing, version, keeps, context.date())
        session.client.transport.write(data + passed if passed else data)
        if body is None:
            self._response_whole()
            return
        self._response = body
        if isinstance(body, LengthBody) and body.left >= carried_body.LONG:
            self._carry_response(body)
        self.has_event_stream = is_event_stream(head)
        if upload is not None:
            upload.keep_no_more()
        session.expect(self.due)

    def _change_protocol(self, head: ResponseHead, rest: bytes) -> None:
        """The backend changes to another protocol: the connections are relayed from here on.

        :param rest: what came behind the head.
        :raises BadResponse: the client has not asked for that.
        """
        chosen = upgrade(head)
        if not chosen or not set(chosen) <= set(self._upgrade.split(b", ")):
            raise BadResponse("the backend changes to a protocol that was not asked for")
        self.status = head.status
        self._session.client.transport.write(self._heads.switch(head, b", ".join(chosen)))
        self._session.change_protocol(self, rest)

    def give_up_backend(self) -> tuple[BackendHttpConnection, Slot, Pool]:
        """Leave the connection and its slot to the caller, which records the request as well."""
        connection, slot = self.backend, self._slot
        assert connection is not None
        assert slot is not None
        self.phase = OVER
        self.backend = self._slot = None
        if self.dialler is not None:
            self.dialler.slot = None
            self.dialler.end()
        return connection, slot, self._pool

    def _response_body(
        self, framing: Framing, version: bytes, rest: bytes
    ) -> tuple[PassedBody | None, bytes, bytes]:
        """Read what came of the body with the head.

        :returns: the body, None where it is whole; what goes on; and what came behind it.
        """
        length = framing.length
        if framing.body is Body.LENGTH and len(rest) == length:
            # The usual case, in which nothing is made.
            self.response_size = length
            return None, rest, b""
        body = passed_body(framing, version)
        if body is None:
            return None, b"", rest
        passed, rest = body.feed(rest)
        if not body.whole:
            return body, passed, rest
        self.response_size = body.size
        return None, passed, rest

    def _pass_on(self, data: bytes) -> None:
        body = self._response
        assert body is not None
        try:
            passed, surplus = body.feed(data)
        except BadResponse as error:
            self._happened(BAD_RESPONSE, EndReason.BAD_RESPONSE, str(error))
            return
        if passed:
            self._session.client.transport.write(passed)
        if isinstance(body, LengthBody) and body.left >= carried_body.LONG:
            self._carry_response(body)
        if body.whole:
            # The client has all of it: what came too much ends the connection to the backend only.
            self._reuses_backend = self._reuses_backend and not surplus
            self._response_whole()

    def _carry_response(self, body: LengthBody) -> None:
        """Let the kernel carry what is left of the body, where it can."""
        session, backend = self._session, self.backend
        assert backend is not None
        is_uploading = self.upload is not None and not self.upload.whole
        if is_uploading or session.is_full or backend.limiter is not None or self._carried is not None:
            return
        carried = CarriedBody(body, is_request=False)
        client = session.client.transport
        if carried.start(backend.transport, client, self.context.wheel, self._response_carried):
            self._carried = carried

    def _response_carried(self) -> None:
        self.count_carried()
        self._carried = None
        self._response_whole()

    def _response_whole(self) -> None:
        if self._keeps_client:
            then = Then.KEEP
        else:
            then = Then.CLOSE if self.upload is None or self.upload.whole else Then.LINGER
        self._finish(EndReason.ANSWERED, then)

    # What happens to the backend's connection

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the backend has finished sending."""
        side.finished = True
        self._backend_ended(side)

    def _backend_ended(self, side: Peer) -> None:
        if side.transport.may_be_cut:
            # RFC 9112, section 9.8: a response until close is not whole then.
            self._happened(BACKEND_LOST, EndReason.BACKEND_CLOSED, "no close_notify")
        else:
            self._happened(BACKEND_FINISHED, EndReason.BACKEND_CLOSED, "closed")

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: what came before it is still passed on, and ``lost`` follows."""
        self.is_failing = True
        self._session.expect(self.due)

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        error = failure.value
        if isinstance(error, ConnectionDone):
            self._backend_ended(side)
        elif isinstance(error, BROKEN_OFF):
            self._happened(BACKEND_LOST, EndReason.BACKEND_RESET, broken_cause(failure))
        else:
            self._happened(BACKEND_LOST, EndReason.INTERNAL_ERROR)

    # What happens to the client's

    def client_finished(self) -> None:
        """The client has finished sending before it has its response: it is taken for gone.

        A client that closes sends the same, and most that do so have closed.
        """
        self._happened(CLIENT_FINISHED, EndReason.CLIENT_CLOSED)

    def client_lost(self, reason: EndReason, cause: str) -> None:
        """The connection to the client is gone."""
        self._happened(CLIENT_LOST, reason, cause)

    def stop(self, reason: EndReason) -> None:
        """End, whatever is under way."""
        self._happened(STOPPED, reason)

    # Decisions

    def _happened(self, event: RequestEvent, reason: EndReason, cause: str = "", status: int = 0) -> None:
        """Do what follows from an event.

        :param reason: the end that it may lead to.
        :param status: what the client gets, where that does not follow from the reason.
        """
        action = REQUEST_TABLE[self.phase, event]
        if action is TRY_AGAIN:
            self._try_again(reason, cause)
        elif action is ANSWER:
            self._answer(reason, cause, status, in_doubt=event is BAD_REQUEST or event is REQUEST_LATE)
        elif action is COMPLETE and self._response is not None and self._response.ends_with_connection:
            end = self._response.at_end_of_connection()
            if end:
                self._session.client.transport.write(end)
            self._response_whole()
        else:
            self.cause = cause
            self._finish(reason, Then.CLOSE if action is GIVE_UP else Then.RESET)

    @property
    def _is_idempotent(self) -> bool:
        return self.head is not None and self.head.method in IDEMPOTENT

    @property
    def _may_repeat(self) -> bool:
        """Whether the request may be sent once more: no response has begun, and all of it is here."""
        return (
            self._is_idempotent
            and not self._unread
            and not self._interim
            and (self.upload is None or self.upload.keeps)
        )

    def _try_again(self, reason: EndReason, cause: str) -> None:
        """The connection has ended before the head of a response: send the request once more, or answer."""
        connection, slot, pool = self.backend, self._slot, self._pool
        assert connection is not None
        assert slot is not None
        self._drop_backend()
        if connection.served:
            # The backend has closed it, and the request has crossed that: it says nothing about the backend.
            if self._may_repeat and not self._dialled_anew:
                self._dialled_anew = True
                self._reach_again()
                dialler = self.dialler or self._dial()
                self._slot = None
                dialler.dial_anew(slot)
                return
        else:
            assert self.dialler is not None
            if self._may_repeat and NO_RESPONSE in pool.http.retry_on:
                self._reach_again()
                self._slot = None
                self.dialler.again(cause)
                return
            self.dialler.reset_unanswered(cause)
        self._answer(reason, cause)

    def _reach_again(self) -> None:
        self.phase = REACHING
        self.dial_until = self.context.clock() + self._pool.dial_timeout
        upload, client = self.upload, self._session.client
        if upload is not None and client.stopped and not upload.is_full:
            client.resumeProducing()

    def _answer(
        self,
        reason: EndReason,
        cause: str = "",
        status: int = 0,
        page: Page | None = None,
        extra: bytes = b"",
        *,
        in_doubt: bool = False,
    ) -> None:
        """Answer the request here.

        :param status: by default what the reason stands for.
        :param page: the body; by default that of error pages, or a line of text.
        :param extra: more lines, each with CR LF.
        :param in_doubt: whether it is not known where the next request begins.
        """
        session, head, context, upload = self._session, self.head, self.context, self.upload
        self.cause = cause
        self.status = status = status or STATUS_OF.get(reason, 502)
        self._drop_backend()
        keeps = (
            not in_doubt
            and head is not None
            and (upload is None or upload.whole)
            and keeps_alive(head)
            and session.may_keep(context)
        )
        if status == UNAVAILABLE:
            extra += RETRY_AFTER
        data, self.response_size = own_answer(
            status,
            context.date(),
            page=page or context.http.pages.get(status),
            extra=extra,
            edits=NO_EDITS if self.route is None else self.route.response_headers,
            with_body=head is None or head.method != b"HEAD",
            keep_alive=keeps,
            version=b"1.1" if head is None else head.version,
        )
        session.client.transport.write(data)
        is_whole = not in_doubt and (upload is None or upload.whole)
        self._finish(reason, Then.KEEP if keeps else Then.CLOSE if is_whole else Then.LINGER)

    # Deadlines

    @property
    def response_timeout(self) -> float:
        """Seconds that the backend may take to answer."""
        timeout = None if self.route is None else self.route.response_timeout
        return self._pool.http.response_timeout if timeout is None else timeout

    @property
    def stall_timeout(self) -> float:
        """Seconds that a response may pause; for a stream of events those that the frontend allows."""
        return self.context.timeouts.idle_timeout if self.has_event_stream else self._pool.http.stall_timeout

    @property
    def holds_client(self) -> bool:
        """Whether the client cannot send, because the backend takes no more."""
        carried = self._carried
        return self._session.client.stopped or (carried is not None and carried.is_request and carried.waits)

    @property
    def is_held(self) -> bool:
        """Whether the response cannot go on, because the client takes no more."""
        carried = self._carried
        return self._session.is_full or (carried is not None and not carried.is_request and carried.waits)

    @property
    def side(self) -> HttpClient:
        """The client's side."""
        return self._session.client

    @property
    def due(self) -> float:
        """When the first deadline comes, by how things stand now."""
        return next_deadline(self).due

    def check(self, now: float) -> None:
        """End what has lasted too long.

        :param now: by the frontend's clock.
        """
        deadline = next_deadline(self)
        if now >= deadline.due and not excuses(self, deadline, now):
            self._happened(deadline.event, deadline.reason)

    # The end

    def _drop_backend(self, orderly: bool = False) -> None:
        """Close the connection to the backend, which gets no further request.

        :param orderly: whether the backend has nothing to do any more.
        """
        self._stop_carrying()
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.session = NOT_IN_USE
            backend.close(orderly)

    def _stop_carrying(self) -> None:
        if self._carried is not None:
            self.count_carried()
            carried, self._carried = self._carried, None
            carried.stop()

    def _give_back(self, backend: BackendHttpConnection) -> None:
        """Keep a connection for the next request, if both messages are whole."""
        if not self._reuses_backend or backend.finished or backend.gone or backend.transport.ending:
            self._drop_backend(orderly=True)
            return
        self.backend = None
        backend.served += 1
        waits = backend.stopped or backend.held_back
        if backend.limiter is not None:
            backend.release_limiter()
            backend.transport.read_at_most(CHUNK)
        if waits:
            backend.resumeProducing()
        self._idle.put(backend)

    def _finish(self, reason: EndReason, then: Then) -> None:
        """Give back everything taken, have the request recorded, and leave the client to the session; runs
        once."""
        self.phase = OVER
        self.reason = reason
        backend, body = self.backend, self._response
        if body is not None:
            self.response_size = body.size
        if backend is not None:
            # Another request would overtake bytes that are still being carried.
            is_whole = self._carried is None and (self.upload is None or self.upload.whole)
            if reason is EndReason.ANSWERED and is_whole:
                self._give_back(backend)
            else:
                self._drop_backend()
        if self.dialler is not None:
            self.dialler.end()
        elif self._slot is not None:
            self._slot.release()
        self._count(reason)
        self._session.request_over(reason, then)

    def count_response(self, reason: EndReason) -> None:
        """Count the request as one that has ended, and its response."""
        stats, served_by, kind = self.context.registry.stats, self.served_by, self.status // 100
        stats.requests_ended[reason] += 1
        stats.responses[kind] += 1
        if served_by is not None:
            served_by.stats.responses[kind if self.first_byte is not None else 0] += 1

    def _count(self, reason: EndReason) -> None:
        registry, served_by = self.context.registry, self.served_by
        stats = registry.stats
        self.count_response(reason)
        stats.bytes_in += self.client_bytes
        stats.bytes_out += self.backend_bytes
        upstream: SessionStats | None = None
        if served_by is not None:
            upstream = served_by.stats
        elif self.route is not None and self.route.pool is not None:
            upstream = self.route.pool.stats
        if upstream is not None:
            upstream.ended[reason] += 1
            upstream.bytes_in += self.client_bytes
            upstream.bytes_out += self.backend_bytes
        registry.request_ended(self, reason)

    # What others ask

    @property
    def state(self) -> str:
        """What the phase is called."""
        if self.phase is REACHING and self.dialler is not None and self.dialler.queued:
            return QUEUED
        return STATE_NAMES[self.phase]

    @property
    def carried(self) -> tuple[int, int]:
        """See ``registry.BytesCarrier``."""
        return self.client_bytes, self.backend_bytes

    @property
    def buffered(self) -> int:
        """Bytes that are held for either side, beyond what the client's transport holds."""
        kept = 0 if self.upload is None else self.upload.kept_size
        return kept + (0 if self.backend is None else self.backend.in_flight())

    @property
    def sent_after(self) -> float:
        """Seconds from its first byte to sending it to a backend."""
        return self.sent_at - self.began

    @property
    def unique_id(self) -> str | None:
        """What the client's connection was called to the backend in a PROXY header."""
        return None if self._outgoing_header is None else self._outgoing_header.unique_id

    @property
    def request_size(self) -> int:
        """Bytes of the request's body."""
        return 0 if self.upload is None else self.upload.size

    def record(self) -> RequestRecord:
        """See ``registry.EndedRequest``."""
        return self._session.record_of(self)
