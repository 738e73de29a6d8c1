"""A copy of one request for another pool, whose response is thrown away."""

from __future__ import annotations

import typing
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.http.dialling import HttpDialler
from tcpbalance.http.discarded_response import DiscardedResponse
from tcpbalance.http.idle import IdleConnections, IdleOfPools
from tcpbalance.http.upstream import NOT_IN_USE, BackendHttpConnection
from tcpbalance.net.connecting import Connector
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.errors import BadResponse

MAX_COPIED_BODY = 64 * 1024
"""Bytes of a body; a request with a longer one is not copied."""

MAX_DISCARDED = 1024 * 1024
"""Bytes of a response that are read; of a longer one, the connection is closed."""


class CopyContext(typing.Protocol):
    """What is asked of the frontend; see ``context.HttpContext``."""

    @property
    def connector(self) -> Connector: ...
    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def wheel(self) -> Wheel: ...
    @property
    def idle(self) -> IdleOfPools: ...
    @property
    def next_turn(self) -> Callable[[Callable[[], None]], object]: ...


class WriteHead(typing.Protocol):
    """Writes the head of a request for a backend; see ``heads.RouteHeads.request``."""

    def __call__(self, backend: Backend, *, host: str, request_id: bytes | None, upgrade: bytes) -> bytes: ...


class CopyOwner(typing.Protocol):
    """What takes note of the end of copies."""

    def copy_over(self, copy: MirroredRequest, reason: EndReason | None) -> None:
        """A copy is over.

        :param reason: why it has ended; None where it was never sent to the pool.
        """
        ...


