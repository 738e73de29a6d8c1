"""The first phase of a session whose client has to send something before a backend is chosen: a PROXY header,
a TLS handshake, or a ClientHello with the server name that it wants.

Where TLS ends here, the handshake comes after the PROXY header. Else nothing is answered, and what the
backend is to read is kept for it: a ClientHello is looked at and passed on, byte for byte. Only a PROXY
header is taken out, which the backend gets anew where its pool says so.
"""

from __future__ import annotations

import typing

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tcpbalance.net.addresses import ClientAddress, twisted_address
from tcpbalance.net.ends import reset_on_close
from tcpbalance.net.tls.errors import HandshakeFailed, handshake_cause
from tcpbalance.net.tls.facts import TlsFacts, asked_name, facts_of
from tcpbalance.net.tls.openssl import was_resumed
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.proxy.peer import BROKEN_OFF, Peer
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import count_cause
from tcpbalance.wire.client_hello import HelloError, HelloReader
from tcpbalance.wire.proxy_protocol import ProxyHeader, ProxyHeaderError, UnixAddress, read_header


class PrereadSession(typing.Protocol):
    """A session as this phase sees it.

    :ivar admitted: the address that admission control has admitted; None before that, and without one.
    """

    admitted: ClientAddress | None

    @property
    def client(self) -> Peer:
        """Its side, connected."""
        ...

    @property
    def ending(self) -> bool:
        """Whether its end has been decided."""
        ...

    def client_known(self) -> None:
        """The preread is complete."""
        ...

    def hand_over(self, received: bytes, unused: int) -> None:
        """The client belongs to another process, which goes on with the connection.

        :param received: all that has come.
        :param unused: how many of its last bytes are not the preread's.
        """
        ...

    def turn_away(self, reason: EndReason, cause: str) -> None:
        """Decide the end, and note what was wrong with what the client sent."""
        ...

    def end(self, reason: EndReason) -> None:
        """Decide the end."""
        ...


