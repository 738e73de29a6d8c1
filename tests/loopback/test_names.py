"""Backends with host names: how often a name is asked for, who waits, and what a name server can do to us."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent

from support.data_paths import DataPathCase
from support.name_server import SERVER_FAILURE, FakeNameServer
from support.sockets import port_of, until
from tcpbalance.balancer import Balancer
from tcpbalance.config.pools import HealthConfig
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.health.probes.tcp import TcpProbe
from tcpbalance.net import resolver
from tcpbalance.net.resolver import knowledge
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.services.frontend import Frontend

reactor: Any = global_reactor

NAME = "db.test"


class Here(Protocol):
    """Says which address it was reached at."""

    def connectionMade(self) -> None:
        self.transport.write(self.transport.getHost().host.encode())


class NamesTests(DataPathCase):
    """A balancer whose only backend has a name, and a name server of the test's own."""

    timeout = 30

    def setUp(self) -> None:
        super().setUp()
        self.server = FakeNameServer().open()
        self.addCleanup(self.server.close)
        self.server.addresses[NAME] = ["127.0.0.1"]
        self.backend = reactor.listenTCP(0, Factory.forProtocol(Here), interface="0.0.0.0")
        self.addCleanup(self.backend.stopListening)

    def ask_often(self) -> None:
        """Let answers be good for nothing and failures be forgotten soon."""
        self.server.ttl = 0
        self.patch(knowledge, "FIRST_RETRY", 0.1)

    def balancer(
        self, *, checked: bool = False, on_down: Any = "keep", address: Any = None, **settings: Any
    ) -> Balancer:
        settings = {"timeout": 0.1, "min_ttl": 0.1, **settings}
        backend = Backend(f"{NAME}:{self.backend.getHost().port}", "db")
        health = HealthConfig(
            check="tcp", probe=TcpProbe(), interval=0.05, timeout=5, on_down=on_down, address=address
        )
        self.pool = Pool(
            "db",
            [backend],
            health=health if checked else None,
            connect_timeout=5.0,
            clock=time.monotonic,
            rng=Random(1),
        )
        balancer = Balancer(
            reactor,
            [Frontend("front", "127.0.0.1:0", self.pool)],
            resolver=ResolverConfig(servers=(self.server.address,), **settings),
            shutdown_grace=0.0,
            data_path=self.data_path_name,
        )
        self.addCleanup(balancer.stopService)
        return balancer

    def connect(self, balancer: Balancer) -> socket.socket:
        (host,) = balancer.listens_on("front")
        client = socket.create_connection(("127.0.0.1", port_of(host)))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def answer(self, balancer: Balancer) -> str:
        """Give what a new client hears first; nothing when it is closed."""
        client = self.connect(balancer)
        heard: list[bytes] = []

        def hear() -> bool:
            try:
                heard.append(client.recv(100))
            except BlockingIOError:
                return False
            return True

        await until(reactor, hear)
        client.close()
        return heard[0].decode()

    async def refreshed(self, times: int = 3) -> None:
        """Wait until the name was asked for so many more times."""
        already = len(self.server.asked)
        await until(reactor, lambda: len(self.server.asked) >= already + 2 * times)

    async def test_many_connections_cause_two_questions(self) -> None:
        balancer = await self.started(self.balancer())
        for _ in range(20):
            assert await self.answer(balancer) == "127.0.0.1"
        assert sorted(self.server.asked) == [(NAME, "A"), (NAME, "AAAA")]

    async def test_nobody_waits_for_a_slow_name_server(self) -> None:
        self.ask_often()
        balancer = await self.started(self.balancer(timeout=20))
        self.server.delay = 20.0
        await self.refreshed(1)
        # The question is open and stays so.
        for _ in range(5):
            assert await self.answer(balancer) == "127.0.0.1"

    async def test_a_name_server_that_stops_under_traffic(self) -> None:
        self.ask_often()
        with capturedLogs() as events:
            balancer = await self.started(self.balancer())
            self.server.close()

            def lines() -> list[str]:
                return [line for line in map(formatEvent, events) if line.startswith(f"{NAME}:")]

            while not lines():
                assert await self.answer(balancer) == "127.0.0.1"
            for _ in range(20):
                assert await self.answer(balancer) == "127.0.0.1"
            self.server.addresses[NAME] = ["127.0.0.2"]
            self.server.open()
            while await self.answer(balancer) != "127.0.0.2":
                pass
            # What comes within a second of another line is written after it, or at the end.
            await balancer.stopService()
        told, back = lines()
        assert told == f"{NAME}: name server unreachable (keeping 1 address, 0 s old)"
        assert back.startswith(f"{NAME}: good answer again (1 address, after ")

    async def test_a_name_server_that_fails_takes_nobody_down(self) -> None:
        """Neither by dials nor by checks, and no session is cut."""
        self.ask_often()
        balancer = await self.started(self.balancer(checked=True, on_down="reset"))
        client = self.connect(balancer)
        sessions = balancer.factories["front"].registry.sessions
        await until(reactor, lambda: any(session.served_by for session in sessions))
        self.server.failures[NAME] = SERVER_FAILURE
        await self.refreshed(1)
        self.server.is_mute = True
        await self.refreshed(2)
        assert await self.answer(balancer) == "127.0.0.1"
        (backend,) = self.pool.backends
        assert backend.up
        assert client.recv(100) == b"127.0.0.1"
        self.assertRaises(BlockingIOError, client.recv, 100)

    async def test_names_of_backends_that_are_added_are_kept_known(self) -> None:
        self.ask_often()
        balancer = await self.started(self.balancer())
        self.server.addresses["later.test"] = ["127.0.0.1"]
        self.pool.replace([Backend(f"later.test:{self.backend.getHost().port}", "db")])
        await until(reactor, lambda: self.server.asked.count(("later.test", "A")) >= 3)
        assert balancer.addresses_of("later.test") == ["127.0.0.1"]
        assert await self.answer(balancer) == "127.0.0.1"

    async def test_a_name_that_is_gone_for_a_moment(self) -> None:
        self.ask_often()
        balancer = await self.started(self.balancer(hold_empty=20))
        del self.server.addresses[NAME]
        await self.refreshed(1)
        for _ in range(5):
            assert await self.answer(balancer) == "127.0.0.1"

    async def test_a_name_that_is_gone_for_good(self) -> None:
        self.ask_often()
        balancer = await self.started(self.balancer(hold_empty=0.2))
        del self.server.addresses[NAME]
        while await self.answer(balancer):
            pass
        self.server.addresses[NAME] = ["127.0.0.2"]
        while await self.answer(balancer) != "127.0.0.2":
            pass

    async def test_a_name_that_is_not_known_at_the_start(self) -> None:
        self.ask_often()
        del self.server.addresses[NAME]
        with capturedLogs() as events:
            balancer = await self.started(self.balancer())
        assert f"{NAME}: no such name (no address of it is known)" in map(formatEvent, events)
        assert await self.answer(balancer) == ""
        self.server.addresses[NAME] = ["127.0.0.1"]
        while not await self.answer(balancer):
            pass

    async def test_a_name_server_that_is_silent_at_the_start(self) -> None:
        self.ask_often()
        self.patch(resolver, "LOOKUP_TIMEOUT", 0.1)
        self.server.is_mute = True
        with capturedLogs() as events:
            balancer = await self.started(self.balancer(checked=True))
        told = f"frontend front opens without the addresses of {NAME}: no answer within 0.1 s"
        assert told in map(formatEvent, events)
        (backend,) = self.pool.backends
        assert not backend.up
        self.server.is_mute = False
        while not await self.answer(balancer):
            pass
        assert backend.up

    async def test_stopped_while_a_name_server_is_silent_it_does_not_say_that_it_opens(self) -> None:
        self.server.is_mute = True
        with capturedLogs() as events:
            balancer = self.balancer()
            balancer.startService()
            await until(reactor, lambda: self.server.asked)
            await balancer.stopService()
        assert not [line for line in map(formatEvent, events) if "opens without" in str(line)]

    async def test_no_check_of_another_host_waits_for_a_slow_name_server(self) -> None:
        self.ask_often()
        self.server.addresses["check.test"] = ["127.0.0.1"]
        balancer = await self.started(self.balancer(checked=True, address="check.test", timeout=20))
        self.server.delay = 20.0
        self.server.asked.clear()
        await until(reactor, lambda: ("check.test", "A") in self.server.asked)
        assert balancer._shared.resolver.resolution("check.test").look_up() is None

    async def test_two_addresses_share_the_clients(self) -> None:
        self.server.addresses[NAME] = ["127.0.0.1", "127.0.0.2"]
        balancer = await self.started(self.balancer())
        answers = [await self.answer(balancer) for _ in range(40)]
        assert set(answers) == {"127.0.0.1", "127.0.0.2"}

    async def test_stopped_and_started_again(self) -> None:
        balancer = await self.started(self.balancer())
        await balancer.stopService()
        self.server.addresses[NAME] = ["127.0.0.2"]
        await self.started(balancer)
        assert await self.answer(balancer) == "127.0.0.2"


class NativeNamesTests(NamesTests):
    """The same on the native data path."""

    data_path_name = "auto"
