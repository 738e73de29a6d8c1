"""A request as most are: a GET whose head comes at once and asks for nothing special, and a response that
comes at once with all of its body.

For these, nothing is made but the two heads, and each of them is read and written in one go. What is decided
is the same as for all others, and written down in ``exchange`` and ``response``: whatever goes beyond the
usual goes on there. ``tests/http/test_bare_exchanges.py`` holds both to the same bytes, records and counters.

1. ``begin``: a request is usual whose head is a ``UsualRequestHead`` with nothing behind it, on a plain
   route, where no limits of requests, client certificate, cookie or trusted proxy are to be looked at.
   Framing, upload, Expect and a path to be normalized are skipped: it has none. ``is_bare`` says so from
   here on.
2. ``_is_repeatable``: a usual request is a GET without a body.
3. ``_send``: its head is written in one go to a connection that waited, where no prefix is stripped, Host
   stays and no bandwidth is limited. Without a dialler, there is no PROXY header and nothing to be
   replayed.
4. ``_begin_response``: a response is usual whose head is a ``UsualResponseHead`` and has come with exactly
   its body, if the client's connection stays open. No ``Response`` is made: nothing is to come, and no 1xx
   has. It may also be that to another request which is whole by then; see ``_may_answer_bare``.
5. ``_end``: slot and connection of a usual request are given back; there is nothing else. A connection that
   is stopped or limited has to be read on, which is left to ``finish``.
6. ``record``: it is made in one go where no dialler, preread or forwarded address adds to it.
"""

from __future__ import annotations

from tcpbalance.http.client_side import KEEP
from tcpbalance.http.exchange import Exchange
from tcpbalance.http.heads import request_id_line
from tcpbalance.http.phases import ANSWERING, AWAITING, BAD_RESPONSE, OVER
from tcpbalance.http.record import MAX_RECORDED_TEXT, RequestRecord
from tcpbalance.http.reported import request_id
from tcpbalance.http.request_record import origin
from tcpbalance.http.response import Response
from tcpbalance.http.routing import shows_certificate
from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.proxy.reasons import ANSWERED, EndReason
from tcpbalance.wire.http.errors import BadRequest, BadResponse
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.routing_path import is_plain_path
from tcpbalance.wire.http.target import ORIGIN, RequestTarget, read_authority
from tcpbalance.wire.http.usual_head import UsualRequestHead, UsualResponseHead


