"""The backend's side of a session."""

from __future__ import annotations

import typing

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
        """Whether the write side can be closed alone, so that the backend can still answer."""
        return super().can_half_close or self.transport.ends_by_close_notify
