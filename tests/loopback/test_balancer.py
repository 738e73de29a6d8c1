"""The assembled service on real sockets: built three ways, opened when backends are known, ended in order."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from support.bare import whole
from support.data_paths import DataPathCase
from support.ports import free_port
from support.sockets import fired, port_of, until, until_steady
from support.unfinished_probe import UnfinishedProbe
from tcpbalance import (
    AccessLog,
    Backend,
    Balancer,
    EndReason,
    Frontend,
    FrontendFactory,
    HealthConfig,
    ListenError,
    Pool,
    ProbeFailed,
    SessionRecord,
    SocketConfig,
    Target,
    TcpbalanceError,
    TimeoutsConfig,
)
from tcpbalance.config.addresses import Address
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.environment import PassedDescriptor
from tcpbalance.net.binding import bind
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.wheel import Wheel

reactor: Any = global_reactor

PLAIN = SocketOptions.of(SocketConfig())


class Echo(Protocol):
    """Sends back what it gets, behind its name, and ends when the client does."""

    def connectionMade(self) -> None:
        self.factory.open.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.name + b":" + data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.remove(self)


class Backends(Factory):
    """One echo server."""

    protocol = Echo
    noisy = False

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.open: list[Echo] = []


class BalancerCase(DataPathCase):
    """Two echo backends, blocking-free clients, and a balancer that is stopped at the end."""

    def setUp(self) -> None:
        super().setUp()
        self.servers = [Backends(b"a"), Backends(b"b")]
        self.ports = [reactor.listenTCP(0, server, interface="127.0.0.1") for server in self.servers]
        for port in self.ports:
            self.addCleanup(port.stopListening)

    def pool(self, **options: Any) -> Pool:
        backends = [
            Backend(f"127.0.0.1:{port.getHost().port}", name)
            for port, name in zip(self.ports, ("a", "b"), strict=True)
        ]
        return Pool("echo", backends, clock=time.monotonic, rng=Random(1), **options)

    def balancer(self, pool: Pool | None = None, **options: Any) -> Balancer:
        timeouts = options.pop("timeouts", TimeoutsConfig())
        frontend = Frontend("front", "127.0.0.1:0", pool or self.pool(), timeouts)
        options.setdefault("shutdown_grace", 5.0)
        balancer = Balancer(reactor, [frontend], data_path=self.data_path_name, **options)
        self.addCleanup(balancer.stopService)
        return balancer

    def connector(self) -> SocketConnector:
        return SocketConnector(reactor, PLAIN, self.data_path)

    def listen(self, factory: FrontendFactory) -> int:
        listener = Listener(reactor, bind(Address.parse("127.0.0.1:0"), PLAIN), factory, 64, self.data_path)
        self.addCleanup(listener.stopListening)
        listener.startListening()
        return int(listener.getHost().port)

    def client(self, balancer: Balancer) -> socket.socket:
        (host,) = balancer.listens_on("front")
        return self.connect(("127.0.0.1", port_of(host)))

    def connect(self, target: Any, family: int = socket.AF_INET) -> socket.socket:
        client = socket.socket(family)
        self.addCleanup(client.close)
        client.connect(target)
        client.setblocking(False)
        return client

    async def open(self, **options: Any) -> tuple[Balancer, socket.socket]:
        balancer = await self.started(self.balancer(**options))
        client = self.client(balancer)
        assert await self.ask(client, b"x") == b"a:x"
        return balancer, client

    async def read(self, client: socket.socket, size: int) -> bytes:
        received = b""

        def enough() -> bool:
            nonlocal received
            try:
                data = client.recv(size - len(received))
            except BlockingIOError:
                return False
            received += data
            return not data or len(received) >= size

        await until(reactor, enough)
        return received

    async def ask(self, client: socket.socket, question: bytes) -> bytes:
        client.send(question)
        return await self.read(client, len(question) + 2)


class ServingTests(BalancerCase):
    """Built from parts, from a file, on any endpoint: the same service."""

    async def test_from_parts(self) -> None:
        balancer = await self.started(self.balancer())
        clients = [self.client(balancer) for _ in range(4)]
        answers = [await self.ask(client, b"hello") for client in clients]
        assert sorted(answers) == [b"a:hello", b"a:hello", b"b:hello", b"b:hello"]
        for client in clients:
            client.close()
        await until(reactor, lambda: balancer.factories["front"].stats.ended[EndReason.CLIENT_CLOSED] == 4)
        assert all(backend.active == 0 for backend in balancer.factories["front"].context.pool.backends)

    async def test_from_a_file(self) -> None:
        await self.from_a_file("json", '"reason":"client_closed"')

    async def test_from_a_file_with_a_log_for_people(self) -> None:
        await self.from_a_file("text", " reason=client_closed")

    async def from_a_file(self, form: str, end: str) -> None:
        """Serve one client, until the end of its session stands in the access log."""
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        file = folder / "tcpbalance.toml"
        file.write_text(
            f"data_path = '{self.data_path_name}'\n"
            f"[access_log]\npath = 'access.log'\nformat = '{form}'\n"
            "[frontends.front]\nlisten = '127.0.0.1:0'\npool = 'echo'\n"
            f"[pools.echo]\nbackends = ['127.0.0.1:{self.ports[0].getHost().port}']\n"
            "[pools.echo.health]\ncheck = 'tcp'\n[pools.echo.affinity]\n"
        )
        balancer = Balancer.from_file(reactor, file)
        self.addCleanup(balancer.stopService)
        await self.started(balancer)
        client = self.client(balancer)
        assert await self.ask(client, b"hello") == b"a:hello"
        client.close()
        await until(reactor, lambda: (folder / "access.log").read_text().count(end) == 1)

    async def test_as_child_of_an_application(self) -> None:
        parent = MultiService()
        balancer = self.balancer()
        balancer.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        await balancer.when_listening()
        client = self.client(balancer)
        assert await self.ask(client, b"x") == b"a:x"
        client.close()
        await parent.stopService()

    async def test_stopped_and_started_again(self) -> None:
        balancer = await self.started(self.balancer())
        await balancer.stopService()
        await self.started(balancer)
        assert await self.ask(self.client(balancer), b"x") == b"a:x"

    async def test_the_factory_on_a_tcp_endpoint(self) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory())
        self.addCleanup(port.stopListening)
        client = self.connect(("127.0.0.1", port.getHost().port))
        assert await self.ask(client, b"x") == b"a:x"
        await self.leave(client)

    async def test_the_factory_on_a_unix_endpoint(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        port = await serverFromString(reactor, f"unix:{folder}/socket").listen(self.factory())
        self.addCleanup(port.stopListening)
        client = self.connect(f"{folder}/socket", socket.AF_UNIX)
        assert await self.ask(client, b"x") == b"a:x"
        await self.leave(client)

    def factory(self) -> FrontendFactory:
        self.records: list[SessionRecord] = []
        return FrontendFactory(
            reactor, self.pool(), on_record=self.records.append, connector=self.connector()
        )

    async def leave(self, client: socket.socket) -> None:
        client.close()
        await until(reactor, lambda: self.records and not self.servers[0].open)
        assert self.records[0].reason is EndReason.CLIENT_CLOSED


class InheritedSocketTests(BalancerCase):
    """Sockets that were open before the balancer was: taken at the start, and used when it opens."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.socket.close)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def with_socket(self, options: SocketConfig, pool: Pool | None = None) -> Balancer:
        inherited = InheritedSockets([PassedDescriptor(os.dup(self.socket.fileno()), "front")])
        self.addCleanup(inherited.close_unclaimed)
        frontend = Frontend("front", self.address, pool or self.pool(), socket=options)
        balancer = Balancer(
            reactor, [frontend], data_path=self.data_path_name, shutdown_grace=1.0, inherited=inherited
        )
        self.addCleanup(balancer.stopService)
        return balancer

    def keepalive(self) -> int:
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    async def test_clients_wait_until_it_opens_and_after_it_has_stopped(self) -> None:
        probe = UnfinishedProbe()
        balancer = self.with_socket(
            SocketConfig(keepalive=Duration(60)), self.pool(health=HealthConfig(check="gate", probe=probe))
        )
        balancer.startService()
        client = self.connect(self.socket.getsockname())
        assert self.keepalive() == 0
        for asked in probe.asked:
            asked.callback(None)
        assert self.keepalive() == 1
        assert (await self.ask(client, b"x"))[1:] == b":x"
        client.close()
        await balancer.stopService()
        with socket.create_connection(self.socket.getsockname(), timeout=5):
            accepted, _ = self.socket.accept()
            accepted.close()

    async def test_an_option_that_is_refused_leaves_it_as_it_was(self) -> None:
        balancer = self.with_socket(SocketConfig(keepalive=Duration(60), congestion="none_such"))
        with pytest.raises(ListenError, match="the system has no congestion control"):
            balancer.prepare()
        assert self.keepalive() == 0
        with socket.create_connection(self.socket.getsockname(), timeout=5):
            pass


