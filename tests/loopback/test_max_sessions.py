"""A frontend with as many sessions as it may have accepts nobody; who comes waits, and is served in turn."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from support.sockets import Greeter, port_of, some_turns, until, was_greeted
from tcpbalance import Backend, Balancer, Frontend, FrontendFactory, LimitsConfig, Pool
from tcpbalance.net.data_path import DataPathName
from tcpbalance.proxy.registry import OpenSession

reactor: Any = global_reactor


class MaxSessionsTests(TestCase):
    """On the native data path."""

    data_path_name: DataPathName = "auto"

    def setUp(self) -> None:
        server = reactor.listenTCP(0, Factory.forProtocol(Greeter), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        backend = Backend(f"127.0.0.1:{server.getHost().port}")
        pool = Pool("greeters", [backend], clock=time.monotonic, rng=Random(1))
        addresses = ("127.0.0.1:0", "127.0.0.1:0")
        frontend = Frontend("front", addresses, pool, limits=LimitsConfig(connections=2))
        self.balancer = Balancer(reactor, [frontend], shutdown_grace=0.1, data_path=self.data_path_name)
        self.addCleanup(self.balancer.stopService)
        self.balancer.startService()
        self.factory = self.balancer.factories["front"]

    def client(self, door: int = 0) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port_of(self.balancer.listens_on("front")[door])))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def greeted(self, client: socket.socket) -> None:
        await until(reactor, lambda: was_greeted(client))

    async def test_the_next_waits_at_every_door_until_there_is_room(self) -> None:
        first, second = self.client(), self.client()
        await self.greeted(first)
        await self.greeted(second)
        third, fourth = self.client(), self.client(door=1)
        later = self.client()  # the kernel has accepted it, and would give it to us after the third
        await some_turns(reactor)
        assert len(self.factory.registry.sessions) == 2
        assert not any(was_greeted(client) for client in (third, fourth, later))
        first.close()
        second.close()
        waiting = {third, fourth, later}
        served = await self.served_of(waiting, 2)
        assert len(self.factory.registry.sessions) == 2
        for client in served:
            client.close()
        await self.served_of(waiting - served, 1)

    async def test_ten_that_wait_at_one_door_are_served_two_at_a_time(self) -> None:
        """A listener takes what has gathered in its backlog in one go, and stops in the middle of it."""
        open_before: list[int] = []
        registry = self.factory.registry
        add = registry.add

        def noting(session: OpenSession) -> None:
            open_before.append(len(registry.sessions))
            add(session)

        registry.add = noting  # type: ignore[method-assign]
        self.factory.registry.accept_pause.pause("until all have come")
        waiting = {self.client() for _ in range(10)}
        self.factory.registry.accept_pause.resume("until all have come")
        while waiting:
            served = await self.served_of(waiting, 2)
            assert len(self.factory.registry.sessions) == 2
            waiting -= served
            for client in served:
                client.close()
        assert max(open_before) == 1
        assert len(open_before) == 10

    async def served_of(self, clients: set[socket.socket], count: int) -> set[socket.socket]:
        """Wait until so many of *clients* were greeted; give those."""
        served: set[socket.socket] = set()

        def enough() -> bool:
            served.update(client for client in clients - served if was_greeted(client))
            return len(served) >= count

        await until(reactor, enough)
        assert len(served) == count
        return served

    async def test_one_after_the_other(self) -> None:
        for _ in range(10):
            clients = [self.client(), self.client(door=1)]
            for client in clients:
                await self.greeted(client)
            for client in clients:
                client.close()
        await until(reactor, lambda: not self.factory.registry.sessions)
        await self.greeted(self.client())

    async def test_started_again(self) -> None:
        clients = [self.client(), self.client()]
        for client in clients:
            await self.greeted(client)
        await self.balancer.stopService()
        self.balancer.startService()
        await self.greeted(self.client())


class TwistedsPortTests(TestCase):
    """A port of Twisted's that was given to `pause_on`."""

    async def test_it_accepts_nobody_while_there_is_a_reason(self) -> None:
        pool = Pool("nobody", [Backend("127.0.0.1:1")], clock=time.monotonic, rng=Random(1))
        factory = FrontendFactory(reactor, pool)
        factory.registry.accept_pause.pause("one reason")
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        factory.registry.accept_pause.pause_on(port)
        with socket.create_connection(("127.0.0.1", port.getHost().port)):
            await some_turns(reactor)
            factory.registry.accept_pause.pause("another")
            factory.registry.accept_pause.resume("one reason")
            await some_turns(reactor)
            assert factory.stats.ended.total() == len(factory.registry.sessions) == 0
            factory.registry.accept_pause.resume("another")
            await until(reactor, lambda: factory.stats.ended.total() == 1)


class PortableMaxSessionsTests(MaxSessionsTests):
    """On the portable data path."""

    data_path_name = "portable"
