"""A client that is accepted gets no event of a socket that had its number: Twisted's reactor keeps the events
of a turn in a list, and knows their sockets by number."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory

from support.sockets import Recorder
from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.binding import bind
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptions


class Watched:
    """A socket that the reactor watches.

    :param on_event: called at each event.
    """

    def __init__(self, sock: socket.socket, on_event: Callable[[], object]) -> None:
        self.sock = sock
        self.doRead = self.doWrite = on_event

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "watched"

    def connectionLost(self, reason: object) -> None:
        raise AssertionError("it is closed by the other one")


@pytest.fixture
def reactor() -> Iterator[Any]:
    made: Any = EPollReactor()
    yield made
    for internal in made._internalReaders:
        internal.connectionLost(None)
    made._poller.close()


def test_a_client_with_the_number_of_a_socket_that_was_reset_is_served(reactor: Any) -> None:
    """In one turn, the reactor gets the events of three sockets. The handler of the first closes the third,
    whose number the client gets that the second accepts; the third event in the list is of the closed one."""
    made: list[Recorder] = []

    def make(addr: object) -> Recorder:
        made.append(Recorder())
        return made[-1]

    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = make  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        # It is made first: no number below its own is free when it is closed.
        ours, theirs = tcp_pair()
        number = ours.fileno()
        stack.enter_context(theirs)
        victim = Watched(ours, lambda: None)
        bell, rings = map(stack.enter_context, socket.socketpair())

        def close_victim() -> None:
            bell.recv(1)
            reactor.removeWriter(victim)
            ours.close()

        listener = Listener(reactor, bind(Address.parse("127.0.0.1:0"), PLAIN), factory, 16)
        stack.callback(listener.stopListening)
        closer = Watched(bell, close_victim)
        reactor.addReader(closer)
        listener.startListening()
        # epoll gives events in the order in which they came.
        rings.send(b"!")
        place = listener.getHost()
        client = stack.enter_context(socket.create_connection((place.host, place.port)))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        theirs.close()
        reactor.addWriter(victim)
        reactor.doIteration(0)
        assert ours.fileno() == -1
        for _ in range(3):
            reactor.runUntilCurrent()
            reactor.doIteration(0)
        assert [one.transport.fileno() for one in made] == [number]
        client.send(b"request")
        reactor.doIteration(1)
        assert (made[0].received, made[0].finished, made[0].lost) == (b"request", False, None)
        made[0].transport.abortConnection()
        reactor.runUntilCurrent()
        reactor.removeReader(closer)


PLAIN = SocketOptions.of(SocketConfig())


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    with accepted:
        ours = accepted.dup()  # It has the lowest number that is free.
    ours.setblocking(False)
    return ours, theirs
