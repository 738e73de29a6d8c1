"""Frontends of a balancer that runs: added and removed in whole steps, while others are served."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from support.data_paths import DataPathCase
from support.ports import free_port
from support.sockets import fired, port_of, until
from support.unfinished_probe import UnfinishedProbe
from tcpbalance import Backend, Balancer, EndReason, Frontend, HealthConfig, ListenError, Pool
from tcpbalance.services import session_drain

reactor: Any = global_reactor


class ApplyingTests(DataPathCase):
    """A balancer with one frontend, to which others are added."""

    timeout = 30

    def setUp(self) -> None:
        super().setUp()
        self.backend = self.echo_server()
        self.first = self.frontend("first")

    def pool(self, **options: Any) -> Pool:
        return Pool("echo", [Backend(self.backend)], rng=Random(1), **options)

    def frontend(self, name: str, port: int = 0, **options: Any) -> Frontend:
        return Frontend(name, f"127.0.0.1:{port}", self.pool(), **options)

    async def running(self, **options: Any) -> Balancer:
        options.setdefault("shutdown_grace", 5.0)
        balancer = Balancer(reactor, [self.first], data_path=self.data_path_name, **options)
        self.addCleanup(balancer.stopService)
        return await self.started(balancer)

    def client(self, balancer: Balancer, name: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port_of(balancer.listens_on(name)[0])))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def is_served(self, client: socket.socket) -> bool:
        client.send(b"x")
        heard: list[bytes] = []

        def hear() -> bool:
            try:
                heard.append(client.recv(1))
            except BlockingIOError:
                return False
            return True

        await until(reactor, hear)
        return heard == [b"x"]

    async def test_what_is_added_is_served_and_what_stays_is_not_touched(self) -> None:
        balancer = await self.running()
        factory = balancer.factories["first"]
        address = balancer.listens_on("first")
        client = self.client(balancer, "first")
        assert await self.is_served(client)
        balancer._served.prepare([self.first, self.frontend("second")]).commit()
        assert await self.is_served(self.client(balancer, "second"))
        assert await self.is_served(client)
        assert balancer.factories["first"] is factory
        assert balancer.listens_on("first") == address

    async def test_one_that_cannot_be_prepared_leaves_everything_as_it_was(self) -> None:
        balancer = await self.running()
        before = list(balancer), dict(balancer.factories)
        free = free_port()
        with socket.create_server(("127.0.0.1", 0)) as holder:
            new = [self.frontend("good", free), self.frontend("bad", holder.getsockname()[1])]
            with pytest.raises(ListenError, match="frontend bad: cannot listen on"):
                balancer._served.prepare(new).commit()
        socket.create_server(("127.0.0.1", free)).close()
        assert (list(balancer), dict(balancer.factories)) == before
        assert await self.is_served(self.client(balancer, "first"))

    async def test_sessions_of_one_that_is_removed_finish(self) -> None:
        balancer = await self.running()
        balancer._served.prepare([self.first, self.frontend("second")]).commit()
        (host,) = balancer.listens_on("second")
        client = self.client(balancer, "second")
        assert await self.is_served(client)
        factory = balancer.factories["second"]
        balancer._served.prepare([self.first]).commit()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(host)))
        assert await self.is_served(client)
        client.close()
        await until(reactor, lambda: factory.stats.ended == {EndReason.CLIENT_CLOSED: 1})
        assert list(balancer.factories) == ["first"]

    async def test_one_that_takes_the_place_of_another_of_its_name_goes_on_counting(self) -> None:
        balancer = await self.running()
        client = self.client(balancer, "first")
        assert await self.is_served(client)
        address = balancer.listens_on("first")
        balancer._served.prepare([self.frontend("first")]).commit()
        factory = balancer.factories["first"]
        assert balancer.listens_on("first") == address
        assert await self.is_served(self.client(balancer, "first"))
        client.close()
        await until(reactor, lambda: factory.stats.ended == {EndReason.CLIENT_CLOSED: 1})
        assert (factory.stats.connections_total, factory.stats.connections_active) == (2, 1)

    async def test_the_time_that_the_pool_gives_them_ends_them_and_not_the_grace(self) -> None:
        balancer = await self.running(shutdown_grace=0.05)
        limited = Frontend("second", "127.0.0.1:0", self.pool(drain_timeout=0.2))
        balancer._served.prepare([self.first, limited, self.frontend("third")]).commit()
        clients = [self.client(balancer, name) for name in ("second", "third")]
        assert [await self.is_served(client) for client in clients] == [True, True]
        factories = [balancer.factories[name] for name in ("second", "third")]
        balancer._served.prepare([self.first]).commit()
        await until(reactor, lambda: factories[0].stats.ended == {EndReason.DRAINED: 1})
        assert factories[1].stats.ended == {}
        assert await self.is_served(clients[1])

    async def test_a_client_that_was_queued_then_has_no_longer(self) -> None:
        pool = Pool("echo", [Backend(self.backend, max_connections=1)], queue=1, drain_timeout=0.1)
        balancer = await self.running()
        balancer._served.prepare([self.first, Frontend("second", "127.0.0.1:0", pool)]).commit()
        slot = pool.take(pool.backends[0], None)
        self.client(balancer, "second")
        await until(reactor, lambda: pool.queue)
        factory = balancer.factories["second"]
        self.patch(session_drain, "LOOK_AGAIN_AFTER", 0.1)
        balancer._served.prepare([self.first, Frontend("third", "127.0.0.1:0", pool)]).commit()
        # Its place is free a good while after the time that the pool gives.
        later = Deferred[None]()
        reactor.callLater(0.3, later.callback, None)
        await later
        slot.release()
        await until(reactor, lambda: factory.stats.ended == {EndReason.DRAINED: 1})

    async def test_stopping_waits_for_what_retires(self) -> None:
        balancer = await self.running(shutdown_grace=1000.0)
        balancer._served.prepare([self.first, self.frontend("second")]).commit()
        client = self.client(balancer, "second")
        assert await self.is_served(client)
        balancer._served.prepare([self.first]).commit()
        stopped = fired(balancer.stopService())
        assert await self.is_served(client)
        assert stopped == []
        balancer.end_grace_now()
        await until(reactor, lambda: stopped)

    async def test_the_checks_of_a_pool_that_is_removed_end(self) -> None:
        probe = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="unfinished", probe=probe))
        self.first = Frontend("first", "127.0.0.1:0", pool)
        other = self.frontend("other")
        balancer = Balancer(
            reactor,
            [self.first, other],
            data_path=self.data_path_name,
        )
        self.addCleanup(balancer.stopService)
        balancer.startService()
        await until(reactor, lambda: probe.asked)
        balancer._served.prepare([other]).commit()
        assert probe.cancelled == 1

    async def test_committing_does_not_fail_where_an_address_was_lost_since(self) -> None:
        balancer = await self.running()
        probe = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="unfinished", probe=probe))
        balancer._served.prepare([self.first, Frontend("second", "127.0.0.1:0", pool)]).commit()
        await until(reactor, lambda: probe.asked)
        with socket.socket() as quicker, capturedLogs() as events:
            quicker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            quicker.bind(("127.0.0.1", port_of(balancer.listens_on("second")[0])))
            quicker.listen()
            probe.asked[0].callback(None)
        assert any("frontend second: cannot listen on" in str(formatEvent(event)) for event in events)
        assert balancer.listens_on("second") == []
        assert await self.is_served(self.client(balancer, "first"))

    async def test_one_that_cannot_be_opened_keeps_none_from_it_and_is_opened_by_the_next_reload(
        self,
    ) -> None:
        balancer = await self.running()
        probe = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="unfinished", probe=probe))
        frontends = [self.first, *(Frontend(name, "127.0.0.1:0", pool) for name in ("second", "third"))]
        balancer._served.prepare(frontends).commit()
        await until(reactor, lambda: probe.asked)
        with socket.socket() as quicker, capturedLogs() as events:
            quicker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            quicker.bind(("127.0.0.1", port_of(balancer.listens_on("second")[0])))
            quicker.listen()
            probe.asked[0].callback(None)
        assert any(str(formatEvent(event)).endswith("opens the frontend anew") for event in events)
        assert await self.is_served(self.client(balancer, "third"))
        third = balancer.factories["third"]
        balancer._served.prepare(frontends).commit()
        assert await self.is_served(self.client(balancer, "second"))
        assert balancer.factories["third"] is third

    async def test_sessions_of_one_that_is_removed_are_still_counted(self) -> None:
        balancer = await self.running()
        balancer._served.prepare([self.first, self.frontend("second")]).commit()
        client = self.client(balancer, "second")
        assert await self.is_served(client)
        registry = balancer.factories["second"].registry
        balancer._served.prepare([self.first]).commit()
        assert balancer.summary().sessions == 1
        assert registry in balancer._guard._registries
        client.close()
        await until(reactor, lambda: balancer.summary().sessions == 0)
        assert registry not in balancer._guard._registries

    async def test_the_start_is_over_when_those_are_open_that_are_left(self) -> None:
        probe = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="unfinished", probe=probe, initial="checked"))
        slow = Frontend("slow", "127.0.0.1:0", pool)
        balancer = Balancer(reactor, [self.first, slow], data_path=self.data_path_name)
        self.addCleanup(balancer.stopService)
        balancer.startService()
        listening = fired(balancer.when_listening())
        balancer._served.prepare([self.first, slow, self.frontend("third")]).commit()
        assert listening == [], "what is added later does not end it"
        balancer._served.prepare([self.first]).commit()
        assert listening == [True]

    async def test_frontends_are_changed_before_the_start(self) -> None:
        second, port = self.frontend("second"), free_port()
        balancer = Balancer(reactor, [self.frontend("first", port)], data_path=self.data_path_name)
        self.addCleanup(balancer.stopService)
        balancer.prepare()
        balancer._served.prepare([second]).commit()
        socket.create_server(("127.0.0.1", port)).close()
        balancer.startService()
        await balancer.when_listening()
        assert await self.is_served(self.client(balancer, "second"))


class NativeApplyingTests(ApplyingTests):
    """The same on the native data path."""

    data_path_name = "auto"
