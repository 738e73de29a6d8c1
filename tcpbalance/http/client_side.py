"""The client's side of requests, and what becomes of it after each."""

from __future__ import annotations

import enum
import typing

from tcpbalance.http.context import HttpContext
from tcpbalance.proxy.peer import Peer


class Then(enum.Enum):
    """What becomes of the client's connection after a request."""

    KEEP = enum.auto()
    """It takes the next one."""

    CLOSE = enum.auto()
    """It is closed in order."""

    RESET = enum.auto()
    """It is reset, once the client has what was sent to it."""


KEEP, CLOSE, RESET = Then
"""An enumeration is asked for its members by a function of Python's."""


class HttpClient(Peer):
    """The client's side of requests.

    :ivar stops: how often it was paused.
    """

    stops = 0

    def pauseProducing(self) -> None:
        """See ``Peer``."""
        self.stops += 1
        super().pauseProducing()


class ClientSession(typing.Protocol):
    """The session of a client, as far as its requests are answered by it.

    :ivar client: the client's side.
    :ivar is_full: whether the client takes no more for now.
    :ivar due: when deadlines are looked at next, by the frontend's clock.
    """

    client: HttpClient
    is_full: bool
    due: float

    @property
    def has_requests_waiting(self) -> bool:
        """Whether the client has sent requests ahead, which are looked at in a later turn."""
        ...

    def may_keep(self, context: HttpContext) -> bool:
        """Whether the client's connection may take another request, as far as this one does not matter."""

    def expect(self, due: float) -> None:
        """Have deadlines looked at when one may have come, by the frontend's clock."""