class OpeningTests(BalancerCase):
    """Clients are let in when the backends are known, and not before."""

    async def test_not_before_the_first_round_of_checks(self) -> None:
        admission = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="gate", probe=admission))
        balancer = self.balancer(pool)
        balancer.startService()
        (host,) = balancer.listens_on("front")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(host)), timeout=5)
        listening = fired(balancer.when_listening())
        admission.asked[0].callback(None)
        assert listening == []
        admission.asked[1].errback(RuntimeError("broken"))
        assert listening == [True]
        self.flushLoggedErrors(RuntimeError)
        assert [await self.ask(self.client(balancer), b"x") for _ in range(2)] == [b"a:x", b"a:x"]

    def listening(self, balancer: Balancer) -> list[str]:
        """The frontends whose clients are let in."""
        names = []
        for name in balancer.factories:
            with socket.socket() as client:
                (host,) = balancer.listens_on(name)
                if client.connect_ex(("127.0.0.1", port_of(host))) == 0:
                    names.append(name)
        return names

    async def test_a_frontend_waits_for_the_checks_of_its_own_pools(self) -> None:
        gates = {name: UnfinishedProbe() for name in ("checked", "up")}
        up = self.pool(health=HealthConfig(check="gate", probe=gates["up"], initial="up"))
        checked = self.pool(health=HealthConfig(check="gate", probe=gates["checked"], timeout=Duration(7)))
        balancer = Balancer(
            reactor,
            [
                Frontend("plain", "127.0.0.1:0", self.pool()),
                Frontend("up", "127.0.0.1:0", up),
                Frontend("checked", "127.0.0.1:0", checked),
            ],
            data_path=self.data_path_name,
        )
        self.addCleanup(balancer.stopService)
        with capturedLogs() as events:
            balancer.startService()
        waits = [formatEvent(event) for event in events if "waits for" in event.get("log_format", "")]
        assert waits == ["frontend checked waits for the first checks of pool echo, 7 s at most"]
        all_listen = fired(balancer.when_listening())
        assert self.listening(balancer) == ["plain", "up"]
        assert all_listen == []
        for asked in gates["checked"].asked:
            asked.callback(None)
        assert self.listening(balancer) == ["plain", "up", "checked"]
        assert all_listen == [True]

    async def test_all_wait_for_all_while_a_predecessor_serves(self) -> None:
        """Where the last of them failed, the predecessor would go on, and clients of the others be cut."""
        probe = UnfinishedProbe()
        checked = self.pool(health=HealthConfig(check="gate", probe=probe))
        balancer = Balancer(
            reactor,
            [Frontend("plain", "127.0.0.1:0", self.pool()), Frontend("checked", "127.0.0.1:0", checked)],
            data_path=self.data_path_name,
            inherited=InheritedSockets(is_handed_over=True),
        )
        self.addCleanup(balancer.stopService)
        balancer.startService()
        assert self.listening(balancer) == []
        for asked in probe.asked:
            asked.callback(None)
        assert self.listening(balancer) == ["plain", "checked"]

    async def test_an_address_in_use_leaves_no_other_taken(self) -> None:
        free = free_port()
        pool = self.pool()
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = holder.getsockname()[1]
            frontends = [
                Frontend("good", f"127.0.0.1:{free}", pool),
                Frontend("bad", f"127.0.0.1:{taken}", pool),
            ]
            with pytest.raises(
                ListenError, match=f"frontend bad: cannot listen on 127.0.0.1:{taken}: address"
            ):
                Balancer(reactor, frontends).startService()
        socket.create_server(("127.0.0.1", free)).close()

    async def test_a_log_that_cannot_be_opened_leaves_no_address_taken(self) -> None:
        free = free_port()
        frontend = Frontend("front", f"127.0.0.1:{free}", self.pool())
        log = AccessLog("/nonexistent/access.log", "text", reactor)
        with pytest.raises(Exception, match=r"access log /nonexistent/access\.log"):
            Balancer(reactor, [frontend], access_log=log).prepare()
        socket.create_server(("127.0.0.1", free)).close()

    async def test_an_address_that_is_lost_between_binding_and_opening(self) -> None:
        admission = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="gate", probe=admission))
        balancer = self.balancer(pool)
        balancer.startService()
        (host,) = balancer.listens_on("front")
        quicker = socket.socket()
        self.addCleanup(quicker.close)
        quicker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        quicker.bind(("127.0.0.1", port_of(host)))
        quicker.listen()
        listening = balancer.when_listening()
        for asked in admission.asked:
            asked.callback(None)
        self.failureResultOf(listening, ListenError)


