"""The client's side of requests, and what becomes of it after each."""

from __future__ import annotations

import enum

from tcpbalance.proxy.peer import Peer


class Then(enum.Enum):
    """What becomes of the client's connection after a request."""

    KEEP = enum.auto()
    """It takes the next one."""

    CLOSE = enum.auto()
    """It is closed in order."""

    LINGER = enum.auto()
    """It is closed in order, though the client may not have sent all of its request."""

    RESET = enum.auto()
    """It is reset, once the client has what was sent to it."""


class HttpClient(Peer):
    """The client's side of requests.

    :ivar stops: how often it was paused.
    """

    stops = 0

    def pauseProducing(self) -> None:
        """See ``Peer``."""
        self.stops += 1
        super().pauseProducing()
