"""Connections and requests of the clients in ``debug_clients``: each step is logged; see ``proxy.trace``.

They go as all others do, though none as a ``BareExchange``. Of a request, method, host and path are logged,
and sizes; neither its query, which may have a secret in it, nor its fields and its body.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.python.failure import Failure

from tcpbalance.config.messages import one_line
from tcpbalance.http.client import HttpClientConnection
from tcpbalance.http.client_side import HttpClient, Then
from tcpbalance.http.connect.refusals import ConnectRefusal
from tcpbalance.http.context import HttpContext
from tcpbalance.http.dialling import HttpDialler
from tcpbalance.http.exchange import Exchange
from tcpbalance.http.phases import AWAITING
from tcpbalance.http.routes import Route
from tcpbalance.http.session import PREREAD, HttpSession
from tcpbalance.http.tunnel import ConnectTunnel, Tunnel
from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.trace import Trace
from tcpbalance.proxy.traced_session import TracedDialler
from tcpbalance.wire.http.head import RequestHead, ResponseHead

MAX_DESCRIBED = 200
"""Characters that are logged of what a request is for."""


class _TracedHttpDialler(TracedDialler, HttpDialler):
    """Notes what it does."""

    __slots__ = ()


class TracedExchange(Exchange):
    """A request whose steps are logged.

    For the parameters see ``Exchange``.

    :ivar trace: takes the steps.
    """

    dialler_kind = _TracedHttpDialler

    def __init__(self, session: Any, context: HttpContext, began: float, now: float) -> None:
        super().__init__(session, context, began, now)
        self.trace: Trace = session.trace

    def refuse(self, reason: EndReason, cause: str, status: int, came: bytes | bytearray) -> None:
        """See ``Exchange``."""
        self.trace.note(f"no request can be read in {len(came)} bytes")
        super().refuse(reason, cause, status, came)

    def begin(self, head: RequestHead, rest: bytes) -> bytes:
        """See ``Exchange``."""
        self.trace.note(f"request {_described(head)}, with a head of {head.size} bytes")
        return super().begin(head, rest)

    def _serve(self, route: Route, head: RequestHead) -> None:
        if route.name is not None:
            self.trace.note(f"route {route.name}")
        super()._serve(route, head)

    def _request_whole(self, backend: BackendHttpConnection) -> None:
        self.trace.note(f"the request has come whole, with a body of {self.request_size} bytes")
        super()._request_whole(backend)

    # Reaching a backend

    def _reach(self, pool: Pool) -> None:
        self.trace.note(f"pool {pool.name}")
        super()._reach(pool)

    def attempt_begins(self) -> None:
        """See ``Exchange``."""
        slot = None if self.dialler is None else self.dialler.slot
        if slot is not None:
            self.trace.note(f"tries backend {slot.backend.described}")
        super().attempt_begins()

    def queued(self) -> None:
        """See ``Exchange``."""
        self.trace.note("waits in the queue")
        super().queued()

    def left_queue(self, waited: float) -> None:
        """See ``Exchange``."""
        self.trace.note(f"leaves the queue after {waited:.6f} s")
        super().left_queue(waited)

    def backend_connected(self, side: Peer) -> None:
        """See ``Exchange``."""
        assert isinstance(side, BackendHttpConnection)
        if not side.served and self.dialler is not None:
            self.trace.connected(side.transport, side.tls is not None, self.dialler.connect_time)
        super().backend_connected(side)

    def _send(self, connection: BackendHttpConnection) -> None:
        served = f", whose connection has served {connection.served} before" if connection.served else ""
        self.trace.note(f"sends it to backend {connection.backend.described}{served}")
        super()._send(connection)

    # A tunnel

    def tunnel_refused(self, refusal: ConnectRefusal) -> None:
        """See ``Exchange``."""
        self.trace.note(f"gets no tunnel: {refusal.word}")
        super().tunnel_refused(refusal)

    def tunnel_reached(self, side: Peer) -> None:
        """See ``Exchange``."""
        assert self.opening is not None
        self.trace.connected(side.transport, False, self.opening.connect_time)
        super().tunnel_reached(side)

    # The response

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``Exchange``."""
        if self.response is None:
            self.trace.note("first byte from the backend")
        before = self.phase
        super().backend_sent(connection, data)
        # One that is whole already has its status with its end.
        if before is AWAITING and self.response is not None and self.response.body is not None:
            self.trace.note(f"passes on a response with status {self.status}")

    def change_protocol(self, head: ResponseHead, rest: bytes) -> None:
        """See ``Exchange``."""
        self.trace.note("the backend changes to another protocol")
        super().change_protocol(head, rest)

    # The end

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``Exchange``."""
        self.trace.lost("backend", failure)
        super().lost(side, failure)

    def _count(self, reason: EndReason) -> None:
        status = f"status {self.status}" if self.status else "no response"
        self.trace.ends(f"{reason.word}, {status}", self.cause)
        self.trace.over(self.client_bytes, self.backend_bytes)
        super()._count(reason)


def _described(head: RequestHead) -> str:
    """Give method, host and path of a request; only that there is a query."""
    host = head.special.get(b"host", [b"-"])[0]
    path, mark, _ = head.target.partition(b"?")
    text = b"%b %b %b%b" % (head.method, host, path, b"?..." if mark else b"")
    return one_line(text.decode("latin-1"), MAX_DESCRIBED)


class _TracedTunnel(Tunnel):
    """Notes how it ends."""

    __slots__ = ()

    @property
    def _trace(self) -> Trace:
        return cast(TracedExchange, self._exchange).trace

    def _decide(self, reason: EndReason) -> None:
        self._trace.ends(reason.word, self.cause)
        super()._decide(reason)

    def _leave(self, client_bytes: int, backend_bytes: int) -> None:
        self._trace.over(client_bytes, backend_bytes)
        super()._leave(client_bytes, backend_bytes)


class _TracedConnectTunnel(_TracedTunnel, ConnectTunnel):
    """Notes how it ends."""

    __slots__ = ()


class TracedHttpSession(HttpSession):
    """A connection whose steps are logged.

    :ivar trace: takes the steps.
    """

    exchange_kind = TracedExchange
    tunnel_kind = _TracedTunnel
    connect_tunnel_kind = _TracedConnectTunnel

    __slots__ = ("trace",)

    def __init__(self, context: HttpContext, address: ClientAddress, admitted: ClientAddress | None) -> None:
        super().__init__(context, address, admitted)
        self.trace = Trace(context, address)

    def start(self, client: HttpClient) -> None:
        """See ``HttpSession``."""
        self.trace.accepted(client.transport, self._peer, self.admitted is not None)
        super().start(client)

    def backdate(self, seconds: float) -> None:
        """See ``HttpSession``."""
        super().backdate(seconds)
        self.trace.taken_over(seconds)

    def client_known(self) -> None:
        """See ``HttpSession``."""
        self._note_preread()
        super().client_known()

    def _note_preread(self) -> None:
        if self.preread is not None:
            self.trace.client_known(self.preread, self.admitted is not None)

    def hand_over(self, received: bytes, unused: int) -> None:
        """See ``HttpSession``."""
        self._note_preread()
        self.trace.note("handed over to the worker that the client belongs to")
        super().hand_over(received, unused)

    def end(self, reason: EndReason) -> None:
        """See ``HttpSession``."""
        if self._phase is PREREAD:
            self._note_preread()
        super().end(reason)

    def finished(self, side: Peer) -> None:
        """See ``HttpSession``."""
        self.trace.note("the client has finished sending")
        super().finished(side)

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``HttpSession``."""
        if self._reason is None:
            self.trace.lost("client", failure)
        super().lost(side, failure)

    def request_over(self, reason: EndReason, then: Then) -> None:
        """See ``HttpSession``."""
        if then is Then.KEEP and not self.client.gone:
            self.trace.note("waits for the next request")
        super().request_over(reason, then)

    def _finish(self) -> None:
        assert self._reason is not None
        if self._phase is PREREAD:
            self._note_preread()
        cause = f", {one_line(self._cause)}" if self._cause else ""
        self.trace.note(f"the connection is closed: {self._reason.word}{cause}")
        super()._finish()


class TracedHttpConnection(HttpClientConnection):
    """The client's side of such a connection."""

    session_kind = TracedHttpSession