class EndingTests(BalancerCase):
    """Nothing new is let in, what is open may finish, and nothing is left."""

    async def test_open_sessions_finish(self) -> None:
        balancer, client = await self.open()
        (host,) = balancer.listens_on("front")
        stopped = fired(balancer.stopService())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(host)), timeout=5)
        assert await self.ask(client, b"still here") == b"a:still here"
        assert stopped == []
        client.close()
        await until(reactor, lambda: stopped)
        assert balancer.factories["front"].stats.ended == {EndReason.CLIENT_CLOSED: 1}

    async def test_a_grace_that_runs_out_resets_them(self) -> None:
        balancer, client = await self.open(shutdown_grace=0.05)
        await balancer.stopService()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert balancer.factories["front"].stats.ended == {EndReason.SHUTDOWN: 1}

    async def test_stopped_twice(self) -> None:
        balancer, client = await self.open()
        first, second = fired(balancer.stopService()), fired(balancer.stopService())
        assert second == []
        client.close()
        await until(reactor, lambda: first)
        assert first == second == [None]
        assert fired(balancer.stopService()) == [None]

    async def test_the_grace_is_cut_short(self) -> None:
        balancer, _ = await self.open(shutdown_grace=1000.0)
        stopped = balancer.stopService()
        balancer.end_grace_now()
        await stopped
        assert balancer.factories["front"].stats.ended == {EndReason.SHUTDOWN: 1}

    async def test_stopped_before_clients_were_let_in(self) -> None:
        admission = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="gate", probe=admission))
        balancer = self.balancer(pool)
        balancer.startService()
        listening = fired(balancer.when_listening())
        await balancer.stopService()
        assert len(listening) == 1
        assert isinstance(listening[0], Failure)

    async def served_by_both(self, on_down: Literal["keep", "reset"]) -> tuple[Balancer, list[socket.socket]]:
        """A client at each backend, of which one has gone down since."""
        admission = UnfinishedProbe()
        check = HealthConfig(
            check="gate",
            probe=admission,
            interval=Duration(0.02),
            down_interval=Duration(60),
            fall=1,
            rise=1,
            on_down=on_down,
        )
        pool = self.pool(health=check)
        balancer = self.balancer(pool)
        balancer.startService()
        for asked in admission.asked:
            asked.callback(None)
        clients = [self.client(balancer) for _ in range(2)]
        assert sorted([await self.ask(client, b"x") for client in clients]) == [b"a:x", b"b:x"]
        await until(reactor, lambda: len(admission.asked) >= 3)
        admission.asked[2].errback(ProbeFailed("down"))
        assert sorted(backend.up for backend in pool.backends) == [False, True]
        return balancer, clients

    async def test_on_down_reset(self) -> None:
        balancer, _ = await self.served_by_both("reset")
        await until(reactor, lambda: balancer.factories["front"].stats.ended[EndReason.BACKEND_DOWN] == 1)
        assert len(balancer.factories["front"].registry.sessions) == 1

    async def test_on_down_keep(self) -> None:
        balancer, clients = await self.served_by_both("keep")
        assert sorted([await self.ask(client, b"y") for client in clients]) == [b"a:y", b"b:y"]
        assert not balancer.factories["front"].stats.ended


