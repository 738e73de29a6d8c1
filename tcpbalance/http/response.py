"""The response to one request, on its way from the backend's connection to the client's."""

from __future__ import annotations

import re
import typing

from tcpbalance.http import carried_body
from tcpbalance.http.bodies import PassedBody, RunningBody, response_body
from tcpbalance.http.carried_body import CarriableBody
from tcpbalance.http.client_cookies import ClientCookies
from tcpbalance.http.client_look import ClientLook
from tcpbalance.http.client_side import CLOSE, KEEP, ClientSession, Then
from tcpbalance.http.context import HttpContext
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.phases import ANSWERING, AWAITING, BAD_RESPONSE, RequestEvent, RequestPhase
from tcpbalance.http.upload import Upload
from tcpbalance.http.upstream import MAX_INTERIM, BackendHttpConnection
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.errors import BadResponse
from tcpbalance.wire.http.fields import keeps_alive
from tcpbalance.wire.http.framing import CHUNKED, TUNNEL, UNTIL_CLOSE, Framing, response_framing
from tcpbalance.wire.http.head import RequestHead, ResponseHead

CONTINUE = 100

_find_event_stream = re.compile(rb"\n(?i:content-type:[ \t]*+text/event-stream)(?![^\s;])").search


class AnsweredRequest(typing.Protocol):
    """The request that a response is for.

    :ivar phase: ``AWAITING`` until the head of the final response has come, then ``ANSWERING``.
    :ivar status: of the final response; 0 before it.
    :ivar reuses_backend: whether the connection to the backend may have another request after it.
    """

    phase: RequestPhase
    status: int
    reuses_backend: bool

    @property
    def context(self) -> HttpContext: ...
    @property
    def session(self) -> ClientSession: ...
    @property
    def head(self) -> RequestHead | None: ...
    @property
    def heads(self) -> RouteHeads: ...
    @property
    def slot(self) -> Slot | None: ...
    @property
    def cookies(self) -> ClientCookies | None: ...
    @property
    def upload(self) -> Upload | None: ...
    @property
    def due(self) -> float:
        """When its deadlines are to be looked at."""
        ...

    @property
    def names_client(self) -> bool:
        """Whether the connection to the backend was opened with the name of one client."""
        ...

    def change_protocol(self, head: ResponseHead, rest: bytes) -> None:
        """The backend changes to another protocol.

        :param rest: what came behind the head.
        :raises BadResponse: the client has not asked for that.
        """

    def count_carried(self) -> None:
        """Take note of what the kernel has carried."""

    def happened(self, event: RequestEvent, reason: EndReason, cause: str) -> None:
        """Do what follows from an event."""

    def finish(self, reason: EndReason, then: Then) -> None:
        """The request is over."""


