"""No faster than may be, and whole all the same; no slower than must be."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from support import bulk, peers
from support.bare import whole
from support.clients import TIMEOUT, connect, read, read_all
from support.sockets import until_steady
from support.tls_case import NAME, TlsCase
from support.tls_lines import frontend_tls
from tcpbalance import EndReason, LimitsConfig
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.preread_settings import PrereadSettings

reactor: Any = global_reactor

SIZE = 1 << 20
LIMITED = LimitsConfig(bandwidth_per_connection=2 * SIZE)
SHORTEST, LONGEST = 0.2, 10.0
"""Seconds for half a second's worth: half of that may come at once, and the machine may be busy."""


class BandwidthTests(TlsCase):
    """On the portable data path."""

    async def takes_its_time(self, transfer: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        result = await deferToThread(transfer, *arguments)
        assert SHORTEST < time.monotonic() - began < LONGEST
        return result

    async def test_both_directions_at_once(self) -> None:
        at_server: dict[str, str | int] = {}
        server_is_done = threading.Event()

        def exchange(sock: socket.socket) -> None:
            at_server.update(bulk.exchange(sock, SIZE))
            server_is_done.set()

        with (
            peers.peer(exchange) as backend,
            connect(self.serve(backend.address, limits=LIMITED)) as client,
        ):
            at_client = await self.takes_its_time(bulk.exchange, client, SIZE)
            await self.ended()
            # The last bytes may still be in the kernel when the session is over.
            assert await deferToThread(server_is_done.wait, TIMEOUT)
        assert at_client["bytes"] == at_server["bytes"] == SIZE
        assert at_client["received"] == at_server["sent"]
        assert at_server["received"] == at_client["sent"]
        assert self.records[0].reason in {EndReason.CLIENT_CLOSED, EndReason.BACKEND_CLOSED}

    async def test_from_a_backend_that_has_gone_meanwhile(self) -> None:
        data = os.urandom(SIZE)
        with peers.peer(lambda sock: sock.sendall(data)) as backend:
            with connect(self.serve(backend.address, limits=LIMITED)) as client:
                assert await self.takes_its_time(read_all, client) == data
            assert (await self.ended()).reason is EndReason.BACKEND_CLOSED

    async def test_from_a_client_that_speaks_tls(self) -> None:
        data = os.urandom(SIZE)
        tls = PrereadSettings(tls=ServerTls(frontend_tls(self.issue())))
        with peers.peer(hash_of_all) as backend:
            port = self.serve(backend.address, preread=tls, limits=LIMITED)
            answer = await self.takes_its_time(self.say_through_tls, port, data)
            await self.ended()
        assert answer == hashlib.sha256(data).digest()

    async def test_a_reader_counts_as_fast_as_it_fetches(self) -> None:
        """However much the kernel holds for it, and has taken from the backend."""
        clock = Clock()
        with peers.peer(peers.floods(64 * SIZE)) as backend:
            port = self.serve(backend.address, limits=LimitsConfig(min_rate=1000))
            self.frontend.context = evolve(
                self.frontend.context, clock=clock.seconds, wheel=Wheel(clock, clock.seconds)
            )
            with connect(port, receive_buffer=8192) as client:
                await deferToThread(read, client, 100_000)
                session = whole(next(iter(self.frontend.registry.sessions)))
                await until_steady(reactor, session.client.in_flight)
                clock.pump([1.0] * 62)
                assert self.records == []
                assert session.client.in_flight() > 60_000
                clock.pump([1.0] * 62)
                assert (await self.ended()).reason is EndReason.TOO_SLOW

    def say_through_tls(self, port: int, data: bytes) -> bytes:
        with (
            connect(port) as sock,
            self.client_context().wrap_socket(sock, server_hostname=NAME) as client,
        ):
            client.sendall(data)
            return read(client, hashlib.sha256().digest_size)


def hash_of_all(sock: socket.socket) -> None:
    """Answer once all has come."""
    sock.sendall(hashlib.sha256(read(sock, SIZE)).digest())


class NativeBandwidthTests(BandwidthTests):
    """On the native data path."""

    data_path_name = "auto"
