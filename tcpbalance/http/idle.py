"""Connections to the backends of one pool that wait for their next request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from twisted.python.failure import Failure

from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.reasons import EndReason

REPEATABLE = math.inf
UNREPEATABLE = 1.0
"""Seconds that a connection may have waited that gets a request which must not be sent twice. Servers close
idle connections after some seconds, and the request and that end may cross; none closes after less."""


class IdleOfPools(dict[Pool, "IdleConnections"]):
    """The connections of one frontend that wait, by the pool of their backends.

    For the parameters see ``IdleConnections``.
    """

    def __init__(self, wheel: Wheel, clock: Callable[[], float]) -> None:
        super().__init__()
        self._wheel = wheel
        self._clock = clock

    def __missing__(self, pool: Pool) -> IdleConnections:
        idle = self[pool] = IdleConnections(pool, self._wheel, self._clock)
        return idle


class IdleConnections:
    """Keeps open connections for the next requests to their backends, of one frontend and one pool.

    None of them was opened with a PROXY header, and none is taken once the pool wants one.

    Of one backend, the connection that was used last is used next, so that those beyond need grow old. Each
    stays watched: an end, a byte or an error drops it at once.

    :param pool: whose backends they lead to.
    :param wheel: times how long they are kept.
    :param clock: seconds on a monotonic clock.
    """

    def __init__(self, pool: Pool, wheel: Wheel, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._wheel = wheel
        self._clock = clock
        self._of: dict[Backend, list[BackendHttpConnection]] = {}
        self._unsubscribe = pool.subscribe(self._on_change)
        self._closed = False
        self.slot: int | None = None

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def take(self, backend: Backend, max_idle: float) -> BackendHttpConnection | None:
        """Give an open connection to a backend, the youngest.

        :param max_idle: seconds that it may have waited.
        """
        waiting = self._of.get(backend)
        if not waiting:
            return None
        connection, pool = waiting[-1], self._pool
        clock = self._clock
        waited = clock() - connection.idle_since
        # A PROXY header names one client, in front of all that a connection carries.
        is_other = connection.tls is not pool.tls or pool.send_proxy_protocol is not None
        if waited >= pool.http.idle or is_other:
            self._drop(tuple(waiting))
            return None
        if waited > max_idle:
            return None
        if connection.transport.has_news():
            # It has ended, or bytes have come that no request has asked for; the reactor has not said so yet.
            self._drop((connection,))
            return None
        return waiting.pop()

    def put(self, connection: BackendHttpConnection) -> None:
        """Keep a connection whose request and response are complete, or close it."""
        backend, http = connection.backend, self._pool.http
        # Its end, too, is no concern of the request any more.
        connection.session = self
        if (
            self._closed
            or not backend.available
            or connection.tls is not self._pool.tls
            or not http.idle_connections
            or not http.idle
        ):
            connection.close(orderly=True)
            return
        clock = self._clock
        connection.idle_since = clock()
        waiting = self._of.get(backend)
        if waiting is None:
            waiting = self._of[backend] = []
        elif len(waiting) >= http.idle_connections:
            self._drop(waiting[:1])
        waiting.append(connection)
        if self.slot is None:
            self._wheel.watch(self, http.idle)

    def _drop(self, connections: Iterable[BackendHttpConnection]) -> None:
        for connection in connections:
            self._remove(connection)
            connection.close(orderly=True)

    def _remove(self, connection: BackendHttpConnection) -> None:
        waiting = self._of.get(connection.backend, [])
        if connection in waiting:
            waiting.remove(connection)

    def _on_change(self, change: PoolChange) -> None:
        for backend in (*change.removed, *change.changed):
            self._drop(tuple(self._of.get(backend, ())))

    def check(self, now: float) -> float | None:
        """The wheel's call: drop those that have waited for too long.

        :returns: the seconds until the next has; None without one.
        """
        until, oldest = now - self._pool.http.idle, now
        for backend, waiting in tuple(self._of.items()):
            self._drop([connection for connection in waiting if connection.idle_since <= until])
            if waiting:
                oldest = min(oldest, waiting[0].idle_since)
            else:
                del self._of[backend]
        return oldest - until if self._of else None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self._drop_all()

    def close(self) -> None:
        """Close all, and keep none from now on."""
        self._closed = True
        self._unsubscribe()
        self._drop_all()
        self._wheel.forget(self)

    def _drop_all(self) -> None:
        for waiting in self._of.values():
            self._drop(tuple(waiting))

    # What happens to a connection that waits

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """Bytes came that answer no request."""
        self._drop((connection,))

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the backend closes it."""
        assert isinstance(side, BackendHttpConnection)
        self._drop((side,))

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: ``lost`` follows."""

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        assert isinstance(side, BackendHttpConnection)
        self._remove(side)

    def end(self, reason: EndReason) -> None:
        """See ``PeerOwner``."""
