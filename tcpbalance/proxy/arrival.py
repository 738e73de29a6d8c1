"""A client that has to say something before a backend is chosen: from its accept until it has, or has not."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.net.addresses import shown
from tcpbalance.net.tls.errors import HandshakeFailed, handshake_cause
from tcpbalance.net.tls.facts import asked_name, facts_of
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.client_info import ClientInfo
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.session import Session
from tcpbalance.wire.proxy_protocol import ProxyHeaderError


class Arrival:
    """Owns the client's side until the client has said what it has to; then a session does.

    It ends as a session does: that is decided once, and accounted for when the transport is gone.

    :param context: of the frontend that it belongs to.
    :param client: the client's side, connected.
    :param preread: takes what the client says.
    :ivar cause: what was wrong with what the client said, empty when nothing was.
    """

    _log = Logger()

    __slots__ = ("_context", "_introduction", "_preread", "_reason", "cause", "client", "slot")

    backend = None
    served_by = None

    def __init__(self, context: SessionContext, client: ClientConnection, preread: Preread) -> None:
        self._context = context
        self.client = client
        self._preread = preread
        self._introduction = ClientInfo(
            client.transport.getPeer(), preread, born=context.clock(), started=context.wall_clock()
        )
        self._reason: EndReason | None = None
        self.cause = ""
        self.slot: int | None = None

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        return self._reason is not None

    @property
    def buffered(self) -> int | None:
        """Bytes that are held of what the client said, or for it; None once its end is decided."""
        if self._reason is not None:
            return None
        return len(self._preread.kept) + self.client.in_flight()

    def start(self) -> None:
        """Begin, with the client connected."""
        self._context.wheel.watch(self, self._preread.timeout)
        if not self._preread.expects_plaintext:
            self._accept_tls()
        elif self._preread.tls is not None:
            self.client.transport.look()

    # What the client's side tells

    def client_sent(self, data: bytes) -> None:
        """Bytes came from the client."""
        if self._reason is not None:
            return
        try:
            known = self._preread.feed(data)
        except ProxyHeaderError as error:
            self.cause = f"{error} (from {shown(self._introduction.peer)})"
            self.end(EndReason.BAD_PROXY_HEADER)
        else:
            if known:
                self._go_on()

    def secured(self) -> None:
        """The handshake is over; where it is none of ours, what was to be said is still to come."""
        if self._reason is not None or self._preread.tls is None:
            return
        connection = self.client.transport.getHandle()
        try:
            self._preread.secured = facts_of(connection, self._context.wall_clock())
        except HandshakeFailed as error:
            self.cause = error.cause
            self.end(EndReason.HANDSHAKE_FAILED)
        else:
            self._hand_over()

    def finished(self, side: Peer) -> None:
        """The client has finished sending, and has not said what it had to."""
        side.finished = True
        self.end(EndReason.CLIENT_CLOSED)

    def write_closed(self, side: Peer) -> None:
        """Our write side is closed, which only its end can have brought about."""
        side.write_closed = True

    def connection_error(self, side: Peer) -> None:
        """The client has broken off; what it has sent is heard to its end."""

    def lost(self, side: Peer, failure: Failure) -> None:
        """The client's transport is gone."""
        side.gone = True
        if self._reason is None:
            self._reason, self.cause = _account_of(failure, side.transport)
        if self._reason is EndReason.HANDSHAKE_FAILED:
            self._preread.note_server_name(asked_name(side.transport.getHandle()))
        self._context.wheel.forget(self)
        self.client.release_admission()
        self._context.registry.remove(self, self._reason)
        # No circle is left behind for the garbage collector to find.
        del side.session

    # What becomes of it

    def _go_on(self) -> None:
        """All is said that comes in the clear."""
        refusal = self.client.admit(self._introduction.judged)
        if refusal is not None:
            self.cause = refusal.word
            self.end(EndReason.REFUSED)
        elif self._preread.tls is None:
            self._hand_over()
        else:
            self._accept_tls()

    def _accept_tls(self) -> None:
        """All is said that comes in the clear: let the client speak TLS."""
        assert self._preread.tls is not None
        rest = bytes(self._preread.kept)
        self._preread.kept.clear()
        self.client.transport.accept_tls(self._preread.tls, rest)

    def _hand_over(self) -> None:
        """All is known: a session takes over the client, and what it has sent for the backend."""
        pool = self._preread.pool(self._context.pool)
        if pool is None:
            self.end(EndReason.NO_ROUTE)
            return
        self._context.wheel.forget(self)
        session = Session(self._context, self.client, pool, self._introduction)
        self.client.session = session
        self._context.registry.replace(self, session)
        try:
            session.start()
        except Exception:
            self._log.failure("frontend {name}: a session could not be started", name=self._context.name)
            session.end(EndReason.INTERNAL_ERROR)

    def check(self, now: float) -> float | None:
        """The wheel's call: end what has lasted too long.

        :param now: seconds on the frontend's clock.
        :returns: the seconds until the next check, None when there is nothing left to be ended.
        """
        if self._reason is None:
            self.end(EndReason.PREREAD_TIMEOUT)
        else:
            self.client.close(orderly=False)
        return None if self.client.gone else self._context.timeouts.half_close_timeout

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        self.end(EndReason.INTERNAL_ERROR)
        self.client.close(orderly=False)

    def end(self, reason: EndReason) -> None:
        """Decide the end; what is decided already stands."""
        if self._reason is None:
            self._reason = reason
            self.client.close(reason.orderly)

    def record(self) -> SessionRecord:
        """The account of a client that came no further."""
        assert self._reason is not None
        lasted = self._context.clock() - self._introduction.born
        return SessionRecord(
            started=self._introduction.started,
            client=shown(self._introduction.client),
            frontend=self._context.name,
            backend=None,
            attempts=0,
            wait=lasted,
            connect=None,
            total=lasted,
            client_bytes=len(self._preread.kept),
            backend_bytes=0,
            reason=self._reason,
            cause=self.cause,
            proxy=self._introduction.shown_proxy,
            server_name=self._preread.server_name,
        )


def _account_of(failure: Failure, transport: Any) -> tuple[EndReason, str]:
    """Why a client is gone that nobody has sent away, and what was wrong with what it said."""
    cause = handshake_cause(failure, transport)
    if cause is not None:
        return EndReason.HANDSHAKE_FAILED, cause
    if isinstance(failure.value, ConnectionDone):
        return EndReason.CLIENT_CLOSED, ""
    broken = isinstance(failure.value, BROKEN_OFF)
    return EndReason.CLIENT_RESET if broken else EndReason.INTERNAL_ERROR, ""
