"""Frontends that listen on Twisted's endpoints, alone and beside addresses."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from support.data_paths import DataPathCase
from support.ports import free_port
from support.sockets import fired, port_of, some_turns, until
from support.unfinished_probe import UnfinishedProbe
from tcpbalance import (
    Backend,
    Balancer,
    EndReason,
    Frontend,
    HealthConfig,
    LimitsConfig,
    ListenError,
    Pool,
)

reactor: Any = global_reactor

TCP = "tcp:0:interface=127.0.0.1"


@implementer(IListeningPort)
class Unpausable:
    """A port that cannot be paused.

    :param port: the one that it hides.
    """

    def __init__(self, port: Any) -> None:
        self._port = port

    def startListening(self) -> None:
        self._port.startListening()

    def stopListening(self) -> Any:
        return self._port.stopListening()

    def getHost(self) -> Any:
        return self._port.getHost()


@implementer(IStreamServerEndpoint)
class Slow:
    """An endpoint that listens when the test says so, and whose port cannot be paused."""

    def __init__(self) -> None:
        self.listening: Deferred[Any] = Deferred()
        self.factory: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.listening

    def go_on(self) -> Any:
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.listening.callback(Unpausable(port))
        return port


class EndpointTests(DataPathCase):
    """A balancer whose only frontend listens on what the test gives it."""

    timeout = 30

    def setUp(self) -> None:
        super().setUp()
        self.backend = self.echo_server()

    def balancer(
        self, listen: Any, health: HealthConfig | None = None, max_sessions: int | None = None
    ) -> Balancer:
        pool = Pool("echo", [Backend(self.backend)], rng=Random(1), health=health)
        frontend = Frontend("web", listen, pool, limits=LimitsConfig(connections=max_sessions))
        balancer = Balancer(reactor, [frontend], data_path=self.data_path_name, shutdown_grace=0.1)
        self.addCleanup(balancer.stopService)
        return balancer

    async def running(self, listen: Any, **options: Any) -> Balancer:
        return await self.started(self.balancer(listen, **options))

    def client(self, balancer: Balancer, place: int = 0) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port_of(balancer.listens_on("web")[place])))
        self.addCleanup(client.close)
        client.setblocking(False)
        client.send(b"x")
        return client

    def heard(self, client: socket.socket) -> bytes | None:
        """What has come to a client: an echo, nothing but an end, or None so far."""
        try:
            return client.recv(1)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    async def hears(self, client: socket.socket) -> bytes:
        found: list[bytes | None] = []

        def hear() -> bool:
            found.append(self.heard(client))
            return found[-1] is not None

        await until(reactor, hear)
        assert found[-1] is not None
        return found[-1]

    async def is_closed(self, port: Any) -> None:
        await until(reactor, lambda: not port.connected)

    async def test_clients_can_come_back_to_them(self) -> None:
        slow = Slow()
        balancer = self.balancer([TCP, slow])
        balancer.startService()
        slow.go_on()
        await balancer.when_listening()
        clients = [self.client(balancer, place) for place in (0, 1)]
        for client in clients:
            assert await self.hears(client) == b"x"
        sessions = balancer.factories["web"].registry.sessions
        assert [session.can_return() for session in sessions] == [True, True]
        balancer.factories["web"].registry.accept_pause.pause("overload")
        assert [session.can_return() for session in sessions] == [False, False]

    async def test_the_description_of_one(self) -> None:
        with capturedLogs() as events:
            balancer = await self.running(TCP)
        (host,) = balancer.listens_on("web")
        listens = f"frontend web listens on 127.0.0.1:{port_of(host)} by the endpoint {TCP}"
        assert listens in map(formatEvent, events)
        client = self.client(balancer)
        assert await self.hears(client) == b"x"
        client.close()
        await until(reactor, lambda: balancer.factories["web"].stats.ended == {EndReason.CLIENT_CLOSED: 1})

    async def test_all_kinds_in_one_frontend(self) -> None:
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        balancer = await self.running(["127.0.0.1:0", endpoint, TCP])
        assert len(balancer.listens_on("web")) == 3
        for place in range(3):
            assert await self.hears(self.client(balancer, place)) == b"x"

    async def test_one_in_use_is_known_at_once_and_leaves_no_address_taken(self) -> None:
        free = free_port()
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = f"tcp:{holder.getsockname()[1]}:interface=127.0.0.1"
            balancer = self.balancer([f"127.0.0.1:{free}", f"tcp:{free}:interface=127.0.0.2", taken])
            with pytest.raises(ListenError) as caught:
                balancer.prepare()
        assert str(caught.value) == (
            f"frontend web: cannot listen on {taken}: address already in use: stop the program that holds it "
            "or choose another address"
        )
        socket.create_server(("127.0.0.1", free)).close()
        await some_turns(reactor)
        socket.create_server(("127.0.0.2", free)).close()

    async def test_clients_that_come_before_the_first_checks_wait(self) -> None:
        probe = UnfinishedProbe()
        balancer = self.balancer(TCP, HealthConfig(check="unfinished", probe=probe, rise=1))
        balancer.startService()
        client = self.client(balancer)
        await until(reactor, lambda: probe.asked)
        await some_turns(reactor)
        assert self.heard(client) is None
        probe.asked[0].callback(None)
        assert await self.hears(client) == b"x"

    async def test_stopped_and_started_again(self) -> None:
        balancer = await self.running(TCP)
        assert await self.hears(self.client(balancer)) == b"x"
        await balancer.stopService()
        assert balancer.listens_on("web") == []
        balancer.startService()
        assert await self.hears(self.client(balancer)) == b"x"

    async def test_stopped_when_only_prepared_and_started_again(self) -> None:
        free = free_port()
        balancer = self.balancer(f"tcp:{free}:interface=127.0.0.1")
        balancer.prepare()
        await balancer.stopService()
        balancer.startService()
        assert await self.hears(self.client(balancer)) == b"x"

    async def test_beyond_max_sessions_clients_wait(self) -> None:
        balancer = await self.running(TCP, max_sessions=1)
        first = self.client(balancer)
        assert await self.hears(first) == b"x"
        second = self.client(balancer)
        await some_turns(reactor)
        assert self.heard(second) is None
        first.close()
        assert await self.hears(second) == b"x"

    async def test_where_the_port_cannot_be_paused_they_are_refused(self) -> None:
        slow = Slow()
        balancer = self.balancer(slow, max_sessions=1)
        balancer.startService()
        slow.go_on()
        first = self.client(balancer)
        assert await self.hears(first) == b"x"
        assert await self.hears(self.client(balancer)) == b""
        assert balancer.factories["web"].stats.connections_shed == 1
        first.close()
        await until(reactor, lambda: not balancer.factories["web"].registry.sessions)
        assert await self.hears(self.client(balancer)) == b"x"

    async def test_where_the_port_cannot_be_paused_those_before_the_first_checks_are_refused(self) -> None:
        slow, probe = Slow(), UnfinishedProbe()
        balancer = self.balancer(slow, HealthConfig(check="unfinished", probe=probe, rise=1))
        balancer.startService()
        slow.go_on()
        assert await self.hears(self.client(balancer)) == b""
        await until(reactor, lambda: probe.asked)
        probe.asked[0].callback(None)
        assert await self.hears(self.client(balancer)) == b"x"

    async def test_one_that_takes_its_time_is_waited_for(self) -> None:
        slow = Slow()
        balancer = self.balancer(["127.0.0.1:0", slow])
        balancer.startService()
        listening = fired(balancer.when_listening())
        await some_turns(reactor)
        assert listening == []
        slow.go_on()
        assert listening == [True]
        assert await self.hears(self.client(balancer, 1)) == b"x"

    async def test_one_that_takes_its_time_and_fails_closes_the_others(self) -> None:
        slow = Slow()
        balancer = self.balancer(["127.0.0.1:0", slow])
        balancer.startService()
        slow.listening.errback(RuntimeError("no tunnel"))
        error = self.failureResultOf(balancer.when_listening(), ListenError)
        assert "frontend web: cannot listen on <" in str(error.value)
        assert str(error.value).endswith(": no tunnel")
        assert balancer.listens_on("web") == []

    async def test_stopped_before_one_that_takes_its_time_has_listened(self) -> None:
        cancelled: list[object] = []
        slow = Slow()
        slow.listening = Deferred(cancelled.append)
        balancer = self.balancer(slow)
        balancer.startService()
        await balancer.stopService()
        assert cancelled == [slow.listening]

    async def test_one_that_takes_its_time_and_cannot_be_cancelled_is_closed_when_it_listens(self) -> None:
        for start in (Balancer.prepare, Balancer.startService):
            slow = Slow()
            balancer = self.balancer(slow)
            start(balancer)
            await some_turns(reactor)
            await balancer.stopService()
            await self.is_closed(slow.go_on())
            assert balancer.listens_on("web") == []

    async def test_one_that_listens_when_it_is_cancelled_is_closed(self) -> None:
        slow, ports = Slow(), list[Any]()
        slow.listening = Deferred(lambda _: ports.append(slow.go_on()))
        balancer = self.balancer(slow)
        balancer.startService()
        await some_turns(reactor)
        await balancer.stopService()
        await self.is_closed(ports[0])
        assert balancer.listens_on("web") == []


class NativeEndpointTests(EndpointTests):
    """The same with the native data path behind."""

    data_path_name = "auto"
