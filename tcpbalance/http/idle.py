"""Connections to the backends of one pool that wait for their next request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.python.failure import Failure

from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.reasons import EndReason

UNREPEATABLE = 1.0
"""Seconds that a connection may have waited that gets a request which must not be sent twice. Servers close
idle connections after some seconds, and the request and that end may cross. Those that close them earlier are
found out; see ``IdleConnections.ended``."""


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

    A backend that has ended one within ``UNREPEATABLE`` may end each of them so, and the end would cross the
    next request. Until one that was put aside after it has waited for longer, only requests that may be sent
    twice get a connection that waits.

    :param pool: whose backends they lead to.
    :param wheel: times how long they are kept.
    :param clock: seconds on a monotonic clock.
    """

    def __init__(self, pool: Pool, wheel: Wheel, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._wheel = wheel
        self._clock = clock
        self._of: dict[Backend, list[BackendHttpConnection]] = {}
        self._early_ends: dict[Backend, float] = {}
        self._unsubscribe = pool.subscribe(self._on_change)
        self._closed = False
        self.slot: int | None = None

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def take(self, backend: Backend, repeatable: bool) -> BackendHttpConnection | None:
        """Give an open connection to a backend, the youngest.

        :param repeatable: whether the request may be sent twice.
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
        if not repeatable and (
            waited > UNREPEATABLE or (backend in self._early_ends and self._ends_early(backend))
        ):
            return None
        if connection.transport.has_news():
            # It has ended, or bytes have come that no request has asked for; the reactor has not said so yet.
            self._drop_ended(connection)
            return None
        return waiting.pop()

    def put(self, connection: BackendHttpConnection) -> bool:
        """Keep a connection whose request and response are complete, or close it.

        :returns: whether it is kept.
        """
        backend, http = connection.backend, self._pool.http
        clock = self._clock
        connection.idle_since = clock()
        # Its end, too, is no concern of the request any more.
        connection.session = self
        if connection.finished or connection.gone or connection.transport.ending:
            # The end has come with the response, which has not announced it.
            self.ended(connection)
            connection.close(orderly=True)
            return False
        if (
            self._closed
            or not backend.available
            or connection.tls is not self._pool.tls
            or not http.idle_connections
            or not http.idle
        ):
            connection.close(orderly=True)
            return False
        waiting = self._of.get(backend)
        if waiting is None:
            waiting = self._of[backend] = []
        elif len(waiting) >= http.idle_connections:
            if backend in self._early_ends:
                # Each request that must not be sent twice brings one more: the oldest would never grow old.
                connection.close(orderly=True)
                return False
            self._drop(waiting[:1])
        waiting.append(connection)
        if self.slot is None:
            self._wheel.watch(self, http.idle)
        return True

    def ended(self, connection: BackendHttpConnection) -> None:
        """Take note that a backend has ended a connection whose last response has not announced that."""
        backend, now = connection.backend, self._clock()
        if now - connection.idle_since <= UNREPEATABLE and not backend.removed:
            self._early_ends[backend] = now

    def _ends_early(self, backend: Backend) -> bool:
        """Whether a backend that has ended a connection early has left none open for longer since."""
        ended, until = self._early_ends[backend], self._clock() - UNREPEATABLE
        for connection in self._of[backend]:
            if ended <= connection.idle_since < until and not connection.transport.has_news():
                del self._early_ends[backend]
                return False
        return True

    def _drop_ended(self, connection: BackendHttpConnection) -> None:
        """Drop a connection that the backend has ended, or has sent what answers no request."""
        if connection in self._of.get(connection.backend, ()):
            self.ended(connection)
        self._drop((connection,))

    def _drop(self, connections: Iterable[BackendHttpConnection]) -> None:
        for connection in connections:
            self._remove(connection)
            connection.close(orderly=True)

    def _remove(self, connection: BackendHttpConnection) -> None:
        waiting = self._of.get(connection.backend, [])
        if connection in waiting:
            waiting.remove(connection)

    def _on_change(self, change: PoolChange) -> None:
        for backend in change.removed:
            self._early_ends.pop(backend, None)
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
        self._drop_ended(connection)

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``: the backend closes it."""
        assert isinstance(side, BackendHttpConnection)
        self._drop_ended(side)

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``: ``lost`` follows."""

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True
        assert isinstance(side, BackendHttpConnection)
        self._drop_ended(side)

    def end(self, reason: EndReason) -> None:
        """See ``PeerOwner``."""
