"""What requests of several workers have in common: a maximum, and backends that fail by their statuses."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from support.sockets import until
from support.supervised import SupervisedCase
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Server(Protocol):
    """Answers each request with the factory's status; with None, not before that is another."""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.requests += 1
        self.answer()

    def answer(self) -> None:
        if self.factory.status is not None:
            self.transport.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % self.factory.status)


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class HttpOfWorkersTests(SupervisedCase):
    """Two workers."""

    def http_server(self, status: int | None) -> tuple[Any, str]:
        factory: Any = Factory.forProtocol(Server)
        factory.status, factory.requests, factory.connections = status, 0, []
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return factory, f"127.0.0.1:{port.getHost().port}"

    async def asked(self, supervisor: Supervisor, source: str) -> str:
        """Give the status that a client of one request gets."""
        client = self.connected(supervisor, source, first=GET)
        status = await self.status_of(client)
        client.close()
        return status

    def first_backend(self, supervisor: Supervisor) -> Backend:
        (pool,) = supervisor.pools.pools
        return pool.backends[0]

    async def test_both_workers_have_one_maximum_of_requests(self) -> None:
        server, address = self.http_server(None)
        pool = PoolConfig(backends=(BackendConfig(address=address),))
        frontend = {"mode": "http", "limits": LimitsConfig(max_requests=2)}
        supervisor = await self.supervised(self.config({"web": frontend}, web=pool))
        sources = self.sources()
        clients = [self.connected(supervisor, source, first=GET) for source in sources]
        await until(reactor, lambda: server.requests == 2)
        assert [await self.asked(supervisor, source) for source in sources] == ["503", "503"]
        server.status = 200
        for connection in server.connections:
            connection.answer()
        assert [await self.status_of(client) for client in clients] == ["200", "200"]
        assert [await self.asked(supervisor, source) for source in sources] == ["200", "200"]

    async def test_statuses_of_the_responses_to_both_make_one_row(self) -> None:
        _, failing = self.http_server(503)
        _, serving = self.http_server(200)
        backends = (
            BackendConfig(address=failing, name="failing"),
            BackendConfig(address=serving, name="serving", backup=True),
        )
        pool = PoolConfig(backends=backends, outlier=OutlierConfig(consecutive_failures=2))
        supervisor = await self.supervised(self.config({"web": {"mode": "http"}}, web=pool))
        one, other = self.sources()
        assert await self.asked(supervisor, one) == "503"
        await until(reactor, lambda: self.first_backend(supervisor).host_stats.failures)
        assert not self.first_backend(supervisor).ejected
        assert await self.asked(supervisor, other) == "503"
        await until(reactor, lambda: self.first_backend(supervisor).ejected)
        assert "the last: status 503" in " ".join(self.lines)
