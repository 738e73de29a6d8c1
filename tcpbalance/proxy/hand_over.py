"""Connections that another process goes on with, because their client belongs to it.

Where several processes serve one address, all connections of a client are to meet in one of them. Of a client
that a PROXY header names, that process is known only when the header has been read.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import SocketType
from typing import Protocol

from attrs import frozen

from tcpbalance.net.addresses import PeerAddress


@frozen(eq=False)
class HandedOver:
    """A connection on its way to another process.

    :param frontend: the name of the frontend that it has come to.
    :param peer: the address that it was accepted from.
    :param born: when it was accepted, in seconds on the clock of the sessions, which is that of all processes
        of the machine.
    :param received: bytes that were read from it, and that its next session begins with.
    :param sock: connected, and not blocking. Until a session has it again, its last ``close`` is a reset: its
        client must not take that for an end.
    :param has_header: whether a PROXY header names its client, which the bytes begin with then.
    :param ends_tls: whether what follows is TLS that ends in the process that serves it.
    :param came_from: the number of the process that goes on with it where the other one cannot; None where
        that is to serve it in any case.
    """

    frontend: str
    peer: PeerAddress
    born: float
    received: bytes
    sock: SocketType
    has_header: bool = False
    ends_tls: bool = False
    came_from: int | None = None


class HandOver(Protocol):
    """Knows which clients belong to another process, and brings connections there."""

    def belongs_elsewhere(self, client: bytes) -> bool:
        """Whether another process serves a client.

        :param client: its packed address: 4 bytes, or 16.
        """
        ...

    def hand_over(self, client: bytes, connection: HandedOver) -> None:
        """Bring a connection to the process that its client belongs to.

        :param client: its packed address.
        :param connection: its socket is not the caller's any more.
        """
        ...


class HandOverWhile:
    """A ``HandOver`` for as long as other processes read what clients send as this one does.

    :param hand_over: brings connections to other processes.
    :param is_so: gives whether that holds; once it does not, all clients are served here.
    """

    def __init__(self, hand_over: HandOver, is_so: Callable[[], bool]) -> None:
        self._hand_over = hand_over
        self._is_so = is_so

    def belongs_elsewhere(self, client: bytes) -> bool:
        """See ``HandOver``."""
        return self._is_so() and self._hand_over.belongs_elsewhere(client)

    def hand_over(self, client: bytes, connection: HandedOver) -> None:
        """See ``HandOver``."""
        self._hand_over.hand_over(client, connection)