class Preread:
    """Takes what a client sends, in whatever pieces it comes, under one deadline, until all is known that was
    asked for. What it has found out stays after that.

    It and the session hold each other until ``stop``.

    :param session: called with the outcome.
    :param context: of the frontend.
    :param settings: what the frontend asks for.
    :param peer: the address that the client connects from.
    :ivar peer: the same.
    :ivar client: the client's address: the one in the PROXY header, else the peer's.
    :ivar header: the PROXY header, once it is there.
    :ivar tls: what the TLS handshake has agreed on, once it is over.
    :ivar kept: what has come and is the backend's to read.
    """

    __slots__ = (
        "_context",
        "_hello",
        "_needs_header",
        "_server_name",
        "_session",
        "_settings",
        "client",
        "header",
        "kept",
        "peer",
        "slot",
        "tls",
    )

    def __init__(
        self, session: PrereadSession, context: SessionContext, settings: PrereadSettings, peer: ClientAddress
    ) -> None:
        self._session = session
        self._context = context
        self._settings = settings
        self._needs_header = settings.expects_header(peer)
        self._hello = HelloReader() if settings.routes is not None else None
        self._server_name: str | None = None
        self.peer = self.client = peer
        self.header: ProxyHeader | None = None
        self.tls: TlsFacts | None = None
        self.kept = bytearray()
        self.slot: int | None = None

    @property
    def server_name(self) -> str | None:
        """What the client asks for in its ClientHello; None without one, and while it is not known."""
        return self._server_name if self.tls is None else self.tls.server_name

    @property
    def expects_header(self) -> bool:
        """Whether the PROXY header is still to come."""
        return self._needs_header

    @property
    def proxy(self) -> ClientAddress | None:
        """The proxy that the client comes through, None without one."""
        return None if self.client is self.peer else self.peer

    def start(self) -> None:
        """Begin, with the client connected."""
        if not self._needs_header and self._settings.belongs_elsewhere(self.peer):
            self._session.hand_over(b"", 0)
            return
        self._context.wheel.watch(self, self._settings.timeout)
        if not self._needs_header and self._hello is None:
            self._accept_tls()
        elif self._settings.tls is not None:
            # The handshake reads from the socket itself: what comes before it is only looked at.
            self._session.client.transport.look()

    def resume(self, left: float) -> None:
        """Go on in the place of a session that has begun bare, whose TLS handshake is under way.

        :param left: seconds that it may still take.
        """
        self._context.wheel.watch(self, left)

    def feed(self, data: bytes) -> None:
        """Take what has come from the client."""
        try:
            known = self._read(data)
        except ProxyHeaderError as error:
            self._session.turn_away(EndReason.BAD_PROXY_HEADER, f"{error} (from {self.peer})")
            return
        if known and self._is_admitted():
            # Everything in plain text is here.
            if self._settings.tls is not None:
                self._accept_tls()
            else:
                self._session.client_known()

    def _read(self, data: bytes) -> bool:
        """Read on in what has come.

        :returns: whether all is known that comes in plain text.
        :raises ProxyHeaderError: a proxy does not keep to the protocol.
        """
        self.kept += data
        if self._needs_header:
            found = read_header(bytes(self.kept))
            if found is None:
                return False
            self.header, size = found
            if self.header.source is not None:
                self.client = ClientAddress(twisted_address(self.header.source))
                if self._settings.belongs_elsewhere(self.client):
                    self._session.hand_over(bytes(self.kept), len(self.kept) - size)
                    return False
            del self.kept[:size]
            self._needs_header = False
            data = bytes(self.kept)
        return self._hello is None or self._look_for_name(self._hello, data)

    def _look_for_name(self, hello: HelloReader, data: bytes) -> bool:
        """Look for the server name; what is not TLS, or malformed, has none and is left to the backend."""
        try:
            found = hello.feed(data)
            if found is None:
                return False
            self._server_name = found.server_name
        except HelloError:
            pass
        # A malformed ClientHello may be long: what was copied of it is dropped.
        self._hello = None
        return True

    def _is_admitted(self) -> bool:
        """Admit the client, or turn it away, now that its address is known."""
        session, admission = self._session, self._context.admission
        if admission is None or session.admitted is not None:
            return True
        # A PROXY header may name the peer of a unix socket, which no list and no limit knows.
        unix = self.header is not None and isinstance(self.header.source, UnixAddress)
        address = self.peer if unix else self.client
        refusal = admission.admit(address)
        if refusal is not None:
            session.turn_away(EndReason.REFUSED, refusal.word)
            return False
        session.admitted = address
        return True

    def _accept_tls(self) -> None:
        """Begin the TLS handshake; what the client has sent already is its beginning."""
        assert self._settings.tls is not None
        rest = bytes(self.kept)
        self.kept.clear()
        self._session.client.transport.accept_tls(self._settings.tls, rest)

    def backdate(self, seconds: float) -> None:
        """Take into account that the client was accepted some seconds ago."""
        if self.slot is not None:
            self._context.wheel.watch(self, max(0.0, self._settings.timeout - seconds))

    def tls_established(self) -> None:
        """The TLS handshake of the client is over."""
        session = self._session
        # The handshake of a foreign endpoint is no part of the preread.
        if session.ending or self._settings.tls is None:
            return
        connection = session.client.transport.getHandle()
        try:
            self.tls = facts_of(connection, self._context.wall_clock())
        except HandshakeFailed as error:
            self._server_name = asked_name(connection)
            self._count_failure(error.cause)
            session.turn_away(EndReason.HANDSHAKE_FAILED, error.cause)
        else:
            stats = self._context.registry.stats
            stats.note_handshake(self.tls.version, was_resumed(connection))
            session.client_known()

    def hand_over_client(self, born: float, received: bytes, unused: int) -> None:
        """Give the client's connection to the process that it belongs to, and stop.

        :param born: when it was accepted.
        :param received: all that has come.
        :param unused: how many of its last bytes are not the preread's.
        """
        client, settings, owned_by = self._session.client, self._settings, self.client.packed
        assert settings.hand_over is not None
        assert owned_by is not None
        self.stop()
        sock, lost = client.transport.give_up(unused)
        reset_on_close(sock)
        connection = HandedOver(
            self._context.name,
            self.peer.twisted,
            born,
            received[: len(received) - unused + lost],
            sock,
            has_header=self.header is not None,
            ends_tls=settings.tls is not None,
        )
        settings.hand_over.hand_over(owned_by, connection)

    def reason_of(self, failure: Failure) -> tuple[EndReason, str]:
        """Find out why the client is gone, and what was wrong with what it sent; count a failed handshake."""
        transport = self._session.client.transport
        cause = handshake_cause(failure, transport)
        if cause is not None:
            self._server_name = asked_name(transport.getHandle())
            self._count_failure(cause)
            return EndReason.HANDSHAKE_FAILED, cause
        if isinstance(failure.value, ConnectionDone):
            return EndReason.CLIENT_CLOSED, ""
        broken = isinstance(failure.value, BROKEN_OFF)
        return EndReason.CLIENT_RESET if broken else EndReason.INTERNAL_ERROR, ""

    def _count_failure(self, cause: str) -> None:
        count_cause(self._context.registry.stats.tls_handshake_failures, cause)

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
