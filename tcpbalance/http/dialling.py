"""Reaches a backend for a request: by a connection that waits for one, or by dialling."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from tcpbalance.http.idle import IdleConnections
from tcpbalance.http.upstream import BackendHttpConnection, RequestCaller
from tcpbalance.net.connecting import Connector
from tcpbalance.net.transport import Transport
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.dialler import Dialler
from tcpbalance.proxy.outgoing_proxy_header import OutgoingProxyHeader, outgoing_proxy_header
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.preread import Preread


class HttpDialler(Dialler):
    """A ``Dialler`` that takes an idle connection of the chosen backend before it dials one.

    For the parameters not named here see there.

    :param idle: connections that wait.
    :param repeatable: whether the request may be sent twice.
    :ivar until: when it has taken too long, by the frontend's clock.
    :ivar outgoing_header: the PROXY header of the attempt under way, or of the connection; None without one.
    """

    __slots__ = ("_idle", "_repeatable", "outgoing_header", "until")

    _take = staticmethod(Pool.take_for_request)

    def __init__(
        self,
        pool: Pool,
        connector: Connector,
        client: bytes | None,
        clock: Callable[[], float],
        caller: RequestCaller,
        *,
        idle: IdleConnections,
        repeatable: bool,
    ) -> None:
        super().__init__(pool, connector, client, clock, caller)
        self._idle: IdleConnections | None = idle
        self._repeatable = repeatable
        self.outgoing_header: OutgoingProxyHeader | None = None
        self.begin_time()

    def begin_time(self) -> None:
        """Give it all the time that the pool allows, from now on."""
        self.until = self._clock() + self.pool.dial_timeout

    @property
    def takes_none_that_waits(self) -> bool:
        """Whether a connection that waited has turned out to be closed."""
        return self._idle is None

    def introduce(self, client: Transport, preread: Preread | None) -> None:
        """Make the PROXY header of the attempt that begins, if the pool wants one.

        :param client: the client's.
        :param preread: what is known of a client that had to send something first; else None.
        """
        pool, outgoing = self.pool, None
        if pool.send_proxy_protocol is not None:
            outgoing = outgoing_proxy_header(pool, client.getPeer(), client.getHost(), preread)
        self.outgoing_header = outgoing
        self.preamble = b"" if outgoing is None or pool.tls is None else outgoing.header

    def begin(self, slot: Slot | None, choices: Generator[Backend, None, None] | None) -> None:
        """Begin with what ``Selection.choose`` has given.

        :param slot: of the choice, for which no connection waits; None where there was none.
        :param choices: what may be tried after it; None for what the pool yields after it.
        """
        self.resume(slot, choices, self._clock())
        if slot is None:
            self.go_on()
        else:
            self._begin_attempt(slot.backend)

    def dial_anew(self, slot: Slot) -> None:
        """Open a connection to the backend of a slot, because one that was open has turned out not to be.

        From now on none is taken that waits: it may be as old.
        """
        self._idle = self.connect_time = None
        if self.slot is None:
            self.resume(slot, None, self._clock())
        self._begin_attempt(slot.backend)

    def _begin_attempt(self, backend: Backend) -> None:
        """See ``Dialler``."""
        connection = None if self._idle is None else self._idle.take(backend, self._repeatable)
        if connection is None:
            super()._begin_attempt(backend)
            return
        assert self.slot is not None
        assert self._caller is not None
        self.slot.reused()
        self.connected(0.0)
        self._caller.backend_connected(connection)

    def buildProtocol(self, addr: Any) -> Peer:
        """See ``Dialler``."""
        caller: Any = self._accepted()
        assert self.slot is not None
        pool = self.pool
        return BackendHttpConnection(caller, self.slot.backend, pool.tls, pool.http.response_head_size)
