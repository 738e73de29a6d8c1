"""What would become of a request that came now, asked of what decides about requests: nothing changes by
that."""

from __future__ import annotations

from copy import copy

import attrs
from attrs import frozen

from tcpbalance.config.metadata import HIDDEN
from tcpbalance.http.answers import STATUS_OF
from tcpbalance.http.bodies import request_body
from tcpbalance.http.client_cookies import ClientCookies
from tcpbalance.http.connect.answers import destination_of
from tcpbalance.http.connect.refusals import ConnectRefusal
from tcpbalance.http.context import HttpContext
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.refusals import RequestRefused
from tcpbalance.http.reported import SEND_REQUEST_ID, given_request_id, packed_client, reported
from tcpbalance.http.request_limits import RequestAnswer
from tcpbalance.http.routes import Route
from tcpbalance.http.routing import (
    TUNNEL_ROUTE,
    check_access,
    check_size,
    find_route,
    fixed_answer,
    offered_protocols,
)
from tcpbalance.http.upload import Upload
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.errors import BadRequest
from tcpbalance.wire.http.fields import expects_continue
from tcpbalance.wire.http.forwarded import ForwardedClient
from tcpbalance.wire.http.framing import Framing, request_framing
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.target import RequestTarget, read_target

NEW_ID = b"(new)"
"""In the place of the name that a request gets here: it has none before it comes."""


@frozen(kw_only=True)
class ExplainedRequest:
    """What would become of a request.

    :ivar reason: why it would be answered here; None where a backend is looked for.
    :ivar status: of that answer; 0 where a backend is looked for.
    :ivar cause: what is wrong with it, in a word; empty where nothing is.
    :ivar location: where a redirect leads; None without one.
    :ivar client: as backends would know it; None where the request cannot be read.
    :ivar packed: the packed address of that, with where it belongs; None where it has none.
    :ivar limits: what limits on requests would do; None without any.
    :ivar route: the one that it takes, also where limits refuse it; None where it takes none.
    :ivar pool: the one that serves its client by that route; None where none does.
    :ivar is_drawn: whether that pool is drawn at random.
    :ivar is_tunnel: whether it gets a tunnel, if its password is right.
    """

    reason: EndReason | None = None
    status: int = 0
    cause: str = ""
    location: str | None = None
    client: ForwardedClient | None = None
    packed: bytes | None = None
    limits: RequestAnswer | None = None
    route: Route | None = None
    pool: Pool | None = None
    is_drawn: bool = False
    is_tunnel: bool = False
    _read: _ReadRequest | None = None

    @property
    def mirror(self) -> Pool | None:
        """The pool that gets a copy; None where none does, as of what may become another protocol."""
        read, route = self._read, self.route
        if read is None or route is None or offered_protocols(route, read.head, read.has_body):
            return None
        return route.mirror

    def lines_for(self, backend: Backend) -> list[str]:
        """Give the lines of the head that a backend would get, without values that may be secret."""
        read, client, route, pool = self._read, self.client, self.route, self.pool
        assert read is not None
        assert client is not None
        assert route is not None
        assert pool is not None
        wants_id = SEND_REQUEST_ID in read.context.http.send
        head = RouteHeads(route, read.context.http).request(
            read.head,
            read.target,
            read.framing,
            client,
            backend,
            host=pool.http.host,
            request_id=given_request_id(read.head, client) or NEW_ID if wants_id else None,
            upgrade=b", ".join(offered_protocols(route, read.head, read.has_body)),
        )
        hidden = {name.lower() for name, _ in route.request_headers.set_fields}
        return [_shown(line, hidden) for line in head.removesuffix(b"\r\n\r\n").split(b"\r\n")]


def _shown(line: bytes, hidden: set[bytes]) -> str:
    name = line.partition(b":")[0]
    return f"{name.decode('ascii')}: {HIDDEN}" if name.lower() in hidden else line.decode("latin-1")


