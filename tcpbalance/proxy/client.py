"""The client's side of a session."""

from __future__ import annotations

import typing
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.admission.refusal import Refusal
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.logged_admission import LoggedAdmission
from tcpbalance.proxy.peer import Owner, Peer


class ClientOwner(Owner, typing.Protocol):
    """What a client's side belongs to."""

    def client_sent(self, data: bytes) -> None:
        """Bytes came from the client."""
        ...

    def secured(self) -> None:
        """The client speaks TLS now."""
        ...


@implementer(IHandshakeListener)
class ClientConnection(Peer):
    """The client's side of a session.

    :param admission: decides about the client; None where all are admitted.
    :param begin: called with this once it is connected; gives it its session.
    :param admitted: the address that was admitted before; None where the decision is still to come.
    :ivar dry_run_limits: the limits that would have acted on this client, were they enforced.
    """

    session: ClientOwner
    dry_run_limits: tuple[DryRunLimit, ...] = ()

    def __init__(
        self,
        admission: LoggedAdmission | None,
        begin: typing.Callable[[ClientConnection], None],
        admitted: Any = None,
    ) -> None:
        self._admission = admission
        self._begin = begin
        self._admitted = admitted

    def admit(self, address: Any) -> Refusal | None:
        """Admit the client, or refuse it, unless that has been decided.

        :param address: the client's, which a proxy may have told.
        :returns: why it was refused.
        """
        if self._admission is None or self._admitted is not None:
            return None
        refusal = self._admission.admit(address)
        if refusal is None:
            self._admitted = address
        return refusal

    def release_admission(self) -> None:
        """Give back what the client holds of the limits."""
        if self._admitted is not None and self._admission is not None:
            self._admission.release(self._admitted)
            self._admitted = None

    def connectionMade(self) -> None:
        """A client has come."""
        self._begin(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if hasattr(self, "session"):
            super().connectionLost(reason)
        else:
            # The system lacked what its transport needs: no session has begun.
            self.release_admission()

    def handshakeCompleted(self) -> None:
        """The client speaks TLS now."""
        self.session.secured()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the client."""
        self.session.client_sent(data)
