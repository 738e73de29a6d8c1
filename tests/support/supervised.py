"""A supervisor that runs in the tests' own reactor, with workers of its own."""

from __future__ import annotations

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
from support.forked_nursery import ForkedNurseries
from support.forker import Forker
from support.orphans import adopt_no_orphans
from support.sockets import until
from tcpbalance.config.models import Config
from tcpbalance.config.pools import PoolConfig
from tcpbalance.workers.owner import owner
from tcpbalance.workers.socket_group import SocketGroup
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

WORKERS = 2


class SupervisedCase(ApplyCase):
    """A supervisor before servers that say which of them has answered.

    :cvar workers: how many it has.
    :cvar forker: forks its nurseries; None to run them.
    """

    data_path_name = "auto"
    workers = WORKERS
    forker: Forker | None = None

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def config(self, frontends: dict[str, Any] | None = None, /, **pools: PoolConfig) -> Config:
        """See ``ApplyCase``; with several workers."""
        return attrs.evolve(super().config(frontends, **pools), workers=self.workers)

    async def supervised(self, config: Config, **settings: Any) -> Supervisor:
        """Start a supervisor, and wait until all its workers accept clients."""
        if self.forker is not None:
            settings.setdefault("make_nursery", ForkedNurseries(self.forker))
        supervisor = Supervisor(reactor, config, **settings)
        supervisor.prepare()
        # Other tests would find children of theirs that are none.
        self.addCleanup(adopt_no_orphans)
        self.addCleanup(supervisor.stopService)
        supervisor.startService()
        await supervisor.when_listening()
        return supervisor

    def connected(
        self, supervisor: Supervisor, source: str, frontend: str = "web", first: bytes = b""
    ) -> socket.socket:
        """Connect a client.

        :param source: its address.
        :param first: what it sends at once.
        """
        address = self.address_of(supervisor, frontend)
        client = socket.create_connection(address, source_address=(source, 0))
        self.addCleanup(client.close)
        if first:
            # To send nothing raises, too, where the client was reset meanwhile.
            client.sendall(first)
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

    def address_of(self, supervisor: Supervisor, frontend: str = "web") -> Any:
        return self.group(supervisor, frontend).of_worker(0).getsockname()

    def sources(self) -> list[str]:
        """A client of each worker."""
        found: dict[int, str] = {}
        for last in range(1, 255):
            source = f"127.0.0.{last}"
            found.setdefault(owner(socket.inet_aton(source), self.workers), source)
        return [found[number] for number in range(self.workers)]

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
