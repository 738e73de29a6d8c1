"""Idle sessions are moved to a backend that a reload has added: on real sockets, on both data paths."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from support import peers
from support.clients import connect, read
from support.data_paths import DataPathCase
from support.ports import free_port
from support.reconnecting import Reconnecting
from support.sockets import port_of, until
from support.tls_case import NAME, TlsCase
from support.tls_lines import frontend_tls
from tcpbalance import Balancer, Config, EndReason, RebalanceConfig, ServerTls
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.net.data_path import DataPathName
from tcpbalance.net.ends import unread
from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.preread_settings import PrereadSettings

reactor: Any = global_reactor

QUICK = RebalanceConfig(rate=50, idle_for=0.5)


class RebalancingTests(DataPathCase):
    """On the portable data path."""

    def config(
        self, *backends: str, rebalance: RebalanceConfig | None = None, frontends: tuple[str, ...] = ("web",)
    ) -> Config:
        listed = tuple(BackendConfig(address=address) for address in backends)
        pool = PoolConfig(backends=listed, balance="least_connections", rebalance=rebalance)
        return Config(
            data_path=self.data_path_name,
            shutdown_grace=0.1,
            frontends={name: FrontendConfig(listen="127.0.0.1:0", pool="web") for name in frontends},
            pools={"web": pool},
        )

    async def running(self, config: Config) -> Balancer:
        balancer = Balancer.from_config(reactor, config)
        self.addCleanup(balancer.stopService)
        return await self.started(balancer)

    def clients(self, balancer: Balancer, frontend: str, count: int) -> Reconnecting:
        clients = Reconnecting(port_of(balancer.listens_on(frontend)[0]), count)
        self.addCleanup(clients.close)
        return clients

    async def test_idle_ones_spread_and_busy_ones_stay(self) -> None:
        one, two = self.echo_server(), self.echo_server()
        balancer = await self.running(self.config(one))
        clients = self.clients(balancer, "web", 8)
        (pool,) = balancer._served.pools
        for client in clients.sockets[2:]:
            client.send(b"?")
        await until(reactor, lambda: clients.hear_all() == {b"?": 6, b"": 2})
        balancer.apply(self.config(one, two, rebalance=QUICK))
        busy, answers = clients.sockets[2], 0

        def has_spread() -> bool:
            nonlocal answers
            busy.send(b"!")
            answers += len(clients.hear(2))
            clients.hear_all()
            return [backend.active for backend in pool.backends] == [4, 4] and clients.closed == 4

        await until(reactor, has_spread)
        stats = balancer.factories["web"].stats
        assert stats.ended == {EndReason.REBALANCED: 4}
        assert pool.backends[0].stats.ended == {EndReason.REBALANCED: 4}
        assert clients.sockets[2] is busy
        assert answers > 1
        assert pool.selection.surplus({}, 0).closable == 0
        (service,) = balancer._served.pools.values()
        assert service._rebalancer._next_look is not None
        balancer.apply(self.config(one, two))
        assert service._rebalancer._next_look is None

    async def test_sessions_of_a_frontend_that_is_gone_stay(self) -> None:
        """Their clients could not come back."""
        one, two = self.echo_server(), self.echo_server()
        balancer = await self.running(self.config(one, frontends=("web", "gone")))
        left, gone = self.clients(balancer, "web", 2), self.clients(balancer, "gone", 4)
        (pool,) = balancer._served.pools
        await until(reactor, lambda: pool.backends[0].active == 6)
        balancer.apply(self.config(one, two, rebalance=QUICK))

        def has_moved() -> bool:
            left.hear_all()
            gone.hear_all()
            return [backend.active for backend in pool.backends] == [4, 2]

        await until(reactor, has_moved)
        assert (left.closed, gone.closed) == (2, 0)
        assert pool.selection.surplus({}, 0).closable == 1

    async def test_sessions_that_came_by_an_address_that_is_gone_stay(self) -> None:
        """Their clients would be refused."""
        one, two = self.echo_server(), self.echo_server()
        config = self.config(one)

        def listening(config: Config, *addresses: str) -> Config:
            return evolve(config, frontends={"web": FrontendConfig(listen=addresses, pool="web")})

        gone, kept = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        balancer = await self.running(listening(config, gone, kept))
        ports = [port_of(address) for address in balancer.listens_on("web")]
        staying, moving = (Reconnecting(port, 4) for port in ports)
        self.addCleanup(staying.close)
        self.addCleanup(moving.close)
        (pool,) = balancer._served.pools
        await until(reactor, lambda: pool.backends[0].active == 8)
        balancer.apply(listening(self.config(one, two, rebalance=QUICK), kept))

        def has_moved() -> bool:
            moving.hear_all()
            staying.hear_all()
            return [backend.active for backend in pool.backends] == [4, 4]

        await until(reactor, has_moved)
        assert (moving.closed, staying.closed) == (4, 0)

    async def test_clients_of_all_kinds_of_addresses_can_come_back(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/web.sock"
        config = self.config(self.echo_server())
        listen = [
            "127.0.0.1:0",
            f"0.0.0.0:{free_port()}",
            f"[::]:{free_port()}",
            f"unix:{path}",
        ]
        balancer = await self.running(
            evolve(config, frontends={"web": FrontendConfig(listen=listen, pool="web")})
        )
        registry = balancer.factories["web"].registry
        ports = [it.port for it in balancer.listens_on("web") if isinstance(it, IPv4Address | IPv6Address)]
        clients = [
            socket.create_connection(("::1" if port == ports[2] else "127.0.0.1", port)) for port in ports
        ]
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].connect(path)
        for client in clients:
            self.addCleanup(client.close)
        await until(reactor, lambda: [b.active for b in next(iter(balancer._served.pools)).backends] == [4])
        assert [session.can_return() for session in registry.sessions] == [True] * 4

    async def test_none_is_closed_while_its_frontend_accepts_no_clients(self) -> None:
        one, two = self.echo_server(), self.echo_server()
        balancer = await self.running(self.config(one, frontends=("web", "paused")))
        moving, staying = self.clients(balancer, "web", 3), self.clients(balancer, "paused", 5)
        (pool,) = balancer._served.pools
        await until(reactor, lambda: pool.backends[0].active == 8)
        pause = balancer.factories["paused"].registry.accept_pause
        pause.pause("overload")
        balancer.apply(self.config(one, two, rebalance=QUICK, frontends=("web", "paused")))

        def has_moved(*active: int) -> bool:
            moving.hear_all()
            staying.hear_all()
            return [backend.active for backend in pool.backends] == [*active]

        await until(reactor, lambda: has_moved(5, 3))
        assert (moving.closed, staying.closed) == (3, 0)
        pause.resume("overload")
        await until(reactor, lambda: has_moved(4, 4))
        assert (moving.closed, staying.closed) == (3, 1)


class NativeRebalancingTests(RebalancingTests):
    """On the native one."""

    data_path_name: DataPathName = "auto"


class Speaker:
    """A client of TLS that says how its records come to the socket.

    :param context: verifies the server.
    :param sock: connected.
    """

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=NAME)

    def shake_hands(self) -> None:
        self._until_done(self._tls.do_handshake)

    def encrypt(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._until_done(lambda: self._tls.read(size))
        return data

    def exchange(self, data: bytes) -> bytes:
        self._sock.sendall(self.encrypt(data))
        return self.receive(len(data))

    def _until_done(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._out.read())
                self._in.write(self._sock.recv(1 << 16))
            finally:
                self._sock.sendall(self._out.read())


class TlsRebalancingTests(TlsCase):
    """TLS on both sides, on the portable data path."""

    async def test_a_session_ends_by_close_notify(self) -> None:
        clock, heard = Clock(), []
        issued = self.issue()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(issued.certificate, issued.key)
        tls = PrereadSettings(tls=ServerTls(frontend_tls(issued)))

        def serve(sock: socket.socket) -> None:
            with server_context.wrap_socket(sock, server_side=True) as server:
                server.sendall(read(server, 8))
                heard.append(server.recv(1))

        with peers.peer(serve) as backend:
            port = self.serve(backend.address, preread=tls, tls=self.believing())
            self.frontend.context = evolve(
                self.frontend.context, clock=clock.seconds, wheel=Wheel(clock, clock.seconds)
            )
            sock = connect(port)
            self.addCleanup(sock.close)
            client = await deferToThread(self.client_context().wrap_socket, sock, server_hostname=NAME)
            self.addCleanup(client.close)
            client.sendall(b"question")
            assert await deferToThread(read, client, 8) == b"question"
            (session,) = self.frontend.registry.sessions
            await until(reactor, lambda: not session.buffered)
            assert not session.can_move(5.0)
            clock.pump([1.0] * 8)
            assert session.can_move(5.0)
            session.end(EndReason.REBALANCED)
            assert await deferToThread(client.recv, 1) == b""
            client.unwrap()
            client.close()
            assert (await self.ended()).reason is EndReason.REBALANCED
            await until(reactor, lambda: heard == [b""])


class NativeTlsRebalancingTests(TlsRebalancingTests):
    """On the native one."""

    data_path_name: DataPathName = "auto"

    async def test_while_a_record_comes_in_it_is_busy(self) -> None:
        clock = Clock()
        tls = PrereadSettings(tls=ServerTls(frontend_tls(self.issue())))

        def serve(sock: socket.socket) -> None:
            while data := sock.recv(1 << 16):
                sock.sendall(data)

        with peers.peer(serve) as backend:
            port = self.serve(backend.address, preread=tls)
            # One that begins bare has the dials' wheel, which is not of this clock.
            self.frontend.context = evolve(
                self.frontend.context, clock=clock.seconds, wheel=Wheel(clock, clock.seconds), native=None
            )
            client = connect(port)
            self.addCleanup(client.close)
            speaker = Speaker(self.client_context(), client)
            await deferToThread(speaker.shake_hands)
            assert await deferToThread(speaker.exchange, b"question") == b"question"
            session: Any
            (session,) = self.frontend.registry.sessions
            await until(reactor, lambda: not session.buffered)
            clock.pump([1.0] * 8)
            assert session.can_move(5.0)
            record = speaker.encrypt(bytes(10_000))
            for piece in (record[:3], record[3:5], record[5:9000]):
                client.sendall(piece)
                await until(reactor, lambda: unread(session.client.transport.socket) == 0)
                clock.pump([1.0] * 8)
                assert not session.can_move(5.0)
            client.sendall(record[9000:])
            assert await deferToThread(speaker.receive, 10_000) == bytes(10_000)
            await until(reactor, lambda: not session.buffered)
            clock.pump([1.0] * 8)
            assert session.can_move(5.0)
            client.close()
            await self.ended()
