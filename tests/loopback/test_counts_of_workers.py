"""Several workers keep one maximum: no more connections come to a backend than it may have, all of these do,
and each client is served, while workers are killed, too."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from support.sockets import until
from support.supervised import SupervisedCase
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

WORKERS = 4
MAXIMUM = 10
CLIENTS = 500
SOURCES = 250
"""Addresses that the clients come from."""

HELD_FOR = 0.004
"""Seconds that a client keeps its connection once it is served."""


class Counted(Protocol):
    """A connection to the backend, which greets."""

    factory: Backend

    def connectionMade(self) -> None:
        self.factory.came(self)
        self.transport.write(b"!")

    def is_open(self) -> bool:
        """Whether the balancer has not closed it, as far as the kernel knows."""
        try:
            return bool(self.transport.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connections.discard(self)


class Backend(Factory):
    """Counts the connections that are open at the same time."""

    protocol: Any = Counted

    def __init__(self) -> None:
        self.connections: set[Counted] = set()
        self.most = 0
        self.count = 0

    def came(self, connection: Counted) -> None:
        self.count += 1
        self.connections.add(connection)
        self.most = max(self.most, sum(other.is_open() for other in self.connections))


class Visit(Protocol):
    """A connection of a client, which ends some time after it is served."""

    served = False
    factory: Client

    def dataReceived(self, data: bytes) -> None:
        self.served = True
        reactor.callLater(HELD_FOR, self.transport.loseConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.left(self.served)


class Client(ClientFactory):
    """Connects again and again, from one address."""

    noisy = False
    protocol: Any = Visit

    def __init__(self, address: tuple[str, int], source: str, visits: int) -> None:
        self.address = address
        self.source = source
        self.visits = visits
        self.failures = 0
        self.gone = False
        self.connect()

    def connect(self) -> None:
        host, port = self.address
        reactor.connectTCP(host, port, self, bindAddress=(self.source, 0))

    def left(self, served: bool) -> None:
        self.visits -= served
        self.failures += not served
        self.gone = self.visits <= 0
        if not self.gone:
            self.connect()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.left(False)


def few_are_left(clients: list[Client], visits: int) -> bool:
    """Whether no more visits than these are still to be made."""
    return sum(client.visits for client in clients) <= visits


def assert_only_their_sessions_are_lost(clients: list[Client], kills: Counter[int]) -> None:
    """See that each client, which has one connection at once, has failed no more often than its worker."""
    for client in clients:
        assert client.failures <= kills[owner(socket.inet_aton(client.source), WORKERS)]


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class CountsOfWorkersTests(SupervisedCase):
    """Four workers and some hundred clients."""

    workers = WORKERS
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.backend = Backend()
        port = reactor.listenTCP(0, self.backend, backlog=500, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.address = f"127.0.0.1:{port.getHost().port}"

    def limited(self, most: int = MAXIMUM, **settings: Any) -> Config:
        backend = BackendConfig(address=self.address, name="a", max_connections=most)
        pool = PoolConfig(backends=(backend,), queue=1000, queue_timeout=60.0, **settings)
        # In this time all clients are to be served that wait in a worker when it is replaced.
        return evolve(self.config(web=pool), shutdown_grace=60.0)

    def clients(self, supervisor: Supervisor, visits: int) -> list[Client]:
        address = self.address_of(supervisor)
        return [Client(address, f"127.0.0.{1 + number % SOURCES}", visits) for number in range(CLIENTS)]

    async def test_a_backend_never_has_more_and_always_as_many(self) -> None:
        supervisor = await self.supervised(self.limited())
        clients = self.clients(supervisor, 2)
        await until(reactor, lambda: all(client.gone for client in clients), 60.0)
        assert self.backend.most == MAXIMUM
        assert sum(client.failures for client in clients) == 0

    async def test_a_frontend_never_has_more_sessions_and_always_as_many(self) -> None:
        backend = BackendConfig(address=self.address, name="a")
        limited = {"limits": LimitsConfig(connections=MAXIMUM)}
        config = self.config({"web": limited}, web=PoolConfig(backends=(backend,)))
        supervisor = await self.supervised(config)
        clients = self.clients(supervisor, 2)
        await until(reactor, lambda: all(client.gone for client in clients), 60.0)
        assert self.backend.most == MAXIMUM
        assert sum(client.failures for client in clients) == 0

    async def test_nor_while_workers_are_killed(self) -> None:
        supervisor = await self.supervised(self.limited())
        clients = self.clients(supervisor, 4)
        kills: Counter[int] = Counter()
        rng = Random(5)
        for left in range(4 * CLIENTS - 150, 500, -150):
            await until(reactor, partial(few_are_left, clients, left), 60.0)
            kills[self.kill_one(supervisor, rng)] += 1
        await self.come_to_the_maximum_and_go(clients)
        assert_only_their_sessions_are_lost(clients, kills)

    @pytest.mark.soak
    @pytest.mark.timeout(180)
    async def test_nor_while_a_worker_is_killed_every_second_for_a_minute(self) -> None:
        supervisor = await self.supervised(self.limited())
        clients = self.clients(supervisor, 10**6)
        kills: Counter[int] = Counter()
        rng = Random(5)
        for _ in range(60):
            await deferLater(reactor, 1.0, lambda: None)
            kills[self.kill_one(supervisor, rng)] += 1
            assert self.backend.most <= MAXIMUM
        await self.come_to_the_maximum_and_go(clients)
        assert_only_their_sessions_are_lost(clients, kills)

    def kill_one(self, supervisor: Supervisor, rng: Random) -> int:
        """Kill a worker that runs, and give its place."""
        pids = {place: pid for place, pid in enumerate(self.pids(supervisor)) if pid}
        place = rng.choice([*pids])
        os.kill(pids[place], signal.SIGKILL)
        return place

    async def come_to_the_maximum_and_go(self, clients: list[Client]) -> None:
        """See that as many connections as there may be come from now on, too, and let the clients end."""
        assert self.backend.most == MAXIMUM
        self.backend.most = 0
        await until(reactor, lambda: self.backend.most == MAXIMUM, 60.0)
        for client in clients:
            client.visits = min(client.visits, 1)
        await until(reactor, lambda: all(client.gone for client in clients), 60.0)
        assert self.backend.most == MAXIMUM

    async def test_nor_while_workers_are_replaced_and_the_limit_is_changed(self) -> None:
        supervisor = await self.supervised(self.limited())
        clients = self.clients(supervisor, 10**6)
        await self.more_come(100)
        supervisor.restart_workers()
        await until(reactor, lambda: any("have been replaced" in line for line in self.lines), 60.0)
        await self.more_come(100)
        assert self.backend.most == MAXIMUM
        lower = self.limited(most=MAXIMUM // 2)
        await supervisor.apply(supervisor.prepare_config(lower))
        await self.more_come(100)
        self.backend.most = 0
        await self.more_come(300)
        assert self.backend.most == MAXIMUM // 2
        for client in clients:
            client.visits = 0
        await until(reactor, lambda: all(client.gone for client in clients), 60.0)
        assert sum(client.failures for client in clients) == 0

    async def test_the_others_go_on_while_one_is_stopped(self) -> None:
        supervisor = await self.supervised(self.limited())
        clients = self.clients(supervisor, 10**6)
        await self.more_come(100)
        (stopped, *_) = supervisor._places[0].current()
        os.kill(stopped.pid, signal.SIGSTOP)
        await self.more_come(500)
        os.kill(stopped.pid, signal.SIGCONT)
        await self.more_come(200)
        for client in clients:
            client.visits = 0
        await until(reactor, lambda: all(client.gone for client in clients), 60.0)
        assert self.backend.most == MAXIMUM
        assert sum(client.failures for client in clients) == 0

    async def more_come(self, count: int) -> None:
        before = self.backend.count
        await until(reactor, lambda: self.backend.count >= before + count, 60.0)
