"""A supervisor that runs in the tests' own reactor, with workers of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Any

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from support.apply_case import ApplyCase
from support.orphans import adopt_no_orphans
from support.sockets import until
from tcpbalance.config.models import Config
from tcpbalance.workers.owner import owner
from tcpbalance.workers.socket_group import SocketGroup
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

WORKERS = 2


class SupervisedCase(ApplyCase):
    """A supervisor before servers that say which of them has answered."""

    data_path_name = "auto"
    workers = WORKERS

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    async def supervised(self, config: Config, **settings: Any) -> Supervisor:
        supervisor = Supervisor(reactor, attrs.evolve(config, workers=self.workers), **settings)
        supervisor.prepare()
        # Other tests would find children of theirs that are none.
        self.addCleanup(adopt_no_orphans)
        self.addCleanup(supervisor.stopService)
        supervisor.startService()
        await supervisor.when_listening()
        return supervisor

    def connected(self, supervisor: Supervisor, source: str, frontend: str = "web") -> socket.socket:
        group = self.group(supervisor, frontend)
        address = group.of_worker(0).getsockname()
        client = socket.create_connection(address, source_address=(source, 0))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    def come_and_go(
        self, supervisor: Supervisor, answers: list[str], over: list[bool]
    ) -> list[Deferred[None]]:
        """Have clients of all workers come and go, four of each at a time.

        :param answers: gets what they are answered.
        :param over: has something in it when no more are to come.
        :returns: each fires when one of them has gone for good.
        """

        async def come(source: str) -> None:
            while not over:
                client = self.connected(supervisor, source)
                answers.append(await self.answer(client))
                client.close()

        return [Deferred.fromCoroutine(come(source)) for source in self.sources() for _ in range(4)]

    def group(self, supervisor: Supervisor, frontend: str = "web") -> SocketGroup:
        listening = supervisor._config.listening
        assert listening is not None
        return next(it.groups[0] for it in listening.listeners if it.frontend == frontend)

    def sources(self) -> list[str]:
        """A client of each worker."""
        found: dict[int, str] = {}
        for last in range(1, 255):
            source = f"127.0.0.{last}"
            found.setdefault(owner(socket.inet_aton(source), WORKERS), source)
        return [found[number] for number in range(WORKERS)]

    def pids(self, supervisor: Supervisor) -> list[int]:
        """Those of the present workers."""
        return [place.process.pid if place.process else 0 for place in supervisor._places]

    def all_pids(self, supervisor: Supervisor) -> list[int]:
        """Those of all workers, and of what drains."""
        return [process.pid for process in supervisor._processes()]

    def send_signal(self, supervisor: Supervisor, worker: int, number: signal.Signals) -> int:
        """Send a present worker a signal; give its process id."""
        pid = self.pids(supervisor)[worker]
        assert pid, "the test's own process group would get it"
        os.kill(pid, number)
        return pid

    async def restarted(self, supervisor: Supervisor) -> None:
        """Wait until a rolling restart is over."""
        await until(reactor, lambda: not supervisor._restart.is_running, 30)


def is_closed(client: socket.socket) -> bool:
    """Whether a client, whose socket does not block, has come to the end of its connection."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def refuses(address: Any) -> bool:
    """Whether nothing listens on an address."""
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(address) != 0
