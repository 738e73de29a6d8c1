"""A listener that asks before it accepts does so wherever its clients wait."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from support.worker_loads import ClockReactor
from tcpbalance.net.claiming_listener import ClaimingListener


class OnePlace:
    """Has a place for one client."""

    def __init__(self) -> None:
        self.left = 1
        self.claimed = False
        self.listener: Any = None

    def claim(self) -> bool:
        if not self.claimed and not self.left:
            self.listener.pauseProducing()
            return False
        if not self.claimed:
            self.left -= 1
        self.claimed = True
        return True

    def give_up_claim(self) -> None:
        if self.claimed:
            self.left += 1
        self.claimed = False


class Served(Factory):
    """Takes the place that was claimed, and closes the connection."""

    noisy = False

    def __init__(self, places: OnePlace) -> None:
        self._places = places
        self.served = 0

    def buildProtocol(self, addr: Any) -> Protocol | None:
        self._places.claimed = False
        self.served += 1
        return None


def a_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(5)
    sock.setblocking(False)
    return sock


def test_clients_that_wait_at_another_socket_need_places_too() -> None:
    with ExitStack() as stack:
        places, reactor = OnePlace(), ClockReactor()
        factory = Served(places)
        listener = places.listener = ClaimingListener(places, reactor, a_socket(), factory, 5)
        stack.callback(listener.stopListening)
        listener.startListening()
        other = stack.enter_context(a_socket())
        for _ in range(3):
            stack.enter_context(socket.create_connection(other.getsockname()))
        listener.accept_from(other)
        assert factory.served == 1
        assert places.left == 0
        assert not places.claimed
