"""The backend's side: a factory for each attempt, and the protocol of the one that succeeds."""

from __future__ import annotations

import typing
from typing import Any, cast

from twisted.python.failure import Failure

from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.proxy.peer import Owner, Peer


class BackendOwner(Owner, typing.Protocol):
    """What a backend's side belongs to."""

    def backend_connected(self, side: Peer) -> None:
        """The backend has accepted."""
        ...

    def backend_sent(self, data: bytes) -> None:
        """Bytes came from the backend."""
        ...


class BackendConnection(Peer):
    """The backend's side of a session."""

    session: BackendOwner

    def __init__(self, session: BackendOwner) -> None:
        self.session = session

    def connectionMade(self) -> None:
        """The backend has accepted."""
        self.session.backend_connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came from the backend."""
        self.session.backend_sent(data)

    @property
    def can_half_close(self) -> bool:
        """Whether the backend can be told that no more will come, and still answer."""
        return super().can_half_close or self.transport.ends_by_close_notify


class Attempts(typing.Protocol):
    """What makes attempts to reach a backend."""

    def accepted(self) -> BackendConnection:
        """The attempt has succeeded: give the protocol for the connection."""
        ...

    def refused(self, failure: ConnectFailed) -> None:
        """The attempt has failed."""
        ...


class BackendFactory:
    """Makes the one ``BackendConnection`` of one attempt, or reports that there is none to make."""

    __slots__ = ("_dial",)

    def __init__(self, dial: Attempts) -> None:
        self._dial = dial

    def buildProtocol(self, addr: Any) -> BackendConnection:
        """The connection stands."""
        return self._dial.accepted()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """It does not; *reason* holds a ``ConnectFailed``."""
        self._dial.refused(cast(ConnectFailed, reason.value))
