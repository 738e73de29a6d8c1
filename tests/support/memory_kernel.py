"""A listener and a connector of the system, on sockets in memory: the whole way of a connection, from the
accept and the dial to both ends, without a kernel."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.task import Clock

from support.memory_data_path import EPOLL
from support.memory_peers import Peer
from support.memory_pipes import no_pipes
from support.memory_poller import MemoryPoller
from support.memory_reactor import MemoryReactor
from support.memory_socket import MemorySocket, connected_pair
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net import listener
from tcpbalance.net.data_path import DataPath, NativeDataPath, TwistedDataPath
from tcpbalance.net.poller import Poller
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions


class MemoryKernel:
    """Accepts each client and connects each dial, of which the outcome is known in the next turn.

    :param native: whether transports are those of the native data path, else Twisted's.
    :ivar connector: what a frontend dials with.
    :ivar dialled: the other end of each dial.
    """

    family = socket.AF_INET
    proto = 0

    def __init__(self, *, native: bool) -> None:
        self.clock = Clock()
        self.reactor = MemoryReactor(self.clock)
        self.dialled: list[Peer] = []
        self._numbers = itertools.count(1000)
        self._clients: list[Peer] = []
        self._backlog: list[MemorySocket] = []
        self._sockets: dict[int, MemorySocket] = {}
        self._data_path = self._native() if native else TwistedDataPath(self.reactor)
        self.connector = SocketConnector(
            self.reactor,
            SocketOptions.of(SocketConfig()),
            self._data_path,
            clock=self.clock.seconds,
            make_socket=cast(Any, self._socket),
        )

    def serve(self, factory: Any) -> None:
        """Let *factory* have the clients."""
        self._listener = listener.Listener(self.reactor, cast(Any, self), factory, 100, self._data_path)

    def connect(self, data: bytes) -> Peer:
        """Let a client connect that sends *data* at once."""
        theirs, ours = self._pair()
        client = Peer(theirs)
        client.send(data)
        self._clients.append(client)
        self._backlog.append(ours)
        with self._sockets_in_memory():
            self._listener.accept_some()
        return client

    def run(self) -> None:
        """Let everything happen that can without time passing."""
        with self._sockets_in_memory():
            while self._step():
                pass

    def _step(self) -> bool:
        outside = [peer.step() for peer in (*self._clients, *self.dialled)]
        return self.reactor.turn() or any(outside)

    # The listening socket

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", 80

    def _accept(self) -> tuple[int, tuple[str, int]]:
        if not self._backlog:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._backlog.pop().number, ("198.51.100.7", 40000)

    # Sockets

    @contextmanager
    def _sockets_in_memory(self) -> Iterator[None]:
        with patch.object(listener, "SocketType", self._socket):
            yield

    def _socket(self, family: int, kind: int, protocol: int = 0, number: int | None = None) -> MemorySocket:
        """What ``socket.SocketType`` does: one that was accepted has a number already."""
        if number is not None:
            return self._sockets[number]
        theirs, ours = self._pair()
        self.dialled.append(Peer(theirs))
        answers = iter((errno.EINPROGRESS, 0))
        ours.connect_ex = lambda address: next(answers)  # type: ignore[method-assign]
        return ours

    def _pair(self) -> tuple[MemorySocket, MemorySocket]:
        theirs, ours = connected_pair(self._numbers)
        self._sockets[ours.number] = ours
        self.reactor.know(ours.number, ours.events)
        return theirs, ours

    def _native(self) -> DataPath:
        epoll = MemoryPoller(EPOLL, self._sockets)
        self.reactor.know(EPOLL, epoll.events)
        data_path = NativeDataPath(Poller(self.reactor, lambda: epoll, no_pipes()))
        data_path.open()
        return data_path
