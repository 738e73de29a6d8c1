"""One connection to a backend that speaks HTTP/1: it serves one request after the other."""

from __future__ import annotations

import typing

from twisted.python.failure import Failure

from tcpbalance.net.tls.client import ClientTls
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.dialler import Caller
from tcpbalance.proxy.peer import Peer, PeerOwner
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.head_reader import ResponseReader


class ConnectionUser(PeerOwner, typing.Protocol):
    """What a connection serves: a request, or the connections that wait for one."""

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """Bytes came from the backend."""
        ...


class RequestCaller(ConnectionUser, Caller, typing.Protocol):
    """A request that a connection is opened for."""


class _NotInUse:
    """What a connection serves that is about to be closed: whatever happens to it is ignored."""

    def backend_sent(self, connection: BackendHttpConnection, data: bytes) -> None:
        """See ``ConnectionUser``."""

    def finished(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def write_closed(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def connection_error(self, side: Peer) -> None:
        """See ``PeerOwner``."""

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``PeerOwner``."""
        side.gone = True

    def end(self, reason: EndReason) -> None:
        """See ``PeerOwner``."""


NOT_IN_USE = _NotInUse()


MAX_INTERIM = 64
"""1xx responses to one request: a backend that sends more never comes to the final one."""

MAX_RESPONSE_LINES = 1000
"""Fields of the head of a response; its size bounds it in most cases before that."""


class BackendHttpConnection(Peer):
    """The backend's side of requests.

    :param user: what it serves first.
    :param backend: where it leads.
    :param tls: the settings of TLS that it was opened by; None in the clear.
    :param head_size: bytes that the head of a response may have.
    :ivar is_failing: whether the connection has failed, and what came before is still passed on.
    :ivar reader: reads the heads of responses.
    :ivar served: requests whose responses it has brought whole.
    :ivar idle_since: when the last of them was, by the frontend's clock.
    """

    session: ConnectionUser
    is_failing = False

    def __init__(self, user: RequestCaller, backend: Backend, tls: ClientTls | None, head_size: int) -> None:
        self.session = user
        self.backend = backend
        self.tls = tls
        self.reader = ResponseReader(HeadLimits(head_size, MAX_RESPONSE_LINES))
        self.served = 0
        # Each request asks for these, and the class is slow to ask.
        self.limiter = None
        self.stopped = self.finished = self.gone = False
        self.idle_since = 0.0

    def connectionMade(self) -> None:
        """The backend has accepted."""
        user: typing.Any = self.session
        user.backend_connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self.session.backend_sent(self, data)
