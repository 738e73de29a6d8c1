"""A backend closes a connection that was kept, while a request is on its way to it: none is answered 502, and
none that is not idempotent is sent twice."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from support.apply_case import ApplyCase
from support.sockets import port_of
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.net import adapted_transport, socket_transport, twisted_transport
from tcpbalance.net.ends import has_news, took_nothing

reactor: Any = global_reactor

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
PATCH = b"PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


class Server(Protocol):
    """Answers each request, or closes in the place of it, as often as the factory says."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.requests.append(data.partition(b" ")[0].decode())
        if self.factory.closes_unanswered:
            self.factory.closes_unanswered -= 1
            self.transport.loseConnection()
        else:
            self.transport.write(ANSWER)


@contextlib.contextmanager
def unseen(seen: Callable[[socket.SocketType], bool] = lambda _: False) -> Iterator[None]:
    """Have no end be seen before a request is sent: it arrives a moment later."""
    modules = (socket_transport, twisted_transport, adapted_transport)
    before = [module.has_news for module in modules]
    for module in modules:
        module.has_news = seen  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, its in zip(modules, before, strict=True):
            module.has_news = its  # type: ignore[attr-defined]


class KeepaliveRaceTests(ApplyCase):
    """On the native data path."""

    data_path_name: Any = "auto"

    def setUp(self) -> None:
        super().setUp()
        backend: Any = Factory.forProtocol(Server)
        backend.connections, backend.requests, backend.closes_unanswered = [], [], 0
        self.backend = backend
        port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.address = f"127.0.0.1:{port.getHost().port}"

    async def connected(self) -> socket.socket:
        """Give a client whose first request is answered, and whose backend's connection is kept."""
        pool = PoolConfig(backends=(BackendConfig(address=self.address),))
        balancer = await self.running(self.config({"web": {"mode": "http"}}, web=pool))
        client = socket.create_connection(("127.0.0.1", port_of(balancer.listens_on("web")[0])))
        self.addCleanup(client.close)
        client.setblocking(False)
        client.send(GET)
        assert await self.status_of(client) == "200"
        return client

    def close_unseen(self, client: socket.socket, request: bytes) -> None:
        """Have the end and the request come in one turn, the end first at the kernel."""
        (connection,) = self.backend.connections
        client.send(request)
        # At once, in the middle of a turn of the reactor that both share.
        connection.transport.socket.shutdown(socket.SHUT_RDWR)

    async def test_an_end_that_the_reactor_has_not_reported_is_seen(self) -> None:
        for request, method in ((POST, "POST"), (PATCH, "PATCH"), (GET, "GET")):
            self.backend.connections.clear()
            self.backend.requests.clear()
            client = await self.connected()
            self.close_unseen(client, request)
            assert await self.status_of(client) == "200"
            assert self.backend.requests == ["GET", method]
            assert len(self.backend.connections) == 2

    async def test_a_request_that_has_crossed_the_end_is_sent_once_more(self) -> None:
        for request, method in ((POST, "POST"), (PATCH, "PATCH"), (GET, "GET")):
            self.backend.connections.clear()
            self.backend.requests.clear()
            client = await self.connected()
            with unseen():
                self.close_unseen(client, request)
                assert await self.status_of(client) == "200"
            assert self.backend.requests == ["GET", method]
            assert len(self.backend.connections) == 2

    async def test_one_that_the_backend_has_got_is_not(self) -> None:
        client = await self.connected()
        self.backend.closes_unanswered = 1
        client.send(POST)
        assert await self.status_of(client) == "502"
        assert self.backend.requests == ["GET", "POST"]

    async def test_an_idempotent_one_is(self) -> None:
        client = await self.connected()
        self.backend.closes_unanswered = 1
        client.send(GET)
        assert await self.status_of(client) == "200"
        assert self.backend.requests == ["GET"] * 3


class PortableKeepaliveRaceTests(KeepaliveRaceTests):
    """The same by Twisted's own transports."""

    data_path_name = "portable"


def test_the_kernel_knows_what_has_come_and_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        assert not has_news(ours)
        theirs.send(b"x")
        assert has_news(ours)
        assert ours.recv(1) == b"x"
        assert not has_news(ours)
        theirs.close()
        assert has_news(ours)
        ours.send(b"request")
        assert has_news(ours)
        assert took_nothing(ours, 7)
        assert not took_nothing(ours, 8)
        assert ours.recv(1) == b""
        assert took_nothing(ours, 7)


def test_what_was_read_is_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours:
        ours.send(b"request")
        assert theirs.recv(7) == b"request"
        theirs.close()
        assert ours.recv(1) == b""
        assert not took_nothing(ours, 7)
        assert not took_nothing(ours, 1)


def test_at_a_unix_socket_it_is_not_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"request")
        assert not took_nothing(ours, 1)
        assert not has_news(ours)
        theirs.close()
        assert has_news(ours)
