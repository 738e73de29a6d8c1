"""A balancer that runs on sockets of the system and comes to other configurations."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from support.data_paths import DataPathCase
from support.sockets import heard, port_of, until
from tcpbalance import Balancer, Config
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig

reactor: Any = global_reactor


class Named(Protocol):
    """Answers each message with the server's name."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.name)


class ApplyCase(DataPathCase):
    """A balancer before servers that say which of them has answered."""

    timeout = 30

    def server(self, name: str) -> str:
        factory: Any = Factory.forProtocol(Named)
        factory.name = name.encode()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    def setUp(self) -> None:
        super().setUp()
        self.servers = {name: self.server(name) for name in "abc"}

    def pool(self, names: str, **settings: Any) -> PoolConfig:
        backends = [BackendConfig(address=self.servers[name], name=name) for name in names]
        return PoolConfig(backends=tuple(backends), **settings)

    def config(self, frontends: dict[str, Any] | None = None, /, **pools: PoolConfig) -> Config:
        """Make a configuration whose frontends have the settings given, and a pool or address by default."""
        made = {
            name: FrontendConfig(**{"listen": "127.0.0.1:0", "pool": "web", **keys})
            for name, keys in (frontends or {"web": {}}).items()
        }
        return Config(
            data_path=self.data_path_name,
            shutdown_grace=5.0,
            frontends=made,
            pools=pools or {"web": self.pool("a")},
        )

    async def running(self, config: Config) -> Balancer:
        balancer = Balancer.from_config(reactor, config)
        self.addCleanup(balancer.stopService)
        return await self.started(balancer)

    def client(self, balancer: Balancer, name: str = "web", place: int = 0) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port_of(balancer.listens_on(name)[place])))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def visited(self, balancer: Balancer, name: str = "web") -> str:
        """Be a client that asks once and leaves, so that an end has not to wait for it; see ``answer``."""
        client = self.client(balancer, name)
        heard = await self.answer(client)
        client.close()
        return heard

    async def answer(self, client: socket.socket) -> str:
        """Say something, and give the name of the server that answers; nothing where the client is closed."""
        with contextlib.suppress(ConnectionResetError):
            client.send(b"?")
        words: list[str] = []

        def hear() -> str:
            words.append(heard(client))
            return words[-1]

        await until(reactor, hear)
        return "" if words[-1] in {"end", "reset"} else words[-1]

    async def status_of(self, client: socket.socket) -> str:
        """Give the status of the HTTP response that a client gets."""
        received = bytearray()

        def has_head() -> bool:
            with contextlib.suppress(BlockingIOError):
                received.extend(client.recv(65536))
            return b"\r\n\r\n" in received

        await until(reactor, has_head)
        return received[9:12].decode()
