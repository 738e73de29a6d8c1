"""The client's side of a session."""

from __future__ import annotations

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.addresses import ClientAddress
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.session import Session


@implementer(IHandshakeListener)
class ClientConnection(Peer):
    """The client's side of a session, which begins once it is connected.

    :param context: of the frontend.
    :param address: where the client connects from.
    :param admitted: the address that was admitted; None without admission control, and before its decision.
    """

    session: Session
    session_kind: type[Session] = Session

    def __init__(
        self, context: SessionContext, address: ClientAddress, admitted: ClientAddress | None = None
    ) -> None:
        self._context = context
        self._address = address
        self._admitted = admitted

    def connectionMade(self) -> None:
        """The client is connected: begin its session."""
        context = self._context
        self.session = session = self.session_kind(context, self._address, self._admitted)
        self._admitted = None  # The session gives it back.
        context.registry.add(session)
        session.start(self)

    def came_before(self, seconds: float, received: bytes) -> None:
        """Take what has happened at the connection in another process, right after it was made here.

        :param seconds: since it was accepted.
        :param received: what was read from it.
        """
        if hasattr(self, "session") and not self.gone:
            self.session.backdate(seconds)
            if received:
                self.session.client_sent(received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if hasattr(self, "session"):
            super().connectionLost(reason)
        else:
            self._has_no_session()

    def _has_no_session(self) -> None:
        """The system lacked what its transport needs, or an exception kept its session from beginning."""
        context = self._context
        context.registry.stats.setup_failures += 1
        admitted, self._admitted = self._admitted, None
        if admitted is not None and context.admission is not None:
            context.admission.release(admitted)

    def handshakeCompleted(self) -> None:
        """The TLS handshake of the client is over."""
        self.session.tls_established()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the client."""
        self.session.client_sent(data)
