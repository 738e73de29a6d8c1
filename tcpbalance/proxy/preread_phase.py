"""The first phase of a session whose client has to send something before a backend is chosen."""

from __future__ import annotations

import typing

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.admission.refusal import Refusal
from tcpbalance.net.addresses import shown
from tcpbalance.net.tls.errors import HandshakeFailed, handshake_cause
from tcpbalance.net.tls.facts import asked_name, facts_of
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.client_info import ClientInfo
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.proxy_protocol import ProxyHeaderError


class HeardSession(typing.Protocol):
    """A session as this phase sees it."""

    client: Peer

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        ...

    def admit(self, address: object) -> Refusal | None:
        """Admit the client, or refuse it, now that its address is known."""
        ...

    def client_known(self, pool: Pool) -> None:
        """The preread is complete: a backend of this pool serves the client."""
        ...

    def turn_away(self, reason: EndReason, cause: str) -> None:
        """Decide the end, and note what was wrong with what the client sent."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide the end."""
        ...


class PrereadPhase:
    """Runs the preread under one deadline: PROXY header, ClientHello or TLS handshake.

    It and the session hold each other until ``stop``.

    :param session: called with the outcome.
    :param context: of the frontend.
    :param info: of the client; what it sends is added there.
    """

    __slots__ = ("_context", "_info", "_session", "slot")

    def __init__(self, session: HeardSession, context: SessionContext, info: ClientInfo) -> None:
        self._session = session
        self._context = context
        self._info = info
        self.slot: int | None = None

    @property
    def buffered(self) -> int:
        """Bytes of the client that are held."""
        return len(self._info.preread.kept)

    def start(self) -> None:
        """Begin, with the client connected."""
        preread = self._info.preread
        self._context.wheel.watch(self, preread.timeout)
        if not preread.expects_plaintext:
            self._accept_tls()
        elif preread.tls is not None:
            # The handshake reads from the socket itself: what comes before it is only looked at.
            self._session.client.transport.look()

    def feed(self, data: bytes) -> None:
        """Bytes came from the client."""
        info, session = self._info, self._session
        try:
            if not info.preread.feed(data):
                return
        except ProxyHeaderError as error:
            session.turn_away(EndReason.BAD_PROXY_HEADER, f"{error} (from {shown(info.peer)})")
            return
        # Everything in plain text is here: the address of the client is known now.
        refusal = session.admit(info.judged)
        if refusal is not None:
            session.turn_away(EndReason.REFUSED, refusal.word)
        elif info.preread.tls is not None:
            self._accept_tls()
        else:
            self._choose_pool()

    def tls_established(self) -> None:
        """The TLS handshake of the client is over."""
        preread, session = self._info.preread, self._session
        # The handshake of a foreign endpoint is no part of the preread.
        if session.ending or preread.tls is None:
            return
        connection = session.client.transport.getHandle()
        try:
            preread.secured = facts_of(connection, self._context.wall_clock())
        except HandshakeFailed as error:
            preread.note_server_name(asked_name(connection))
            session.turn_away(EndReason.HANDSHAKE_FAILED, error.cause)
        else:
            self._choose_pool()

    def reason_of(self, failure: Failure) -> tuple[EndReason, str]:
        """Find out why the client is gone, and what was wrong with what it sent."""
        transport = self._session.client.transport
        cause = handshake_cause(failure, transport)
        if cause is not None:
            self._info.preread.note_server_name(asked_name(transport.getHandle()))
            return EndReason.HANDSHAKE_FAILED, cause
        if isinstance(failure.value, ConnectionDone):
            return EndReason.CLIENT_CLOSED, ""
        broken = isinstance(failure.value, BROKEN_OFF)
        return EndReason.CLIENT_RESET if broken else EndReason.INTERNAL_ERROR, ""

    def check(self, now: float) -> float | None:
        """The wheel's call: the time is over, for the preread or for the close that followed it.

        :param now: seconds on the frontend's clock.
        :returns: the seconds until the next check, None when there is nothing left to be ended.
        """
        session = self._session
        if session.ending:
            session.client.close(orderly=False)
        else:
            session.end(EndReason.PREREAD_TIMEOUT)
        return None if session.client.gone else self._context.timeouts.half_close_timeout

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        client = self._session.client
        self._session.end(EndReason.INTERNAL_ERROR)
        client.close(orderly=False)

    def stop(self) -> None:
        """Stop; calling it again does nothing."""
        self._context.wheel.forget(self)
        # No reference cycle is left behind for the garbage collector to find.
        if hasattr(self, "_session"):
            del self._session

    def _accept_tls(self) -> None:
        """Begin the TLS handshake; what the client has sent already is its beginning."""
        preread = self._info.preread
        assert preread.tls is not None
        rest = bytes(preread.kept)
        preread.kept.clear()
        self._session.client.transport.accept_tls(preread.tls, rest)

    def _choose_pool(self) -> None:
        """All is known: the pool is the route's, or the frontend's."""
        pool = self._info.preread.pool(self._context.pool)
        if pool is None:
            self._session.end(EndReason.NO_ROUTE)
        else:
            self._session.client_known(pool)