@frozen
class _ReadRequest:
    """A request whose head is valid."""

    context: HttpContext
    head: RequestHead
    framing: Framing
    target: RequestTarget
    has_body: bool


def explain_request(
    context: HttpContext, data: bytes, peer: ForwardedClient, packed: bytes | None
) -> ExplainedRequest:
    """Explain what would become of a request.

    :param data: its head.
    :param peer: its client as the connection shows it.
    :param packed: the packed address of that; None where it has none.
    """
    try:
        head = RequestReader(context.http.limits).read(data)
        if head is None or head.size < len(data):
            return ExplainedRequest(reason=EndReason.BAD_REQUEST, status=400, cause="bad_head")
        framing = request_framing(head)
        target = read_target(head)
        expects_continue(head)
    except BadRequest as error:
        return ExplainedRequest(reason=EndReason.BAD_REQUEST, status=error.status, cause=error.cause)
    client, packed_peer = peer, packed
    if packed in context.http.trust:
        client = reported(head, peer, context.http.trust, context.http.read)
        packed = packed_client(client)
    body = request_body(framing)
    read = _ReadRequest(context, head, framing, target, body is not None)
    limits = None if context.request_limits is None else context.request_limits.ask(packed)
    upload = None if body is None else Upload(body, False, 0.0)
    routed = _routed(read, upload, packed_peer, client, packed)
    found = attrs.evolve(routed, client=client, limits=limits, read=read)
    if limits is not None and limits.refusal is not None:
        status = STATUS_OF[limits.refusal]
        return attrs.evolve(
            found, reason=limits.refusal, status=status, cause="", location=None, is_tunnel=False
        )
    return found


def _tunnel(read: _ReadRequest, client: bytes | None) -> ExplainedRequest:
    """Say whether a client may have what it names.

    :raises RequestRefused: the request has a body, or names no host.
    """
    access = read.context.connect
    assert access is not None
    if read.has_body:
        raise RequestRefused(400, "body_of_connect")
    destination = destination_of(read.target)
    refusal = access.refusal(read.head, client)
    if refusal is None and not access.settings.destinations.has(destination):
        refusal = ConnectRefusal.DESTINATION
    if refusal is None:
        return ExplainedRequest(is_tunnel=True)
    return ExplainedRequest(reason=EndReason.TUNNEL_REFUSED, status=refusal.status, cause=refusal.word)


def _routed(
    read: _ReadRequest,
    upload: Upload | None,
    peer: bytes | None,
    client: ForwardedClient,
    packed: bytes | None,
) -> ExplainedRequest:
    """Follow the route.

    :param peer: the packed address of what the connection comes from.
    :param client: for which a backend is chosen.
    :param packed: its packed address.
    """
    route, context, target = None, read.context, read.target
    try:
        route = find_route(context, read.head, target)
        if route is TUNNEL_ROUTE:
            return _tunnel(read, peer)
        if route is None:
            return ExplainedRequest(reason=EndReason.NO_ROUTE, status=STATUS_OF[EndReason.NO_ROUTE])
        if route.access is not None:
            check_access(route.access, packed)
        if route.pool is None and route.pools is None:
            answer = fixed_answer(route, target)
            return ExplainedRequest(
                reason=EndReason.ANSWERED_HERE, status=answer.status, location=answer.location, route=route
            )
        if upload is not None:
            check_size(route, read.framing, upload)
    except RequestRefused as error:
        return ExplainedRequest(reason=error.reason, status=error.status, cause=error.cause, route=route)
    cookies = ClientCookies(read.head, client.scheme == b"https", context.wall_clock())
    rng = copy(context.rng)
    pool = cookies.choose_pool(route, packed, rng)
    return ExplainedRequest(
        route=route,
        pool=pool,
        packed=cookies.client_of(pool, packed),
        is_drawn=rng.getstate() != context.rng.getstate(),
    )
