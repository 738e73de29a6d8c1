"""Thousands of connections that end in every way at random moments."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from support import peers
from support.bulk_thresholds import bulk_comes_early
from support.clients import connect, read_all, reset
from support.native import NativeCase
from tcpbalance import EndReason

reactor: Any = global_reactor

CONNECTIONS = 4_800
CROWDS = 10
"""Threads, as many as the reactor's pool has."""

AT_ONCE = 8
"""Connections that each of them has open."""


class StormTests(NativeCase):
    """Many connections that end in every way at random moments leave nothing behind."""

    async def test_thousands_of_connections(self) -> None:
        with bulk_comes_early():
            await self.storm()
        assert self.pipes_made > 0

    async def storm(self) -> None:
        seed = Random(3)
        with peers.peer(_Moody(seed.random())) as one, peers.peer(_Moody(seed.random())) as other:
            port = self.serve(one.address, other.address)
            crowds = [
                deferToThread(_crowd, port, Random(seed.random()), CONNECTIONS // CROWDS)
                for _ in range(CROWDS)
            ]
            for crowd in crowds:
                await crowd
            reasons = Counter(await self.ended(CONNECTIONS))
        assert reasons == self.frontend.stats.ended
        # The peers' ends are there, and none that is our own doing.
        assert set(reasons) >= {EndReason.CLIENT_CLOSED, EndReason.CLIENT_RESET, EndReason.BACKEND_RESET}
        assert not set(reasons) & {EndReason.INTERNAL_ERROR, EndReason.NO_BACKEND, EndReason.SHUTDOWN}


class _Moody:
    """A backend that behaves differently each time."""

    def __init__(self, seed: float) -> None:
        self._random = Random(seed)

    def __call__(self, sock: socket.socket) -> None:
        mood = self._random.choice(
            (_break_off, _break_off_later, peers.echo, peers.says(b"x" * 5000), _answer)
        )
        mood(sock)


def _break_off(sock: socket.socket) -> None:
    reset(sock)


def _break_off_later(sock: socket.socket) -> None:
    sock.sendall(sock.recv(100))
    reset(sock)


def _answer(sock: socket.socket) -> None:
    """Close with what is left unread, which is a reset when there is something."""
    sock.sendall(sock.recv(100))


def _crowd(port: int, random: Random, count: int) -> None:
    for _ in range(count // AT_ONCE):
        clients = [client for client in (_arrive(port) for _ in range(AT_ONCE)) if client is not None]
        random.shuffle(clients)
        for client in clients:
            with contextlib.suppress(OSError), client:
                _come_and_go(client, random)


def _arrive(port: int) -> socket.socket | None:
    """Connect; None where a backend has already reset the session when the outcome is looked at.

    The kernel has finished the handshake by then, so the session is one of those that are counted.
    """
    try:
        return connect(port)
    except ConnectionResetError:
        return None


def _come_and_go(client: socket.socket, random: Random) -> None:
    """Send something, or not; read something, or not; leave in one of the ways there are."""
    client.settimeout(1.0)
    size = random.choice((0, 1, 200, 5000, 200_000))
    client.sendall(b"?" * size)
    way = random.randrange(4)
    if way == 0:
        reset(client)
    elif way == 1:
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    elif way == 2 and size:
        client.recv(100)
        reset(client)
