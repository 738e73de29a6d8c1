"""What becomes of a request by its head: a route, an answer of the route's own, or a refusal."""

from __future__ import annotations

import math

from attrs import frozen

from tcpbalance.admission.access import Access
from tcpbalance.http.context import HttpContext
from tcpbalance.http.pages import Page
from tcpbalance.http.refusals import RequestRefused, too_large
from tcpbalance.http.request_limits import RequestLimits
from tcpbalance.http.routes import Route
from tcpbalance.http.upload import Upload
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.proxy.dry_run import DryRun, DryRunLimit, DryRunSession
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.fields import upgrade
from tcpbalance.wire.http.framing import Framing
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.routing_path import routing_path
from tcpbalance.wire.http.target import RequestTarget

TUNNEL_ROUTE = Route()
"""What requests with CONNECT take, where clients may have tunnels."""

_NOT_ROUTED = frozenset((b"CONNECT", b"TRACE"))
_ALLOW = b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"

_LIMITS = {
    EndReason.MAX_REQUESTS: DryRunLimit.MAX_REQUESTS,
    EndReason.RATE_LIMITED: DryRunLimit.REQUESTS_PER_CLIENT,
}


@frozen
class RouteAnswer:
    """What a route answers without a backend.

    :ivar page: the body; None where the answer has none of its own.
    :ivar location: where a redirect leads; None where it is none.
    """

    status: int
    page: Page | None = None
    location: str | None = None

    @property
    def extra(self) -> bytes:
        """More lines, each with CR LF."""
        return b"" if self.location is None else b"Location: %b\r\n" % self.location.encode("latin-1")


def find_route(
    context: HttpContext, head: RequestHead, target: RequestTarget, preread: Preread | None = None
) -> Route | None:
    """Give the route of a request; None where there is none.

    :param preread: what is known of a client that had to send something first; else None.
    :raises RequestRefused: servers may take its path for several, its method is none that is served, or the
        client has shown a certificate for another route.
    """
    if head.method in _NOT_ROUTED:
        if head.method == b"CONNECT" and context.connect is not None:
            return TUNNEL_ROUTE
        raise RequestRefused(405, "method", _ALLOW)
    routes, authority = context.routes, target.authority
    path = target.path
    if context.looks_at_paths:
        path, is_ambiguous = routing_path(path)
        if is_ambiguous and context.http.ambiguous_path == "reject":
            raise RequestRefused(400, "bad_target")
    host = b"" if authority is None else authority.host
    route = routes.match(host, path, head.method, head)
    if preread is not None and preread.tls is not None:
        asked_for = _certified_for(preread.tls)
        if asked_for not in (None, host) and routes.match(asked_for, path, head.method, head) is not route:
            # RFC 9110, section 15.5.20. Without a certificate, proxies in front use one name for all hosts.
            raise RequestRefused(421, "misdirected")
    return route


def shows_certificate(preread: Preread) -> bool:
    """Whether a client may have shown a certificate that is for one route and not for others."""
    return preread.tls is not None and _certified_for(preread.tls) is not None


def _certified_for(tls: TlsFacts) -> bytes | None:
    """Give the server name for which a client has shown a certificate; None where it has shown none."""
    if tls.subject is None or tls.server_name is None:
        return None
    return tls.server_name.lower().encode("ascii")


def fixed_answer(route: Route, target: RequestTarget) -> RouteAnswer:
    """Give what a route without a pool answers.

    :raises RequestRefused: it needs the host, and the request has none.
    """
    if route.answer is not None:
        return RouteAnswer(route.answer.status, route.answer.page)
    assert route.redirect is not None
    host = None if target.authority is None else target.authority.host.decode("latin-1")
    location = route.redirect.location(host, target.upstream.decode("latin-1"))
    if location is None:
        raise RequestRefused(400, "bad_target")
    return RouteAnswer(route.redirect.status, None, location)


def offered_protocols(route: Route, head: RequestHead, has_body: bool) -> list[bytes]:
    """Give the protocols that the backend may change to: those that the route allows, and none after a body,
    which would stand between the two."""
    return [] if has_body else [name for name in upgrade(head) if name.decode("latin-1") in route.upgrade]


def check_limits(
    limits: RequestLimits, client: bytes | None, dry_run: DryRun | None, session: DryRunSession
) -> None:
    """Have one more request under way, as far as limits allow.

    :param client: its packed address.
    :param dry_run: takes note of what is not enforced.
    :param session: its session.
    :raises RequestRefused: one is reached.
    """
    refusal, would_refuse = limits.begin(client), limits.last_would_refuse
    if refusal is EndReason.RATE_LIMITED:
        later = b"Retry-After: %d\r\n" % max(1, math.ceil(limits.next_in))
        raise RequestRefused(429, "", later, refusal)
    if refusal is not None:
        raise RequestRefused(503, "", reason=refusal)
    if would_refuse is not None and dry_run is not None:
        dry_run.would_limit(session, _LIMITS[would_refuse])


def check_access(access: Access, client: bytes | None) -> None:
    """Refuse a client that may not send the requests of a route.

    :param access: of the route.
    :param client: its packed address.
    :raises RequestRefused: see above.
    """
    refusal = access.refusal(client)
    if refusal is not None:
        raise RequestRefused(403, refusal.word, reason=EndReason.REQUEST_REFUSED)


def check_size(route: Route, framing: Framing, upload: Upload) -> None:
    """Refuse a body that is, or will be, larger than it may be.

    :raises RequestRefused: see above.
    """
    limit = route.body_size
    if limit is None:
        return
    if framing.length is not None and framing.length > limit:
        raise too_large()
    upload.check_size(limit)
