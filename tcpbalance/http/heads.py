"""Heads as they go on to backends and clients, by what a route and its frontend say of fields."""

from __future__ import annotations

from tcpbalance.http.reported import SEND_REQUEST_ID
from tcpbalance.http.routes import Route
from tcpbalance.http.settings import HttpSettings
from tcpbalance.pool.backend import Backend
from tcpbalance.wire.http.forwarded import ForwardedClient, ForwardedWriter
from tcpbalance.wire.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing
from tcpbalance.wire.http.head import RequestHead, ResponseHead
from tcpbalance.wire.http.rewrite import RequestRewriter, ResponseRewriter
from tcpbalance.wire.http.target import RequestTarget, without_prefix

UPGRADE_REQUIRED = 426


def _host_of(backend: Backend) -> bytes:
    """Give the host of a backend; that of a unix socket is this machine."""
    return b"localhost" if backend.address.is_unix else str(backend.address).encode("ascii")


def _passed(framing: Framing, version: bytes) -> Framing:
    """Give how the body of a response is framed for a client: where its length is not known, in chunks, which
    HTTP/1.0 lacks."""
    if framing is CHUNKED or framing is UNTIL_CLOSE:
        return UNTIL_CLOSE if version == b"1.0" else CHUNKED
    return framing


def request_id_line(request_id: bytes) -> bytes:
    """Write the name of a request."""
    return b"X-Request-Id: %b\r\n" % request_id


class RouteHeads:
    """Writes the heads of all requests and responses that take one route.

    :param route: the route.
    :param settings: of its frontend.
    :ivar names_requests: whether backends get a name of each request.
    :ivar strips_prefix: whether backends get another path than the client has asked for.
    :ivar requests: writes the heads that backends get.
    :ivar responses: writes those that clients get.
    """

    __slots__ = (
        "_prefix",
        "names_requests",
        "requests",
        "responses",
        "strips_prefix",
    )

    def __init__(self, route: Route, settings: HttpSettings) -> None:
        self._prefix = route.strip_prefix
        edits = route.response_headers
        if settings.server_header == "remove":
            edits = edits.removing(b"Server")
        send = [field for field in settings.send if field != SEND_REQUEST_ID]
        self.names_requests = len(send) != len(settings.send)
        self.strips_prefix = bool(route.strip_prefix)
        asked = route.request_headers
        self.requests = RequestRewriter(
            ForwardedWriter(send), asked.without(b"X-Request-Id") if self.names_requests else asked
        )
        self.responses = ResponseRewriter(edits)

    def request(
        self,
        head: RequestHead,
        target: RequestTarget,
        framing: Framing,
        client: ForwardedClient,
        backend: Backend,
        *,
        host: str,
        request_id: bytes | None,
        upgrade: bytes,
    ) -> bytes:
        """Write the head that a backend gets.

        :param host: ``"client"``, ``"backend"``, or the host that is asked for.
        :param request_id: to be sent in the place of what the client calls it; None for what there is.
        :param upgrade: protocols that the backend may change to.
        """
        sent_host: bytes | None = None
        if host != "client":
            sent_host = _host_of(backend) if host == "backend" else host.encode("ascii")
        elif target.authority is None:
            # HTTP/1.0 has no host, and HTTP/1.1 always one.
            sent_host = _host_of(backend)
        return self.requests.write(
            head,
            target,
            framing,
            client,
            host=sent_host,
            upstream=without_prefix(target, self._prefix) if self._prefix else None,
            upgrade=upgrade,
            extra=b"" if request_id is None else request_id_line(request_id),
        )

    def response(
        self,
        head: ResponseHead,
        framing: Framing,
        version: bytes,
        keep_alive: bool,
        date: bytes,
        extra: bytes,
    ) -> bytes:
        """Write the head that a client gets.

        :param framing: of what the backend sends.
        :param version: of the request.
        :param keep_alive: whether the client's connection stays open after this.
        :param date: for a response without one.
        :param extra: more lines, each with CR LF.
        """
        # A 426 says which protocols it asks for: RFC 9110, section 15.5.22.
        asks_for = head.special.get(b"upgrade", ()) if head.status == UPGRADE_REQUIRED else ()
        return self.responses.write(
            head,
            _passed(framing, version),
            version=version,
            keep_alive=keep_alive,
            date=date,
            upgrade=b", ".join(asks_for),
            extra=extra,
        )

    def switch(self, head: ResponseHead, protocol: bytes, extra: bytes) -> bytes:
        """Write the head of a response with which the connection changes to another protocol.

        :param extra: more lines, each with CR LF.
        """
        return self.responses.write(
            head, NO_BODY, version=b"1.1", keep_alive=True, date=b"", upgrade=protocol, extra=extra
        )

    def interim(self, head: ResponseHead) -> bytes:
        """Write the head of a 1xx response."""
        return self.responses.write(head, NO_BODY, version=b"1.1", keep_alive=True, date=b"")


class HeadsOfRoutes(dict[Route, RouteHeads]):
    """What writes the heads of each route of a frontend, made when it is first asked for.

    :param settings: of the frontend.
    """

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, route: Route) -> RouteHeads:
        heads = self[route] = RouteHeads(route, self._settings)
        return heads
