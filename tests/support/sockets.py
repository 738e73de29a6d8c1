"""Small servers and clients on real sockets, for tests that run the reactor."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """Keeps all that it is told, and closes nothing by itself."""

    def __init__(self) -> None:
        self.received = b""
        self.finished = False
        self.lost: Failure | None = None
        self.connected_to: Any = None

    def connectionMade(self) -> None:
        self.connected_to = self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.finished = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Echo(Protocol):
    """Sends back what it gets."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Greeter(Protocol):
    """Says that it is there, and leaves when the client does."""

    def connectionMade(self) -> None:
        self.transport.write(b"hello")


def was_greeted(client: socket.socket) -> bool:
    """Whether a client, whose socket does not block, has had the word of a ``Greeter``."""
    try:
        return client.recv(5) == b"hello"
    except BlockingIOError:
        return False


async def until(reactor: Any, condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Let the reactor run until *condition* holds.

    :raises AssertionError: it does not within *seconds*.
    """
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, f"did not come true within {seconds} s"
        await deferLater(reactor, 0.002, lambda: None)


async def some_turns(reactor: Any, count: int = 20) -> None:
    """Let the reactor run for a few turns, in which what must not happen could."""
    for _ in range(count):
        await deferLater(reactor, 0, lambda: None)


async def until_steady(reactor: Any, read: Callable[[], object], for_seconds: float = 0.5) -> None:
    """Let the reactor run until *read* has given the same for longer than a kernel puts off an ACK or a
    window probe."""
    seen: list[tuple[object, float]] = [(object(), 0.0)]

    def steady() -> bool:
        value, now = read(), reactor.seconds()
        if value != seen[0][0]:
            seen[0] = (value, now)
        return bool(now - seen[0][1] >= for_seconds)

    await until(reactor, steady)


def port_of(address: object) -> int:
    """The port of one of Twisted's addresses."""
    assert isinstance(address, IPv4Address | IPv6Address), address
    return address.port


def fired(deferred: Deferred[Any]) -> list[Any]:
    """What a Deferred has come to, in a list that is empty until it has."""
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    return outcome


def was_reset(client: socket.socket) -> bool:
    """Whether a client, whose socket blocks, comes to a reset and not to an end."""
    try:
        client.recv(1)
    except ConnectionResetError:
        return True
    return False


def heard(client: socket.socket) -> str:
    """What a client, whose socket does not block, hears next.

    :returns: a character, ``end`` or ``reset``; empty where nothing has come.
    """
    try:
        return client.recv(1).decode() or "end"
    except BlockingIOError:
        return ""
    except (ConnectionResetError, BrokenPipeError):
        return "reset"


def is_open(client: socket.socket) -> bool:
    """Whether nothing has come to a client, not even an end."""
    return heard(client) == ""


def is_closed(client: socket.socket) -> bool:
    """Whether a client has come to the end of its connection."""
    return heard(client) in {"end", "reset"}


def refuses(address: Any) -> bool:
    """Whether nothing listens on an address."""
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(address) != 0
