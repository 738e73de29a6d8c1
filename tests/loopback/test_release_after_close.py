"""The socket to a backend is closed before its slot is given back: another process may open one at once."""

from __future__ import annotations

import socket
from typing import Any

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from support.apply_case import ApplyCase
from support.clients import reset
from support.descriptors import sockets_to
from support.sockets import until
from tcpbalance import Balancer
from tcpbalance.config.pools import BackendConfig, PoolConfig

reactor: Any = global_reactor


class Obeying(Protocol):
    """A server that answers, closes or resets as it is asked."""

    def dataReceived(self, data: bytes) -> None:
        if data == b"close":
            self.transport.loseConnection()
        elif data == b"reset":
            self.transport.abortConnection()
        else:
            self.transport.write(data)


class Watched:
    """The count of one backend's connections, which looks at its sockets each time that one is given back."""

    full = False

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.total = 0
        self.released = 0
        self.too_early = 0

    def add(self) -> bool:
        self.total += 1
        return True

    def remove(self) -> None:
        self.total -= 1
        self.released += 1
        self.too_early += sockets_to(self.host, self.port) > self.total


class Load:
    """Gives that count to the one pool."""

    first_turn = 0.0
    serving = False
    processes = 1

    def __init__(self, address: str) -> None:
        self.watched = Watched(address)

    def pool(self, name: str) -> Load:
        return self

    def frontend(self, name: str) -> None:
        return None

    def load_of(self, name: str, address: str, active: int) -> Watched:
        return self.watched

    def follow(self, on_change: object) -> None:
        pass


class ReleaseTests(ApplyCase):
    """On the portable data path."""

    async def one_that(self, *ends: str, **keys: Any) -> Watched:
        """Have sessions end, and give what was counted."""
        server = reactor.listenTCP(0, Factory.forProtocol(Obeying), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        address = f"127.0.0.1:{server.getHost().port}"
        pool = PoolConfig(backends=(BackendConfig(address=address, name="a", max_connections=9),))
        config = attrs.evolve(self.config({"web": keys}, web=pool), shutdown_grace=0.05)
        load: Any = Load(address)
        balancer = Balancer.from_config(reactor, config, load=load)
        self.addCleanup(balancer.stopService)
        await self.started(balancer)
        clients = [self.client(balancer) for _ in ends]
        for end, client in zip(ends, clients, strict=True):
            client.send(b"?")
            await until(reactor, lambda client=client: _came(client))  # type: ignore[misc]
            if end in {"close", "reset"}:
                client.recv(1)
                client.send(end.encode())
                await until(reactor, lambda client=client: _came(client))  # type: ignore[misc]
                client.close()
            elif end == "leave":
                client.close()
            elif end == "break":
                reset(client)
        if "stop" in ends:
            balancer.stopService()
        await until(reactor, lambda: load.watched.released == len(ends))
        watched: Watched = load.watched
        return watched

    async def test_whatever_ends_it(self) -> None:
        for end in ("close", "reset", "leave", "break", "stop"):
            assert (await self.one_that(end, end)).too_early == 0, end

    async def test_after_silence(self) -> None:
        assert (await self.one_that("wait", idle_timeout=0.2)).too_early == 0


def _came(client: socket.socket) -> bool:
    """Whether something has come: a byte, or the end."""
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


class NativeReleaseTests(ReleaseTests):
    """On the native data path."""

    data_path_name = "auto"
