"""A backend that may have few connections, and more clients than that: none is forgotten, none too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from random import Random

from bench.soak.peers import SESSION_WITHIN, reset
from bench.soak.verdict import Account, Session
from tcpbalance.workers.owner import owner

MAX_CONNECTIONS = 5
"""Of the backend, from all workers together."""

CROWD = 15
"""Clients that come at the same time."""

_ESTABLISHED = 1
"""A connection that neither side has closed: ``TCP_ESTABLISHED`` of Linux, the first byte of ``TCP_INFO``."""

_FIRST = 10**9
"""The number of the first session here, beyond all others."""

_NO_OTHER = -1
"""Of no backend that ends."""


def is_established(writer: asyncio.StreamWriter) -> bool:
    """Whether neither side has closed a connection: what this process has not noticed yet, the system has."""
    sock: socket.socket = writer.get_extra_info("socket")
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return False


class Crowd:
    """The backend and its clients.

    :param workers: how many the balancer has.
    :param account: of all sessions.
    :ivar highest: connections that there were at once since it was set to 0.
    """

    def __init__(self, workers: int, account: Account) -> None:
        self._workers = workers
        self._account = account
        self._open: set[asyncio.StreamWriter] = set()
        self._number = _FIRST
        self.highest = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the backend of one connection: give back what comes."""
        self._open.add(writer)
        count = sum(map(is_established, self._open))
        self.highest = max(self.highest, count)
        if count > MAX_CONNECTIONS:
            self._account.strange.append(f"{count} connections to a backend that may have {MAX_CONNECTIONS}")
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        self._open.discard(writer)
        writer.close()

    async def come(self, port: int, over: asyncio.Event, rng: Random) -> None:
        """Be one client after the other until it is over."""
        while not over.is_set():
            await self._visit(port, rng)

    async def _visit(self, port: int, rng: Random) -> None:
        source = f"127.0.5.{rng.randrange(1, 255)}"
        place = owner(socket.inet_aton(source), self._workers)
        self._number += 1
        session = Session(number=self._number, place=place, began=time.monotonic(), backend=_NO_OTHER)
        self._account.sessions[session.number] = session
        try:
            await asyncio.wait_for(self._ask(port, source, rng.uniform(0, 0.05)), SESSION_WITHIN)
            session.client_side.has_all = session.backend_side.has_all = True
        except OSError as error:
            session.error = repr(error)
        if time.monotonic() - session.began < SESSION_WITHIN:
            session.ended = time.monotonic()

    async def _ask(self, port: int, source: str, seconds: float) -> None:
        """Come, wait for an answer, and stay for a while.

        :raises OSError: there is no answer.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        try:
            writer.write(b"x")
            if await reader.read(1) != b"x":
                raise ConnectionAbortedError("the connection was closed")
            await asyncio.sleep(seconds)
        finally:
            reset(writer)