class AccountTests(BalancerCase):
    """What is called with the records may be anybody's code."""

    async def test_one_that_raises_harms_nobody(self) -> None:
        def broken(record: SessionRecord) -> None:
            raise RuntimeError("broken on purpose")

        factory = FrontendFactory(reactor, self.pool(), on_record=broken, connector=self.connector())
        client = self.connect(("127.0.0.1", self.listen(factory)))
        assert await self.ask(client, b"x") == b"a:x"
        client.close()
        await factory.registry.when_idle()
        assert len(self.flushLoggedErrors(RuntimeError)) == 1
        await until(reactor, lambda: not self.servers[0].open)


class Stubborn:
    """A probe that cannot be cancelled."""

    async def check(self, target: Target) -> None:
        while not self.may_end:
            with contextlib.suppress(CancelledError):
                await Deferred()

    may_end = False


class LifecycleTests(BalancerCase):
    """Started, stopped and started again, in the order that embedders come up with."""

    async def test_stopped_and_started_in_the_first_round_opens_once(self) -> None:
        admission = UnfinishedProbe()
        pool = self.pool(health=HealthConfig(check="gate", probe=admission))
        balancer = self.balancer(pool)
        for _ in range(3):
            balancer.startService()
            await balancer.stopService()
        balancer.startService()
        with capturedLogs() as events:
            for asked in admission.asked[-2:]:
                asked.callback(None)
        opened = [event for event in events if "listens on" in event.get("log_format", "")]
        assert len(opened) == 1

    async def test_started_while_it_stops_is_refused(self) -> None:
        balancer, client = await self.open()
        stopped = balancer.stopService()
        with pytest.raises(TcpbalanceError, match="still stopping"):
            balancer.startService()
        client.close()
        await stopped

    async def test_the_end_of_the_grace_does_not_wait_for_probes(self) -> None:
        stubborn = Stubborn()
        check = HealthConfig(check="stubborn", probe=stubborn, initial="up", timeout=Duration(0.05))
        balancer, _ = await self.open(pool=self.pool(health=check), shutdown_grace=1000.0)
        stopped = balancer.stopService()
        balancer.end_grace_now()
        await until(reactor, lambda: balancer.factories["front"].stats.ended, 0.9)
        await stopped
        self.flushLoggedErrors()
        stubborn.may_end = True

    async def test_asked_after_it_could_not_listen(self) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.3", 0))
            frontends = [Frontend(n, f"127.0.0.3:{holder.getsockname()[1]}", self.pool()) for n in ("a", "b")]
        balancer = Balancer(reactor, frontends)
        self.addCleanup(balancer.stopService)
        balancer.startService()
        self.failureResultOf(balancer.when_listening(), ListenError)

    def test_two_frontends_of_one_name(self) -> None:
        frontend = Frontend("front", "127.0.0.1:0", self.pool())
        with pytest.raises(ValueError, match="got front 2 times"):
            Balancer(reactor, [frontend, frontend])

    def test_a_buffer_that_the_system_made_smaller_is_told_of(self) -> None:
        config = SocketConfig(receive_buffer=Size(2**29))
        balancer = Balancer(reactor, [Frontend("front", "127.0.0.1:0", self.pool(), socket=config)])
        self.addCleanup(balancer.stopService)
        with capturedLogs() as events:
            balancer.prepare()
        (told,) = [formatEvent(event) for event in events]
        assert re.fullmatch(r"frontend front: socket\.receive_buffer is \d+ bytes, not 536870912: .*", told)

    def test_an_option_that_only_dials_have_is_tried_at_the_start(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        config = SocketConfig(congestion="nonesuch")
        frontend = Frontend("front", f"unix:{folder}/socket", self.pool(), socket=config)
        with pytest.raises(ListenError, match=r"frontend front: socket\.congestion: the system has no"):
            Balancer(reactor, [frontend]).prepare()


class SlowReaderTests(BalancerCase):
    """Nobody sends any more, but what was sent is still being fetched: that is not idle."""

    async def test_it_gets_everything_however_long_it_takes(self) -> None:
        clock = Clock()
        factory = self.factory(clock)
        client = await self.slow_client(factory)
        size = 4_000_000
        self.servers[0].open[0].transport.write(bytes(size))
        self.servers[0].open[0].transport.loseConnection()
        received = 0
        while received < size:
            clock.pump([1.0] * 4)
            received += len(await self.read(client, min(100_000, size - received)))
        assert len(factory.registry.sessions) == 1
        # The last byte may be here before the balancer has read the end that came behind it.
        assert await self.read(client, 1) == b""
        clock.pump([1.0] * 30)
        await until(reactor, lambda: factory.stats.ended == {EndReason.HALF_CLOSE_TIMEOUT: 1})
        assert client.recv(1) == b""

    def factory(self, clock: Clock) -> FrontendFactory:
        timeouts = TimeoutsConfig(half_close_timeout=5.0)
        factory = FrontendFactory(
            reactor, self.pool(), timeouts=timeouts, connector=self.connector(), clock=clock.seconds
        )
        factory.context = evolve(factory.context, wheel=Wheel(clock, clock.seconds))
        return factory

    async def slow_client(self, factory: FrontendFactory) -> socket.socket:
        """A client whose kernel, like ours, holds less than it reads in one go: so each time it reads, bytes
        pass through the balancer, which takes the reactor's time and not only the clock's."""
        port = self.listen(factory)
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        await until(reactor, lambda: self.servers[0].open)
        session = whole(next(iter(factory.registry.sessions)))
        session.client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        return client


class StoppedReaderTests(BalancerCase):
    """What is in the kernel for a client when the limit comes: fetched since, or not."""

    async def test_one_that_has_stopped_is_not_waited_for_twice(self) -> None:
        clock, factory, _ = await self.with_bytes_in_flight()
        clock.pump([1.0] * 59)
        assert len(factory.registry.sessions) == 1
        clock.pump([1.0] * 4)
        await until(reactor, lambda: factory.stats.ended == {EndReason.IDLE_TIMEOUT: 1})

    async def test_one_that_fetches_from_the_kernel_alone_is_waited_for(self) -> None:
        clock, factory, client = await self.with_bytes_in_flight()
        session = whole(next(iter(factory.registry.sessions)))
        before = session.client.in_flight()
        clock.pump([1.0] * 55)
        await self.read(client, 12_000)
        await until(reactor, lambda: session.client.in_flight() < before)
        clock.pump([1.0] * 60)
        assert len(factory.registry.sessions) == 1
        clock.pump([1.0] * 10)
        await until(reactor, lambda: factory.stats.ended == {EndReason.IDLE_TIMEOUT: 1})

    async def with_bytes_in_flight(self) -> tuple[Clock, FrontendFactory, socket.socket]:
        """A session through which nothing more is to pass, while the client has not fetched what did."""
        clock = Clock()
        timeouts = TimeoutsConfig(idle_timeout=60.0)
        balancer = self.balancer(timeouts=timeouts, shutdown_grace=0.0)
        factory = balancer.factories["front"]
        factory.context = evolve(factory.context, clock=clock.seconds, wheel=Wheel(clock, clock.seconds))
        await self.started(balancer)
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(("127.0.0.1", port_of(balancer.listens_on("front")[0])))
        client.setblocking(False)
        await until(reactor, lambda: any(server.open for server in self.servers))
        (echo,) = [echo for server in self.servers for echo in server.open]
        echo.transport.write(bytes(40_000))
        session = whole(next(iter(factory.registry.sessions)))
        await until(reactor, lambda: session.backend and session.backend.received == 40_000)
        await until_steady(reactor, session.client.in_flight)
        assert session.client.in_flight() > 0
        return clock, factory, client


class NativeServingTests(ServingTests):
    """The same on the native data path; on an endpoint, with Twisted's transport on the client's side."""

    data_path_name = "auto"


class NativeOpeningTests(OpeningTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeEndingTests(EndingTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeAccountTests(AccountTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeLifecycleTests(LifecycleTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeSlowReaderTests(SlowReaderTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeStoppedReaderTests(StoppedReaderTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeInheritedSocketTests(InheritedSocketTests):
    """The same on the native data path."""

    data_path_name = "auto"
