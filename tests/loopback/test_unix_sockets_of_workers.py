"""A unix socket, which all workers accept from: its clients spread over them, and outlive each one's end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor as global_reactor

from support.handed_over_case import WORKERS, HandedOverCase
from support.sockets import is_open, until
from tcpbalance.config.log import AccessLogConfig
from tcpbalance.config.paths import LogPath
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

MANY = 400


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class UnixSocketTests(HandedOverCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "socket"
        self.log = self.folder / "access.log"

    async def on_unix_socket(self, **keys: Any) -> Supervisor:
        config = self.config({"web": {"listen": f"unix:{self.path}", "backlog": 1000, **keys}})
        log = AccessLogConfig(path=LogPath(self.log), format="json")
        return await self.supervised(evolve(config, access_log=log))

    def client(self, first: bytes = b"?") -> socket.socket:  # type: ignore[override]
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(str(self.path))
        client.send(first)
        client.setblocking(False)
        return client

    async def served_by(self, count: int) -> Counter[int]:
        """How many each worker has served, once all have ended."""
        await until(reactor, lambda: len(self.log.read_text().splitlines()) >= count)
        return Counter(json.loads(line)["worker"] for line in self.log.read_text().splitlines())

    async def until_ended(self, supervisor: Supervisor, place: int) -> None:
        await until(reactor, lambda: not supervisor._places[place].is_serving)

    async def test_clients_spread_over_the_workers(self) -> None:
        await self.on_unix_socket()
        clients = [self.client() for _ in range(MANY)]
        assert await self.answers(clients) == {"a": MANY}
        for client in clients:
            client.close()
        served = await self.served_by(MANY)
        assert served.total() == MANY
        # A worker that sleeps gets the connection. On a busy machine, one may never be the next.
        assert len(served) > 1

    async def test_each_worker_serves_all_where_the_others_do_nothing(self) -> None:
        supervisor = await self.on_unix_socket()
        for place in range(WORKERS):
            others = [await self.stop(supervisor, it) for it in range(WORKERS) if it != place]
            clients = [self.client() for _ in range(20)]
            assert await self.answers(clients) == {"a": 20}
            for pid in others:
                os.kill(pid, signal.SIGCONT)
            await self.kill(supervisor, place)
            assert await self.answers(clients) == {"end": 20}

    async def test_those_that_wait_outlive_a_worker_that_is_killed(self) -> None:
        supervisor = await self.on_unix_socket()
        for place in range(WORKERS):
            stopped = [await self.stop(supervisor, it) for it in range(WORKERS)]
            clients = [self.client() for _ in range(50)]
            os.kill(stopped[place], signal.SIGKILL)
            await self.until_ended(supervisor, place)
            for pid in stopped:
                if pid != stopped[place]:
                    os.kill(pid, signal.SIGCONT)
            assert await self.answers(clients) == {"a": 50}

    async def test_none_is_lost_while_workers_are_replaced(self) -> None:
        supervisor = await self.on_unix_socket()
        supervisor.restart_workers()
        clients: list[socket.socket] = []

        def goes_on() -> bool:
            clients.append(self.client())
            return not supervisor._restart.is_running

        await until(reactor, goes_on, 40)
        assert await self.answers(clients) == {"a": len(clients)}
        # Sessions of those that were replaced end by themselves.
        for client in clients:
            assert is_open(client)
            client.close()
        served = await self.served_by(len(clients))
        assert served.total() == len(clients)

    async def test_none_is_lost_when_the_address_is_removed(self) -> None:
        supervisor = await self.on_unix_socket()
        stopped = [await self.stop(supervisor, it) for it in range(WORKERS)]
        clients = [self.client() for _ in range(50)]
        changed = supervisor.apply(supervisor.prepare_config(self.config()))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        await changed
        assert not self.path.exists()
        assert await self.answers(clients) == {"a": 50}