class BareExchange(Exchange):
    """An exchange that makes nothing before it needs it."""

    __slots__ = ()

    def begin(self, head: RequestHead, rest: bytes) -> bytes:
        """See ``Exchange``."""
        context, session = self.context, self.session
        if (
            rest
            or not isinstance(head, UsualRequestHead)
            or context.request_limits is not None
            or (session.preread is not None and shows_certificate(session.preread))
            or (context.looks_at_paths and not is_plain_path(head.path))
        ):
            return super().begin(head, rest)
        try:
            authority = read_authority(head.host)
        except BadRequest:
            return super().begin(head, rest)
        route = context.routes.match(authority.host, head.path, b"GET", head)
        if (
            route is None
            or not route.is_plain
            or (pool := route.pool) is None
            or pool.cookie_affinity is not None
            or (client := session.reported_client(head, context)).trusted
        ):
            return super().begin(head, rest)
        self.head = head
        self.target = RequestTarget(ORIGIN, authority, head.target, head.path)
        self.route = route
        self.client = client
        self.packed = session.packed
        self.client_bytes = head.size
        self.is_bare = True
        heads = self.heads = context.heads[route]
        if heads.names_requests:
            self.request_id = request_id(head, client)
        self._reach(pool)
        return b""

    def _is_repeatable(self) -> bool:
        """See ``Exchange``."""
        return self.is_bare or super()._is_repeatable()

    def _send(self, connection: BackendHttpConnection) -> None:
        """See ``Exchange``."""
        session, context, head = self.session, self.context, self.head
        if (
            not self.is_bare
            or self.dialler is not None
            or self.heads.strips_prefix
            or context.limits.bandwidth_per_connection is not None
            or (http := self.pool.http).host != "client"
        ):
            super()._send(connection)
            return
        assert head is not None
        assert self.target is not None
        assert self.client is not None
        assert self.route is not None
        connection.session = self
        self.backend = connection
        self.phase = AWAITING
        backend = self.served_by = connection.backend
        self.reused = True
        backend.stats.requests_total += 1
        name = b"" if self.request_id is None else request_id_line(self.request_id)
        data = self.heads.requests.write_usual(head, self.target, self.client, name)
        clock, timeout = context.clock, self.route.response_timeout
        sent_at = self.sent_at = clock()
        connection.transport.write(data)
        due = sent_at + (http.response_timeout if timeout is None else timeout)
        if due < session.due:
            session.expect(due)

    def _begin_response(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``Exchange``."""
        session = self.session
        try:
            head = connection.reader.read(data)
        except BadResponse as error:
            self.happened(BAD_RESPONSE, EndReason.BAD_RESPONSE, str(error))
            return
        if (
            not isinstance(head, UsualResponseHead)
            or (length := head.length) != len(data) - head.size
            or not (self.is_bare or self._may_answer_bare())
            or (self.dialler is not None and self.names_client)
            or not session.may_keep(self.context)
        ):
            response = self.response = Response(self, connection)
            if head is None:
                response.begin_unread(data)
            else:
                response.feed(data, head)
            return
        self.status = head.status
        self.response_size = length
        self.phase = ANSWERING
        session.client.transport.write(
            self.heads.responses.write_usual(head, data[head.size :], self.context.date)
        )
        assert self.slot is not None
        self.slot.responded(head.status)
        if not self.is_bare or connection.stopped or connection.limiter is not None:
            self.reuses_backend = True
            self.finish(ANSWERED, KEEP)
        else:
            self._end(connection)

    def _may_answer_bare(self) -> bool:
        """Whether the response to a request that is not usual may be passed on like that to one which is."""
        head, upload = self.head, self.upload
        return (
            head is not None
            and head.version == b"1.1"
            and head.method != b"HEAD"
            and self.cookies is None
            and (upload is None or upload.whole)
            and b"close" not in head.options
        )

    def _end(self, connection: BackendHttpConnection) -> None:
        """Do what `finish` does for the usual request, whose response is passed on."""
        registry, served_by, slot = self.context.registry, self.served_by, self.slot
        assert served_by is not None
        assert slot is not None
        self.phase = OVER
        self.reason = ANSWERED
        self.backend = None
        connection.served += 1
        self._idle.put(connection)
        if self.dialler is None:
            slot.release()
        else:
            self.dialler.end()
        client_bytes, backend_bytes, kind = self.client_bytes, self.backend_bytes, self.status // 100
        stats, upstream = registry.stats, served_by.stats
        stats.requests_ended[ANSWERED] += 1
        stats.responses[kind] += 1
        stats.bytes_in += client_bytes
        stats.bytes_out += backend_bytes
        upstream.ended[ANSWERED] += 1
        upstream.responses[kind] += 1
        upstream.bytes_in += client_bytes
        upstream.bytes_out += backend_bytes
        registry.request_ended(self, ANSWERED)
        self.session.request_over(ANSWERED, KEEP)

    def record(self) -> RequestRecord:
        """See ``Exchange``."""
        session, head, route, served_by, target = (
            self.session,
            self.head,
            self.route,
            self.served_by,
            self.target,
        )
        if (
            not self.is_bare
            or self.dialler is not None
            or session.preread is not None
            or session.text is None
            or served_by is None
            or head is None
            or head.size > MAX_RECORDED_TEXT
            or self.client is None
            or self.client.trusted
        ):
            return super().record()
        assert route is not None
        assert target is not None
        assert target.authority is not None
        assert self.reason is not None
        request_id, began, context = self.request_id, self.began, self.context
        clock = context.clock
        referer, user_agent = origin(head.rest)
        return RequestRecord(
            self.started,
            session.text,
            context.name,
            served_by.name,
            1,
            self.sent_at - began,
            None,
            clock() - began,
            head.size,
            self.backend_bytes,
            self.reason,
            self.cause,
            None,
            None,
            None,
            None,
            (),
            "GET",
            target.authority.shown,
            target.upstream.decode("latin-1"),
            "1.1",
            self.status,
            route.name,
            self.pool.name,
            None if request_id is None else request_id.decode("latin-1"),
            self.head_time,
            self.first_byte,
            0,
            self.response_size,
            self.reused,
            referer,
            user_agent,
        )