class Response(CarriableBody):
    """A response whose first byte has come.

    :param request: what it is for.
    :param connection: the backend's.
    :ivar body: what is on its way; None before the final head, and where there is none.
    :ivar is_event_stream: whether pauses of any length are usual in it.
    :ivar passed: bytes of its body that were passed on to the client.
    :ivar last_look: at the client, when it took no more; None before the first.
    """

    __slots__ = (
        "_connection",
        "_interim",
        "_keeps_client",
        "_request",
        "_unread",
        "body",
        "is_event_stream",
        "last_look",
        "passed",
    )

    def __init__(self, request: AnsweredRequest, connection: BackendHttpConnection) -> None:
        super().__init__(request.context.wheel.now)
        self._request = request
        self._connection = connection
        self._unread = b""
        self._interim = 0
        self._keeps_client = False
        self.body: PassedBody | None = None
        self.is_event_stream = False
        self.passed = 0
        self.last_look: ClientLook | None = None

    def feed(self, data: bytes, head: ResponseHead | None = None) -> None:
        """Take bytes that the backend has sent.

        :param head: what was read of them already; None where they are to be read.
        """
        request = self._request
        self.active = request.context.wheel.now
        try:
            if request.phase is AWAITING:
                if self._unread:
                    data, self._unread = self._unread + data, b""
                self._read_heads(data, head)
            else:
                self._pass_on(data)
        except BadResponse as error:
            request.happened(BAD_RESPONSE, EndReason.BAD_RESPONSE, str(error))

    # Heads

    def begin_unread(self, data: bytes) -> None:
        """Keep the beginning of the first head, which the connection's reader has seen already."""
        self._unread = data

    def _read_heads(self, data: bytes, head: ResponseHead | None) -> None:
        """Read 1xx responses, and the head of the final one."""
        request, reader = self._request, self._connection.reader
        assert request.head is not None
        while True:
            head = head or reader.read(data)
            if head is None:
                self._unread = data
                return
            framing = response_framing(head, request.head.method)
            data = data[head.size :]
            if framing is TUNNEL:
                request.change_protocol(head, data)
                return
            if head.status >= 200:
                self._begin(head, framing, data)
                return
            self._pass_interim(head, request.head.version)
            head = None

    def _pass_interim(self, head: ResponseHead, version: bytes) -> None:
        """Pass on a 1xx response: 100 only where it is waited for, and none to HTTP/1.0.

        :param version: of the request.
        """
        request = self._request
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadResponse(f"more than {MAX_INTERIM} responses of 1xx come before the final one")
        upload = request.upload
        if head.status == CONTINUE:
            if upload is None or not upload.awaits_continue:
                return
            upload.go_ahead(request.context.wheel.now)
            request.session.expect(request.due)
        if version == b"1.1":
            request.session.client.transport.write(request.heads.interim(head))

    def _begin(self, head: ResponseHead, framing: Framing, rest: bytes) -> None:
        """Pass the head of the final response on, and what came with it of the body.

        :raises BadResponse: what came is no such body, or more than that.
        """
        request = self._request
        session, context, upload, asked = request.session, request.context, request.upload, request.head
        assert asked is not None
        version = asked.version
        body = response_body(framing, version)
        passed, surplus = (b"", rest) if body is None else body.feed(rest)
        if surplus and (body is None or body.whole):
            raise BadResponse("bytes come behind the response")
        closes = framing is UNTIL_CLOSE
        # HTTP/1.0 has no chunks: there, a body without a length ends with the connection.
        closes_client = version == b"1.0" and (closes or framing is CHUNKED)
        keeps = self._keeps_client = (
            (upload is None or upload.whole)
            and not closes_client
            and keeps_alive(asked)
            and session.may_keep(context)
        )
        # A PROXY header names one client: other requests may not come behind it.
        request.reuses_backend = not closes and not request.names_client and keeps_alive(head)
        request.status = head.status
        request.phase = ANSWERING
        cookies = request.cookies
        extra = b"" if cookies is None else cookies.lines(self._connection.backend)
        data = request.heads.response(head, framing, version, keeps, context.date(), extra)
        session.client.transport.write(data + passed if passed else data)
        self.body = body
        assert request.slot is not None
        request.slot.responded(head.status)
        if body is None or body.whole:
            self._whole()
            return
        if not surplus:
            self._carry_long()
        self.is_event_stream = _find_event_stream(head.rest) is not None
        if upload is not None:
            upload.keep_no_more()
        session.expect(request.due)
        if surplus:
            self._let_wait(surplus)

    # The body

    def _pass_on(self, data: bytes) -> None:
        body = self.body
        assert body is not None
        if self._unread:
            # It stands behind what was too much work for one turn.
            self._unread += data
            return
        passed, surplus = body.feed(data)
        if passed:
            self.passed += len(passed)
            self._request.session.client.transport.write(passed)
        if not surplus:
            self._carry_long()
        if body.whole:
            # The client has all of it: what came too much ends the connection to the backend only.
            self._request.reuses_backend = self._request.reuses_backend and not surplus
            self._whole()
        elif surplus:
            self._let_wait(surplus)

    def _let_wait(self, data: bytes) -> None:
        """Keep a part of the body that was too much work for one turn; it goes on in the next."""
        self._unread = data
        if not self._connection.gone:
            self._connection.pauseProducing()
            self._request.context.next_turn(self._go_on)

    def _go_on(self) -> None:
        request, data = self._request, self._unread
        if request.phase is not ANSWERING or not data:
            return
        self._unread = b""
        self.feed(data)
        if request.phase is ANSWERING and not self._unread and not request.session.is_full:
            self._connection.resumeProducing()

    def pass_waiting(self) -> None:
        """Pass on what waits for a later turn: the backend's connection has ended behind it."""
        while self._unread and self._request.phase is ANSWERING:
            data, self._unread = self._unread, b""
            self.feed(data)

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the backend's connection is its end."""
        return self.body is not None and self.body.ends_with_connection

    def end_with_connection(self) -> None:
        """The backend's connection has ended, and it is whole."""
        assert self.body is not None
        end = self.body.at_end_of_connection()
        if end:
            self._request.session.client.transport.write(end)
        self._whole()

    def _whole(self) -> None:
        request = self._request
        session = request.session
        # The frontend may have ended since the head was passed on; what was sent ahead is still answered.
        keeps = self._keeps_client and (session.may_keep(request.context) or session.has_requests_waiting)
        request.finish(EndReason.ANSWERED, KEEP if keeps else CLOSE)

    def _carry_long(self) -> None:
        """Let the kernel carry what is left of a long body or chunk, where it can."""
        body, request, backend = self.body, self._request, self._connection
        if not isinstance(body, RunningBody) or body.left < carried_body.LONG or self.is_carried:
            return
        is_uploading = request.upload is not None and request.upload.is_under_way
        if is_uploading or request.session.is_full or backend.limiter is not None:
            return
        client = request.session.client.transport
        self.carry(body, backend.transport, client, request.context.wheel, self._carried_all)

    def _carried_all(self) -> None:
        self._request.count_carried()
        self.carry_no_more()
        if self.body is not None and self.body.whole:
            self._whole()
