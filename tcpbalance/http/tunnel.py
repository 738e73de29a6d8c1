"""A client's connection that carries another protocol from here on, such as WebSocket: it is relayed."""

from __future__ import annotations

import math

from attrs import frozen

from tcpbalance.http.exchange import Exchange
from tcpbalance.http.record import RequestRecord
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.dialler import BackendConnection, Dialler
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.phases import RELAYING
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.relay import join
from tcpbalance.proxy.session import Session


class Tunnel(Session):
    """A session of mode "tcp" that begins where both sides are connected, and is recorded as a request.

    :param context: of the frontend.
    :param address: where the client connects from.
    :param admitted: the address that was admitted; None without admission control.
    :param preread: what is known of a client that had to send something first; else None.
    :param exchange: the request whose response has changed the protocol.
    :cvar is_idle: False; it is never between two requests.
    """

    is_idle = False

    __slots__ = ("_exchange",)

    def __init__(
        self,
        context: SessionContext,
        address: ClientAddress,
        admitted: ClientAddress | None,
        preread: Preread | None,
        exchange: Exchange,
    ) -> None:
        super().__init__(context, address, admitted)
        self._exchange = exchange
        self._born, self._started = exchange.began, exchange.started
        self._preread = preread

    def begin(self, client: Peer, aged_at: float, early: bytes, answer: bytes) -> None:
        """Take over both connections, and relay what comes.

        :param client: its side.
        :param aged_at: when the connection is too old.
        :param early: what the client has sent already.
        :param answer: what the backend has sent behind its response.
        """
        exchange, context = self._exchange, self._context
        self.client = client
        client.session = self
        client.reported = exchange.client_bytes
        backend = self.backend = BackendConnection(self)
        self._take_over(exchange, backend)
        backend.transport.hand_over(backend)
        backend.reported = exchange.backend_bytes - len(answer)
        self.aged_at = aged_at
        self._phase = RELAYING
        self._deadlines = Deadlines(self, context, math.inf)
        self._deadlines.connected()
        self._deadlines.look()
        client.transport.unregisterProducer()
        join(client, backend)
        rate = context.limits.bandwidth_per_connection
        if rate is not None:
            self._limit_bandwidth(client, rate)
            self._limit_bandwidth(backend, rate)
        if answer:
            self.backend_sent(answer)
        if early:
            self.client_sent(early)
        client.resumeProducing()

    def _take_over(self, exchange: Exchange, backend: BackendConnection) -> None:
        """Take the connection of the request, and all that belongs to it."""
        connection, slot, pool = exchange.give_up_backend()
        backend.transport, backend.finished = connection.transport, connection.finished
        clock = self._context.clock
        self._pool, self._served_by = pool, slot.backend
        self._dialler = dialler = Dialler(pool, self._context.connector, None, clock, self)
        dialler.resume(slot, None, clock())
        dialler.connected(0.0)
        dialler.dial.settle()

    def _leave(self, client_bytes: int, backend_bytes: int) -> None:
        """See ``Session``."""
        exchange = self._exchange
        assert self._reason is not None
        exchange.client_bytes, exchange.backend_bytes = client_bytes, backend_bytes
        exchange.reason, exchange.cause = self._reason, self.cause
        exchange.count_response(self._reason)
        super()._leave(client_bytes, backend_bytes)
        del self._exchange  # No reference cycle is left behind for the garbage collector to find.

    def record(self, client_bytes: int, backend_bytes: int) -> RequestRecord:
        """See ``Session``."""
        return self._exchange.record()


@frozen
class _NoPool:
    """Where the backend of a session is what its client has named."""

    name: None = None


_NO_POOL = _NoPool()


class ConnectTunnel(Tunnel):
    """The tunnel of a request with CONNECT, whose backend is the destination that its client has named."""

    __slots__ = ()

    def _take_over(self, exchange: Exchange, backend: BackendConnection) -> None:
        """See ``Tunnel``."""
        opening = exchange.give_up_opening()
        assert opening.side is not None
        backend.transport = opening.side.transport
        # They have what is asked of them where a backend is connected.
        self._pool = _NO_POOL  # type: ignore[assignment]
        self._dialler = opening  # type: ignore[assignment]
        self._served_by = exchange.served_by