class MirroredRequest:
    """Sends a copy of a request, once all of it is here, and reads the response.

    It never waits for a backend that is full, and never takes part in the client's request: that goes on
    whatever happens here.

    :param owner: takes note of its end.
    :param context: of the request.
    :param pool: gets the copy.
    :param client: the client's packed address, None when it has none.
    :param method: of the request.
    :param write_head: writes its head.
    :param request_id: what backends are to call the request; None for what there is.
    :ivar slot: see ``wheel.Watched``.
    """

    __slots__ = (
        "_body",
        "_client",
        "_connection",
        "_context",
        "_dialler",
        "_idle",
        "_is_over",
        "_is_whole",
        "_method",
        "_owner",
        "_pool",
        "_received",
        "_request_id",
        "_response",
        "_sent",
        "_served_by",
        "_write_head",
        "slot",
    )

    def __init__(
        self,
        owner: CopyOwner,
        context: CopyContext,
        pool: Pool,
        client: bytes | None,
        *,
        method: bytes,
        write_head: WriteHead,
        request_id: bytes | None,
    ) -> None:
        self._owner = owner
        self._context = context
        self._pool = pool
        self._client = client
        self._method = method
        self._write_head = write_head
        self._request_id = request_id
        # One piece: those that come may be tiny.
        self._body = bytearray()
        self._sent = self._received = 0
        self._dialler: HttpDialler | None = None
        self._idle: IdleConnections | None = None
        self._connection: BackendHttpConnection | None = None
        self._served_by: Backend | None = None
        self._response: DiscardedResponse | None = None
        self._is_over = self._is_whole = False
        self.slot: int | None = None

    @property
    def pool_name(self) -> str:
        """What the pool is called that gets the copy."""
        return self._pool.name

    # The request

    def feed(self, data: bytes, whole: bool) -> None:
        """See ``upload.BodyCopy``; a body that becomes too long is not copied."""
        if self._is_over:
            return
        self._body += data
        if len(self._body) > MAX_COPIED_BODY:
            self._never_sent()
        elif whole:
            self.begin()

    def cut(self) -> None:
        """See ``upload.BodyCopy``."""
        if not self._is_whole and not self._is_over:
            self._never_sent()

    def begin(self) -> None:
        """Send the request, which is whole, in the next turn: the client's comes first."""
        self._is_whole = True
        self._context.next_turn(self._reach)

    def _never_sent(self) -> None:
        self._is_over = True
        self._body.clear()
        self._owner.copy_over(self, None)

    # Reaching a backend

    def _reach(self) -> None:
        if self._is_over:
            return
        context, pool, client = self._context, self._pool, self._client
        backend, choices = pool.selection.choose(client)
        try:
            slot = None if backend is None else pool.take_for_request(backend, client)
        except NoCapacityError:
            slot = None
        if slot is None:
            if choices is not None:
                choices.close()
            self.end(EndReason.NO_BACKEND)
            return
        context.wheel.watch(self, pool.http.response_timeout)
        idle = self._idle = context.idle[pool]
        dialler = self._dialler = HttpDialler(
            pool,
            context.connector,
            client,
            context.clock,
            self,
            idle=idle,
            repeatable=False,
        )
        dialler.begin(slot, choices)

    def attempt_begins(self) -> None:
        """See ``dialler.Caller``."""

    def queued(self) -> None:
        """See ``dialler.Caller``: the place is for requests that clients wait for."""
        self.end(EndReason.NO_BACKEND)

    def left_queue(self, waited: float) -> None:
        """See ``dialler.Caller``."""

    def backend_connected(self, side: Peer) -> None:
        """See ``dialler.Caller``."""
        assert isinstance(side, BackendHttpConnection)
        assert self._dialler is not None
        if self._pool.judges_connect_times and not side.served:
            self._dialler.judge(side.transport)
        side.session = self
        self._connection = side
        backend = self._served_by = side.backend
        backend.stats.requests_total += 1
        head = self._write_head(backend, host=self._pool.http.host, request_id=self._request_id, upgrade=b"")
        data = head + self._body
        self._body.clear()
        self._sent = len(data)
        side.transport.write(data)

    # The response

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``upstream.ConnectionUser``."""
        assert self._dialler is not None
        assert self._dialler.slot is not None
        slot, response = self._dialler.slot, self._response
        self._received += len(data)
        if response is None:
            slot.answered()
            response = self._response = DiscardedResponse(connection.reader, self._method)
        had_head = response.status > 0
        try:
            response.feed(data)
        except BadResponse:
            self.end(EndReason.BAD_RESPONSE)
            return
        if response.status and not had_head:
            slot.responded(response.status)
        if response.whole or response.given_up or self._received > MAX_DISCARDED:
            self.end(EndReason.ANSWERED)

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the backend has finished sending."""
        side.finished = True
        self._backend_ended(EndReason.BACKEND_CLOSED, "closed")

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: ``lost`` follows."""

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        error = failure.value
        if isinstance(error, ConnectionDone):
            self._backend_ended(EndReason.BACKEND_CLOSED, "closed")
        elif isinstance(error, BROKEN_OFF):
            self._backend_ended(EndReason.BACKEND_RESET, "reset")
        else:
            self.end(EndReason.INTERNAL_ERROR)

    def _backend_ended(self, reason: EndReason, cause: str) -> None:
        response, connection = self._response, self._connection
        if response is not None and response.ends_with_connection():
            reason = EndReason.ANSWERED
        elif response is None and connection is not None:
            assert self._dialler is not None
            assert self._idle is not None
            if connection.served:
                self._idle.ended(connection)
            else:
                self._dialler.reset_unanswered(cause)
        self.end(reason)

    # The end

    def check(self, now: float) -> float | None:
        """See ``wheel.Watched``: it has taken too long."""
        self.end(EndReason.RESPONSE_TIMEOUT)
        return None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self.end(EndReason.INTERNAL_ERROR)

    def end(self, reason: EndReason) -> None:
        """Give back everything taken; calling it again does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._context.wheel.forget(self)
        self._give_back()
        if self._dialler is not None:
            self._dialler.end()
        self._count(reason)
        self._owner.copy_over(self, reason)

    def _give_back(self) -> None:
        """Keep the connection for another request, if the response is whole, or close it."""
        connection, response, idle = self._connection, self._response, self._idle
        self._connection = None
        if connection is None or idle is None:
            return
        is_whole = response is not None and response.whole and response.reuses_backend
        if not is_whole:
            connection.session = NOT_IN_USE
            connection.close(orderly=False)
            return
        connection.served += 1
        # It closes the connection where no request of this frontend goes to the pool any more.
        idle.put(connection)

    def _count(self, reason: EndReason) -> None:
        served_by, response = self._served_by, self._response
        if served_by is None:
            self._pool.stats.ended[reason] += 1
            return
        stats = served_by.stats
        stats.responses[0 if response is None else response.status // 100] += 1
        stats.ended[reason] += 1
        stats.bytes_in += self._sent
        stats.bytes_out += self._received
