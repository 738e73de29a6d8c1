"""One request, from its head to its record: the one place where it is decided what becomes of it, and why.

What follows from what in which phase is written down in ``phases``. An exchange owns all that is taken for
its request: the slot of a backend, the connection to it, and the dial. The connection to the client is the
session's: an exchange writes to it, and says in the end what is to become of it.

Most requests have no body, and find a connection to their backend open. What others need is made for them:
an ``Upload`` for a body, an ``HttpDialler`` where a connection has to be opened, a ``Response`` for what does
not come at once.
"""

from __future__ import annotations

import typing
from functools import partial
from typing import ClassVar

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.config.http import NO_RESPONSE
from tcpbalance.http.answers import RETRY_AFTER, STATUS_OF, own_answer
from tcpbalance.http.bodies import request_body
from tcpbalance.http.client_cookies import ClientCookies
from tcpbalance.http.client_side import CLOSE, KEEP, RESET, ClientSession, Then
from tcpbalance.http.connect.answers import ESTABLISHED, destination_of, refused_answer
from tcpbalance.http.connect.opening import TunnelOpening
from tcpbalance.http.connect.refusals import ConnectRefusal
from tcpbalance.http.context import HttpContext
from tcpbalance.http.dialling import HttpDialler
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.idle import IdleConnections
from tcpbalance.http.pages import Page
from tcpbalance.http.phases import (
    ANSWER,
    ANSWERING,
    AWAITING,
    BACKEND_FINISHED,
    BACKEND_LOST,
    BAD_REQUEST,
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
from tcpbalance.http.reported import packed_client, request_id
from tcpbalance.http.request_deadlines import NO_LOOK, excuses, next_deadline, next_look, response_timeout
from tcpbalance.http.request_limits import RequestLimits
from tcpbalance.http.response import Response
from tcpbalance.http.routes import Route
from tcpbalance.http.routing import (
    TUNNEL_ROUTE,
    check_access,
    check_limits,
    check_size,
    find_route,
    fixed_answer,
    offered_protocols,
)
from tcpbalance.http.upload import KEPT, Upload
from tcpbalance.http.upstream import NOT_IN_USE, BackendHttpConnection
from tcpbalance.net.addresses import address_text
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.tls.errors import broken_cause
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.facts import QUEUED
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import ANSWERED, EndReason
from tcpbalance.stats import SessionStats
from tcpbalance.wire.http.errors import BadRequest, BadResponse
from tcpbalance.wire.http.fields import expects_continue, keeps_alive, upgrade
from tcpbalance.wire.http.forwarded import ForwardedClient
from tcpbalance.wire.http.framing import NO_BODY, request_framing
from tcpbalance.wire.http.head import RequestHead, ResponseHead, has_head_method
from tcpbalance.wire.http.rewrite import NO_EDITS
from tcpbalance.wire.http.target import RequestTarget, read_target

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
"""Methods whose requests may be sent again: RFC 9110, section 9.2.2."""

UNAVAILABLE = 503

STATE_NAMES = {REACHING: "dialling", AWAITING: "unanswered", ANSWERING: "relaying", OVER: "ending"}
"""What the phases are called."""


def _let_read_on(backend: BackendHttpConnection) -> None:
    """Have what comes of a backend read at once again, whatever has held it back."""
    waits = backend.stopped or backend.held_back
    if backend.limiter is not None:
        backend.release_limiter()
        backend.transport.read_at_most(CHUNK)
    if waits:
        backend.resumeProducing()


class ExchangeOwner(ClientSession, typing.Protocol):
    """The session of a request.

    :ivar packed: the client's packed address, None where it has none.
    :ivar preread: what is known of a client that had to send something first; else None.
    :ivar text: the client's address; None until a request was recorded.
    :ivar dry_run_limits: limits that would have acted on it, were they enforced.
    """

    dry_run_limits: tuple[DryRunLimit, ...]
    packed: bytes | None
    preread: Preread | None
    text: str | None

    def reported_client(self, head: RequestHead, context: HttpContext) -> ForwardedClient:
        """Give the client as backends are to know it: behind a trusted proxy, what that reports."""

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
    :param now: by the same.
    :ivar started: when its first byte came, in seconds since the epoch.
    :ivar head: the request's, None where that was none.
    :ivar target: what it is for; None while that is not known.
    :ivar route: what becomes of it; None while that is not known.
    :ivar pool: serves it; set while a backend is looked for, and from then on. So are ``heads``.
    :ivar heads: writes the heads of its route.
    :ivar phase: see ``phases``.
    :ivar status: of the final response that the client is sent; 0 while it is sent none.
    :ivar reason: why it has ended.
    :ivar cause: what was wrong, in a few words; empty when nothing was.
    :ivar client_bytes: bytes received from the client, with the head.
    :ivar backend_bytes: the same from backends.
    :ivar response_size: bytes of the body that the client was sent, without framing.
    :ivar reuses_backend: whether the connection to the backend may have another request after the response.
    :ivar served_by: the backend that the request was sent to last.
    :ivar backend: the connection to it; None while there is none.
    :ivar client: the client as backends are to know it; None while no backend is looked for.
    :ivar packed: the packed address of that, by which a backend is chosen; None where it has none.
    :ivar slot: that of its backend; None while it has none.
    :ivar cookies: by which that is known again; None where none are looked for.
    :ivar upload: its body; None where it has none.
    :ivar dialler: what opens a connection for it; None where one waited.
    :ivar opening: what opens a tunnel for it; None where it asks for none.
    :ivar response: what is coming; None before its first byte.
    :ivar last_look: see ``request_deadlines``.
    :ivar is_bare: whether it is a usual one; see ``bare_exchange``.
    """

    dialler_kind: ClassVar[type[HttpDialler]] = HttpDialler

    __slots__ = (
        "_framing",
        "_idle",
        "_limits",
        "backend",
        "backend_bytes",
        "began",
        "cause",
        "client",
        "client_bytes",
        "context",
        "cookies",
        "dialler",
        "first_byte",
        "head",
        "head_time",
        "heads",
        "is_bare",
        "last_look",
        "opening",
        "packed",
        "phase",
        "pool",
        "reason",
        "request_id",
        "response",
        "response_size",
        "reused",
        "reuses_backend",
        "route",
        "sent_at",
        "served_by",
        "session",
        "slot",
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
    cookies: ClientCookies | None
    upload: Upload | None
    head_time: float | None
    first_byte: float | None
    served_by: Backend | None
    slot: Slot | None
    backend: BackendHttpConnection | None
    dialler: HttpDialler | None
    opening: TunnelOpening | None
    response: Response | None
    reason: EndReason | None
    request_id: bytes | None
    phase: RequestPhase
    heads: RouteHeads
    pool: Pool

    _idle: IdleConnections
    _limits: RequestLimits | None

    def __init__(self, session: ExchangeOwner, context: HttpContext, began: float, now: float) -> None:
        self.session = session
        self.context = context
        self.began = began
        self.head_time = now - began
        # In two steps: to call what an object holds as if it were its method takes twice as long.
        wall_clock = context.wall_clock
        self.started = wall_clock() - self.head_time
        self.phase = REACHING
        self.head = self.target = self.route = self.client = self.packed = self.cookies = self.upload = None
        self.first_byte = self.request_id = self.reason = self.opening = self._limits = None
        self.served_by = self.slot = self.backend = self.dialler = self.response = None
        self.cause = ""
        self.status = self.client_bytes = self.backend_bytes = self.response_size = 0
        self._framing = NO_BODY
        self.sent_at = 0.0
        self.reused = self.reuses_backend = self.is_bare = False
        self.last_look = NO_LOOK
        context.registry.stats.requests_total += 1

    # The request

    def refuse(self, reason: EndReason, cause: str, status: int, came: bytes | bytearray) -> None:
        """Answer a client whose head cannot be read; what follows it cannot be, either.

        :param came: what has come of it.
        """
        self.client_bytes = len(came)
        self.head_time = None
        self._answer(reason, cause, status, with_body=not has_head_method(came), in_doubt=True)

    def begin(self, head: RequestHead, rest: bytes) -> bytes:
        """Begin with the head.

        :param rest: what came behind it.
        :returns: what of that is no part of the request.
        """
        self.head = head
        self.client_bytes = head.size
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
            if self.context.request_limits is not None:
                self._keep_within(self.context.request_limits, head)
            self._follow_route(head, self.target)
        except RequestRefused as error:
            # What comes behind a request for a tunnel may be meant for that.
            in_doubt = head.method == b"CONNECT"
            self._answer(error.reason, error.cause, error.status, extra=error.extra, in_doubt=in_doubt)
        return rest

    def _keep_within(self, limits: RequestLimits, head: RequestHead) -> None:
        """Count the request among those under way, until it is over.

        :raises RequestRefused: there are as many as there may be, or its client sends them too fast.
        """
        check_limits(limits, self._reported(head), self.context.dry_run, self.session)
        self._limits = limits

    def _reported(self, head: RequestHead) -> bytes | None:
        """Give the packed address of the client, which a trusted proxy may report; None where it has none."""
        client = self.session.reported_client(head, self.context)
        return packed_client(client) if client.trusted else self.session.packed

    def _follow_route(self, head: RequestHead, target: RequestTarget) -> None:
        """Find out what becomes of the request, and begin with it.

        :raises RequestRefused: it is none that is served.
        """
        context = self.context
        route = self.route = find_route(context, head, target, self.session.preread)
        if route is None:
            self._answer(EndReason.NO_ROUTE)
            return
        if route.access is not None:
            check_access(route.access, self._reported(head))
        if route.pool is None and route.pools is None:
            if route is TUNNEL_ROUTE:
                self._open_tunnel(head, target)
                return
            answer = fixed_answer(route, target)
            self._answer(EndReason.ANSWERED_HERE, "", answer.status, answer.page, answer.extra)
        else:
            if self.upload is not None:
                check_size(route, self._framing, self.upload)
            self._serve(route, head)

    def _serve(self, route: Route, head: RequestHead) -> None:
        """Have a backend serve it, of the route's pool or of one of its pools."""
        context, session, pool = self.context, self.session, route.pool
        heads = self.heads = context.heads[route]
        self.client = client = session.reported_client(head, context)
        # Of a connection of its own, the session knows.
        self.packed = packed_client(client) if client.trusted else session.packed
        if heads.names_requests:
            self.request_id = request_id(head, client)
        if route.mirror is not None:
            self._copy_to(route.mirror, head, client)
        if pool is None or pool.cookie_affinity is not None:
            cookies = self.cookies = ClientCookies(head, client.scheme == b"https", self.started)
            pool = cookies.choose_pool(route, self.packed, context.rng)
            self.packed = cookies.client_of(pool, self.packed)
        self._reach(pool)

    def _copy_to(self, mirror: Pool, head: RequestHead, client: ForwardedClient) -> None:
        """Have a copy sent to another pool, unless the connection may change to another protocol."""
        assert self.target is not None
        if b"upgrade" in head.special and self._offered(head):
            return
        self.context.mirrors.copy(
            self.context,
            mirror,
            self.packed,
            method=head.method,
            framing=self._framing,
            upload=self.upload,
            write_head=partial(self.heads.request, head, self.target, self._framing, client),
            request_id=self.request_id,
        )

    def client_sent(self, data: bytes) -> bytes:
        """Take bytes that the client has sent.

        :returns: what of them is no part of the request; while ``is_uploading``, what is left for a later
            turn.
        """
        upload = self.upload
        return data if upload is None or upload.whole else self._take(upload, data)

    def read_client_on(self) -> None:
        """Read more of the body, unless no more of it can be kept."""
        upload, backend = self.upload, self.backend
        is_full = upload is not None and upload.is_full if backend is None else backend.transport.full
        if not is_full:
            self.session.client.resumeProducing()

    @property
    def is_uploading(self) -> bool:
        """Whether some of the request's body is still to be taken."""
        return self.phase is not OVER and self.upload is not None and not self.upload.whole

    def _take(self, upload: Upload, data: bytes) -> bytes:
        limit = None if self.route is None else self.route.body_size
        self.client_bytes += len(data)
        try:
            passed, rest = upload.feed(data, limit, self.context.wheel.now)
        except (BadRequest, RequestRefused) as error:
            self.happened(BAD_REQUEST, EndReason.BAD_REQUEST, error.cause, error.status)
            return b""
        self.client_bytes -= len(rest)
        backend = self.backend
        if backend is None:
            # Before its route is known, it may be answered here.
            if upload.is_full and self.route is not None:
                self.session.client.pauseProducing()
        else:
            if upload.keeps and upload.is_full:
                upload.keep_no_more()
            backend.transport.write(passed)
            if upload.whole:
                self._request_whole(backend)
            elif not rest:
                self._carry_request(upload, backend, limit)
        return rest

    def _carry_request(self, upload: Upload, backend: BackendHttpConnection, limit: int | None) -> None:
        """Let the kernel carry what is left of a long body or chunk, where it can.

        :param limit: bytes that the body may have; None for any number.
        """
        client, rest = self.session.client, upload.long_rest(limit)
        if rest is not None and not client.stopped and client.limiter is None:
            wheel, done = self.context.wheel, self._request_carried
            # A long body is not copied; what the kernel carries could not be.
            upload.cut_copy()
            upload.carry(rest, client.transport, backend.transport, wheel, done)

    def _request_carried(self) -> None:
        self.count_carried()
        assert self.upload is not None
        assert self.backend is not None
        self.upload.carry_no_more()
        if self.upload.whole:
            self._request_whole(self.backend)

    def _request_whole(self, backend: BackendHttpConnection) -> None:
        if self.pool.times_responses and self.phase is AWAITING and self.slot is not None:
            self.slot.request_sent()
        backend.transport.unregisterProducer()
        if self.session.client.stopped:
            self.session.client.resumeProducing()
        self.session.expect(self.due)

    def count_carried(self) -> None:
        """Take note of what the kernel has carried."""
        if self.upload is not None:
            self.client_bytes += self.upload.count_carried()
        if self.response is not None:
            carried = self.response.count_carried()
            self.response.passed += carried
            self.backend_bytes += carried

    # Reaching a backend

    def _reach(self, pool: Pool) -> None:
        """Give the request to a connection that waits, or have one opened."""
        client = self.packed
        self.pool = pool
        idle = self._idle = self.context.idle[pool]
        backend, choices = pool.selection.choose(client)
        if backend is None:
            self._dial().begin(None, choices)
            return
        try:
            slot = pool.take_for_request(backend, client)
        except NoCapacityError:
            self._dial().go_on_refused(backend, choices)
            return
        connection = idle.take(backend, self._is_repeatable())
        if connection is None:
            self._dial().begin(slot, choices)
            return
        if choices is not None:
            choices.close()
        slot.reused()
        self.slot = slot
        self._send(connection)

    def _is_repeatable(self) -> bool:
        """Whether the request may be sent twice, as far as is known before any of it is sent."""
        assert self.head is not None
        long_body = self.upload is not None and (self._framing.length or KEPT) >= KEPT
        return not long_body and self.head.method in IDEMPOTENT

    def _dial(self) -> HttpDialler:
        context = self.context
        dialler = self.dialler = self.dialler_kind(
            self.pool,
            context.connector,
            self.packed,
            context.clock,
            self,
            idle=self._idle,
            repeatable=self._is_repeatable(),
        )
        self.session.expect(dialler.until)
        return dialler

    def attempt_begins(self) -> None:
        """See ``dialler.Caller``."""
        assert self.dialler is not None
        self.dialler.introduce(self.session.client.transport, self.session.preread)

    def queued(self) -> None:
        """See ``dialler.Caller``."""

    def left_queue(self, waited: float) -> None:
        """See ``dialler.Caller``."""
        assert self.dialler is not None
        self.dialler.until += waited
        self.session.expect(self.dialler.until)

    def end(self, reason: EndReason) -> None:
        """See ``dialler.Caller``: no backend is left to be tried."""
        failure = None if self.dialler is None else self.dialler.dial.failure
        self.happened(UNREACHED, reason, "" if failure is None else failure.cause)

    def backend_connected(self, side: Peer) -> None:
        """See ``dialler.Caller``."""
        assert isinstance(side, BackendHttpConnection)
        dialler = self.dialler
        assert dialler is not None
        self.slot = dialler.slot
        if side.served:
            # It was made for an attempt before this one.
            dialler.outgoing_header = None
        elif self.pool.judges_connect_times:
            dialler.judge(side.transport)
        self._send(side)

    def _send(self, connection: BackendHttpConnection) -> None:
        """Give a connection all that has come of the request."""
        session, context, upload, dialler = self.session, self.context, self.upload, self.dialler
        connection.session = self
        self.backend = connection
        self.phase = AWAITING
        if context.limits.bandwidth_per_connection is not None:
            session.limit_bandwidth(connection)
        backend = self.served_by = connection.backend
        self.reused = connection.served > 0
        backend.stats.requests_total += 1
        data = self._request_head(backend)
        if dialler is not None and dialler.outgoing_header is not None and self.pool.tls is None:
            data = dialler.outgoing_header.header + data
        clock = context.clock
        self.sent_at = clock()
        connection.transport.write(data if upload is None else data + upload.kept)
        if upload is None or upload.whole:
            due = self.sent_at + response_timeout(self)
            if due < session.due:
                session.expect(due)
        if upload is not None:
            if upload.is_full or not (self._is_idempotent or connection.served):
                upload.keep_no_more()
            if not upload.whole:
                self._await_body(connection)

    def _await_body(self, connection: BackendHttpConnection) -> None:
        """Pass on what is still to come of the body."""
        if self.pool.times_responses and self.slot is not None:
            self.slot.request_unfinished()
        client = self.session.client
        connection.transport.registerProducer(client, True)
        client.resumeProducing()
        self.session.expect(self.due)

    def _request_head(self, backend: Backend) -> bytes:
        head, target, client = self.head, self.target, self.client
        assert head is not None
        assert target is not None
        assert client is not None
        return self.heads.request(
            head,
            target,
            self._framing,
            client,
            backend,
            host=self.pool.http.host,
            request_id=self.request_id,
            upgrade=b", ".join(self._offered(head)) if b"upgrade" in head.special else b"",
        )

    def _offered(self, head: RequestHead) -> list[bytes]:
        assert self.route is not None
        return offered_protocols(self.route, head, self.upload is not None)

    # A tunnel

    def _open_tunnel(self, head: RequestHead, target: RequestTarget) -> None:
        """Connect the client to what it names, if it may have that.

        :raises RequestRefused: the request has a body, or names no host.
        """
        context, packed = self.context, self.session.packed
        assert context.connect is not None
        if self.upload is not None:
            raise RequestRefused(400, "body_of_connect")
        destination = destination_of(target)
        opening = self.opening = TunnelOpening(
            context.connect, context.connector, context.clock, destination, self
        )
        opening.begin(head, packed)

    def tunnel_refused(self, refusal: ConnectRefusal) -> None:
        """See ``opening.OpeningCaller``."""
        context, opening = self.context, self.opening
        assert opening is not None
        context.registry.stats.connect_refused[refusal] += 1
        if refusal is ConnectRefusal.WRONG_CREDENTIALS and context.admission is not None:
            context.admission.control.count_refusal(self.session.packed)
        page, extra = refused_answer(refusal, opening.address)
        # What comes next may be meant for the tunnel, and is not to be read as a request.
        self._answer(
            EndReason.TUNNEL_REFUSED,
            refusal.word,
            refusal.status,
            context.http.pages.get(refusal.status, page),
            extra,
            in_doubt=True,
        )

    def tunnel_failed(self, reason: EndReason, cause: str) -> None:
        """See ``opening.OpeningCaller``."""
        self._answer(reason, cause, in_doubt=True)

    def tunnel_reached(self, side: Peer) -> None:
        """See ``opening.OpeningCaller``."""
        self.status = 200
        self.served_by = Backend(address_text(side.transport.getPeer()))
        self.session.client.transport.write(ESTABLISHED)
        self.session.change_protocol(self, b"")

    def give_up_opening(self) -> TunnelOpening:
        """Leave the connection to the destination to the caller, which records the request as well."""
        assert self.opening is not None
        self.phase = OVER
        return self.opening

    # The response

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``upstream.ConnectionUser``."""
        self.backend_bytes += len(data)
        if connection.limiter is not None:
            connection.limiter.read(len(data))
        if self.response is not None:
            self.response.feed(data)
        else:
            clock = self.context.clock
            self.first_byte = clock() - self.sent_at
            self._begin_response(connection, data)

    def _begin_response(self, connection: BackendHttpConnection, data: bytes) -> None:
        """The first bytes have come from the backend."""
        self.response = Response(self, connection)
        self.response.feed(data)

    @property
    def names_client(self) -> bool:
        """See ``response.AnsweredRequest``."""
        return self.dialler is not None and self.dialler.outgoing_header is not None

    def change_protocol(self, head: ResponseHead, rest: bytes) -> None:
        """See ``response.AnsweredRequest``: the connections are relayed from here on."""
        assert self.head is not None
        chosen = upgrade(head)
        if not chosen or not set(chosen) <= set(self._offered(self.head)):
            raise BadResponse("the backend changes to a protocol that was not asked for")
        assert self.slot is not None
        self.slot.responded(head.status)
        self.status = head.status
        self.response = None
        extra = b"" if self.cookies is None else self.cookies.lines(self.slot.backend)
        self.session.client.transport.write(self.heads.switch(head, b", ".join(chosen), extra))
        self.session.change_protocol(self, rest)

    def give_up_backend(self) -> tuple[BackendHttpConnection, Slot, Pool]:
        """Leave the connection and its slot to the caller, which records the request as well."""
        connection, slot = self.backend, self.slot
        assert connection is not None
        assert slot is not None
        self.phase = OVER
        self.backend = self.slot = None
        if self.dialler is not None:
            self.dialler.slot = None
            self.dialler.end()
        return connection, slot, self.pool

    # What happens to the backend's connection

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the backend has finished sending."""
        side.finished = True
        self._backend_ended(side)

    def _is_over_by_what_waits(self) -> bool:
        """Pass on what has come before the end of the backend's connection.

        :returns: whether the request is over by that.
        """
        if self.response is not None:
            self.response.pass_waiting()
        return self.phase is OVER

    def _backend_ended(self, side: Peer) -> None:
        if self._is_over_by_what_waits():
            return
        if side.transport.may_be_cut:
            # RFC 9112, section 9.8: a response until close is not whole then.
            self.happened(BACKEND_LOST, EndReason.BACKEND_CLOSED, "no close_notify")
        else:
            self.happened(BACKEND_FINISHED, EndReason.BACKEND_CLOSED, "closed")

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: what came before it is still passed on, and ``lost`` follows."""
        assert isinstance(side, BackendHttpConnection)
        side.is_failing = True
        self.session.expect(self.due)

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        error = failure.value
        if isinstance(error, ConnectionDone):
            self._backend_ended(side)
        elif self._is_over_by_what_waits():
            return
        elif isinstance(error, BROKEN_OFF):
            self.happened(BACKEND_LOST, EndReason.BACKEND_RESET, broken_cause(failure))
        else:
            self.happened(BACKEND_LOST, EndReason.INTERNAL_ERROR)

    # What happens to the client's

    def client_finished(self) -> None:
        """The client has finished sending before it has its response: it is taken for gone.

        A client that closes sends the same, and most that do so have closed.
        """
        self.happened(CLIENT_FINISHED, EndReason.CLIENT_CLOSED)

    def client_lost(self, reason: EndReason, cause: str) -> None:
        """The connection to the client is gone."""
        self.happened(CLIENT_LOST, reason, cause)

    def stop(self, reason: EndReason) -> None:
        """End, whatever is under way."""
        self.happened(STOPPED, reason)

    # Decisions

    def happened(self, event: RequestEvent, reason: EndReason, cause: str = "", status: int = 0) -> None:
        """Do what follows from an event.

        :param reason: the end that it may lead to.
        :param status: what the client gets, where that does not follow from the reason.
        """
        action = REQUEST_TABLE[self.phase, event]
        if action is TRY_AGAIN:
            self._try_again(reason, cause)
        elif action is ANSWER:
            self._answer(reason, cause, status, in_doubt=event is BAD_REQUEST or event is REQUEST_LATE)
        elif action is COMPLETE and self.response is not None and self.response.ends_with_connection:
            self.response.end_with_connection()
        else:
            self.cause = cause
            self.finish(reason, CLOSE if action is GIVE_UP else RESET)

    @property
    def _is_idempotent(self) -> bool:
        return self.head is not None and self.head.method in IDEMPOTENT

    @property
    def _may_repeat(self) -> bool:
        """Whether the request may be sent once more: no response has begun, and all of it is here."""
        return self._is_idempotent and self.response is None and (self.upload is None or self.upload.keeps)

    def _has_crossed_end(self, connection: BackendHttpConnection) -> bool:
        """Whether a backend has closed its connection before any of the request came to it.

        Its end (FIN) would have acknowledged what had come, and what is closed reads nothing.
        """
        upload = self.upload
        if self.response is not None or not connection.finished or (upload is not None and not upload.keeps):
            return False
        size = len(self._request_head(connection.backend)) + (0 if upload is None else upload.kept_size)
        return connection.transport.took_nothing(size)

    def _try_again(self, reason: EndReason, cause: str) -> None:
        """The connection has ended before the head of a response: send the request once more, or answer."""
        connection, slot, dialler = self.backend, self.slot, self.dialler
        assert connection is not None
        assert slot is not None
        may_repeat = self._may_repeat or (connection.served > 0 and self._has_crossed_end(connection))
        self._drop_backend()
        if connection.served:
            # The backend has closed it, and the request has crossed that: it is no failure of the backend.
            self._idle.ended(connection)
            if may_repeat and (dialler is None or not dialler.takes_none_that_waits):
                dialler = dialler or self._dial()
                self._reach_again(dialler)
                self.slot = None
                dialler.dial_anew(slot)
                return
        else:
            assert dialler is not None
            if may_repeat and NO_RESPONSE in self.pool.http.retry_on:
                self._reach_again(dialler)
                self.slot = None
                dialler.again(cause)
                return
            dialler.reset_unanswered(cause)
        self._answer(reason, cause)

    def _reach_again(self, dialler: HttpDialler) -> None:
        self.phase = REACHING
        dialler.begin_time()
        upload, client = self.upload, self.session.client
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
        with_body: bool = True,
        in_doubt: bool = False,
    ) -> None:
        """Answer the request here.

        :param status: by default what the reason stands for.
        :param page: the body; by default that of error pages, or a line of text.
        :param extra: more lines, each with CR LF.
        :param with_body: whether the body is sent, where the method is not HEAD.
        :param in_doubt: whether it is not known where the next request begins.
        """
        session, head, context, upload = self.session, self.head, self.context, self.upload
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
            with_body=with_body and (head is None or head.method != b"HEAD"),
            keep_alive=keeps,
            version=b"1.1" if head is None else head.version,
        )
        session.client.transport.write(data)
        self.finish(reason, KEEP if keeps else CLOSE)

    # Deadlines

    @property
    def due(self) -> float:
        """When its deadlines are to be looked at."""
        return next_look(self)

    def check(self, now: float) -> None:
        """End what has lasted too long.

        :param now: by the frontend's clock.
        """
        deadline = next_deadline(self)
        if now >= deadline.due and not excuses(self, deadline, now):
            self.happened(deadline.event, deadline.reason)

    # The end

    def _drop_backend(self, orderly: bool = False) -> None:
        """Close the connection to the backend, which gets no further request.

        :param orderly: whether the backend has nothing to do any more.
        """
        self._carry_no_more()
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.session = NOT_IN_USE
            backend.close(orderly)

    def _carry_no_more(self) -> None:
        self.count_carried()
        if self.upload is not None:
            self.upload.carry_no_more()
        if self.response is not None:
            self.response.carry_no_more()

    def _give_back(self, backend: BackendHttpConnection) -> None:
        """Keep a connection for the next request, if both messages are whole."""
        if not self.reuses_backend:
            self._drop_backend(orderly=True)
            return
        self.backend = None
        backend.served += 1
        if self._idle.put(backend) and (backend.stopped or backend.limiter is not None):
            _let_read_on(backend)

    def finish(self, reason: EndReason, then: Then) -> None:  # noqa: C901 - all is given back in one place
        """Give back everything taken, have the request recorded, and leave the client to the session; runs
        once.

        :param then: what becomes of the client's connection.
        """
        self.phase = OVER
        self.reason = reason
        backend, response, upload = self.backend, self.response, self.upload
        if backend is not None:
            # Another request would overtake bytes that are still being carried.
            if reason is ANSWERED and (upload is None or not upload.is_under_way):
                self._give_back(backend)
            else:
                self._drop_backend()
        if upload is not None:
            upload.cut_copy()
        if response is not None:
            if response.body is not None:
                self.response_size = response.body.size
            self.response = None
        if self.dialler is not None:
            self.dialler.end()
        elif self.slot is not None:
            self.slot.release()
        elif self.opening is not None:
            self.opening.end()
        self._count(reason)
        self.session.request_over(reason, then)

    def count_response(self, reason: EndReason) -> None:
        """Count the request as one that has ended, and its response."""
        if self._limits is not None:
            self._limits.end()
        stats, served_by, kind = self.context.registry.stats, self.served_by, self.status // 100
        stats.requests_ended[reason] += 1
        stats.responses[kind] += 1
        if served_by is not None:
            served_by.stats.responses[kind if self.first_byte is not None else 0] += 1

    def _count(self, reason: EndReason) -> None:
        registry, client_bytes, backend_bytes = self.context.registry, self.client_bytes, self.backend_bytes
        self.count_response(reason)
        stats: SessionStats = registry.stats
        stats.bytes_in += client_bytes
        stats.bytes_out += backend_bytes
        if self.client is not None:
            stats = self.pool.stats if self.served_by is None else self.served_by.stats
            stats.ended[reason] += 1
            stats.bytes_in += client_bytes
            stats.bytes_out += backend_bytes
        registry.request_ended(self, reason)

    # What others ask

    @property
    def state(self) -> str:
        """What the phase is called."""
        if self.phase is REACHING and self.dialler is not None and self.dialler.queued:
            return QUEUED
        return STATE_NAMES[self.phase]

    @property
    def pool_name(self) -> str | None:
        """What the pool is called that has to serve it; None where none has."""
        return None if self.client is None else self.pool.name

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
        outgoing = None if self.dialler is None else self.dialler.outgoing_header
        return None if outgoing is None else outgoing.unique_id

    @property
    def request_size(self) -> int:
        """Bytes of the request's body."""
        return 0 if self.upload is None else self.upload.size

    def record(self) -> RequestRecord:
        """See ``registry.EndedRequest``."""
        return self.session.record_of(self)
