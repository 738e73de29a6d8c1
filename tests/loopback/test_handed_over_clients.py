"""Several workers behind proxies: all connections of a client that PROXY headers name meet in one worker,
none is lost on the way, and none is served twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import DeferredList
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from support.certificates import Authority
from support.handed_over_case import (
    PROXY,
    WORKERS,
    HandedOverCase,
    ask_over_tls,
    client_of,
    header_of,
)
from support.sockets import heard, is_open, refuses, some_turns, until
from support.tls_lines import frontend_tls
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.log import AccessLogConfig
from tcpbalance.config.paths import LogPath
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.net.ends import unacknowledged
from tcpbalance.wire.proxy_protocol import encode_v2_local
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

LIMIT = 10
CLIENTS = [(version, base) for version in (1, 2) for base in ("203.0.113.{}", "2001:db8:{}::8")]


class Noting(Protocol):
    """Notes what it is asked, and answers."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.noted[data] += 1
        self.transport.write(b"a")


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class HandedOverClientsTests(HandedOverCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    async def limited(self, **keys: Any) -> Supervisor:
        limits = LimitsConfig(connections_per_client=LIMIT)
        return await self.supervised(self.behind_proxies(limits=limits, **keys))

    async def test_a_limit_on_each_client_is_exact(self) -> None:
        supervisor = await self.limited()
        for version, base in CLIENTS:
            for number in range(3):
                name = base.format(version * 16 + number)
                first = [header_of(name, port, version) + b"?" for port in range(2 * LIMIT)]
                clients = [self.proxied(supervisor, it) for it in first]
                assert await self.answers(clients) == {"a": LIMIT, "reset": LIMIT}, name

    async def test_what_comes_in_a_later_segment_goes_to_the_same_worker(self) -> None:
        supervisor = await self.limited()
        for version, base in CLIENTS:
            header = header_of(base.format(version), version=version)
            half = len(header) // 2
            clients = [self.proxied(supervisor, header[:half]) for _ in range(2 * LIMIT)]
            await some_turns(reactor)
            for client in clients:
                client.sendall(header[half:])
            await some_turns(reactor)
            # Some are refused already: what is sent hears of the reset then, and what is read of an end.
            silent = [client for client in clients if not is_reset_by(client, b"?")]
            answers = await self.answers(silent)
            answers["reset"] += len(clients) - len(silent)
            assert answers == {"a": LIMIT, "reset": LIMIT}, (version, base)

    async def test_a_client_that_comes_without_a_proxy_has_its_worker_too(self) -> None:
        supervisor = await self.limited()
        for last in range(2, 5):
            clients, words = [], Counter[str]()
            for _ in range(2 * LIMIT):
                try:
                    clients.append(self.connected(supervisor, f"127.0.0.{last}", first=b"?"))
                except (ConnectionResetError, BrokenPipeError):
                    words["reset"] += 1  # It was refused before it had sent anything.
            assert words + await self.answers(clients) == {"a": LIMIT, "reset": LIMIT}

    async def test_each_worker_serves_the_clients_that_belong_to_it(self) -> None:
        supervisor = await self.supervised(self.behind_proxies())
        clients = [
            [self.proxied(supervisor, header_of(client_of(place)) + b"?") for _ in range(8)]
            for place in range(WORKERS)
        ]
        for of_place in clients:
            assert await self.answers(of_place) == {"a": 8}
        await self.kill(supervisor, 2)
        assert await self.answers(clients[2]) == {"end": 8}
        assert all(map(is_open, clients[0] + clients[1] + clients[3]))

    async def test_a_proxy_that_speaks_for_itself_is_served_where_it_comes(self) -> None:
        supervisor = await self.supervised(self.behind_proxies())
        for header in (encode_v2_local(), b"PROXY UNKNOWN\r\n"):
            clients = [self.proxied(supervisor, header + b"?") for _ in range(20)]
            assert await self.answers(clients) == {"a": 20}

    async def test_what_waits_for_a_worker_that_is_killed_is_served_by_the_next_one(self) -> None:
        supervisor = await self.supervised(self.behind_proxies())
        for _ in range(3):
            first = await self.stop(supervisor, 1)
            # Most of them come to the other workers, which hand them over.
            clients = [self.proxied(supervisor, header_of(client_of(1)) + b"?") for _ in range(40)]
            await until(reactor, lambda: unacknowledged(supervisor._inboxes._sending[1]))
            os.kill(first, signal.SIGKILL)
            assert await self.answers(clients) == {"a": 40}
            assert await self.pid(supervisor, 1) != first

    async def test_while_workers_are_killed_each_is_served_once_or_hears_of_its_end(self) -> None:
        factory: Any = Factory.forProtocol(Noting)
        factory.noted = Counter[bytes]()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        backend = BackendConfig(address=f"127.0.0.1:{port.getHost().port}")
        config = evolve(self.behind_proxies(), pools={"web": PoolConfig(backends=(backend,))})
        supervisor = await self.supervised(config)
        rng = Random(1)
        for turn in range(6):
            clients = []
            for number in range(60):
                header = header_of(client_of(rng.randrange(WORKERS)))
                clients.append(self.proxied(supervisor, header + b"%d %d\n" % (turn, number)))
                if number == 30:
                    await self.kill(supervisor, turn % WORKERS)
            words = await self.answers(clients)
            assert words["a"] >= 20
            assert words.total() == 60
        assert set(factory.noted.values()) == {1}

    async def test_more_than_an_inbox_holds_wait_for_a_worker_that_is_stopped(self) -> None:
        supervisor = await self.supervised(self.behind_proxies(backlog=1000))
        stopped = await self.stop(supervisor, 3)
        clients = [self.proxied(supervisor, header_of(client_of(3)) + b"?") for _ in range(500)]
        inbox = supervisor._inboxes._sending[3]
        full = inbox.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        await until(reactor, lambda: unacknowledged(inbox) >= full)
        os.kill(stopped, signal.SIGCONT)
        assert await self.answers(clients) == {"a": 500}

    async def test_a_client_that_a_replaced_worker_comes_to_know_goes_to_the_next_one(self) -> None:
        supervisor = await self.limited()
        header = header_of(client_of(1))
        first = [self.proxied(supervisor, header[:9]) for _ in range(2 * LIMIT)]
        await some_turns(reactor)
        supervisor.restart_workers()
        await until(reactor, lambda: not supervisor._restart.is_running, 40)
        for client in first:
            with contextlib.suppress(ConnectionError):
                client.send(header[9:] + b"?")
        assert await self.answers(first) == {"a": LIMIT, "reset": LIMIT}
        served = [client for client in first if is_open(client)]
        assert len(served) == LIMIT
        await self.kill(supervisor, 1)
        assert await self.answers(served) == {"end": LIMIT}

    async def test_a_reload_changes_nothing_for_those_whose_header_is_on_its_way(self) -> None:
        for replaced in (False, True):
            supervisor = await self.supervised(self.behind_proxies())
            headers = [header_of(client_of(place)) for place in range(WORKERS)] * 5
            clients = [self.proxied(supervisor, header[:9]) for header in headers]
            await until(reactor, lambda: not self.is_anything_unaccepted(supervisor))  # noqa: B023
            if replaced:
                supervisor.restart_workers()
                await until(reactor, lambda: not supervisor._restart.is_running, 40)  # noqa: B023
            await supervisor.apply(supervisor.prepare_config(self.config()))
            # The workers that drain have been asked before this.
            await some_turns(reactor)
            for client, header in zip(clients, headers, strict=True):
                client.send(header[9:] + b"?")
            assert await self.answers(clients) == {"a": len(clients)}
            for client in clients:
                client.close()
            await supervisor.stopService()

    async def test_a_client_that_becomes_known_while_all_end_is_served_where_it_is(self) -> None:
        supervisor = await self.supervised(self.behind_proxies())
        headers = [header_of(client_of(place)) for place in range(WORKERS)] * 5
        clients = [self.proxied(supervisor, header[:9]) for header in headers]
        address = self.address_of(supervisor)
        await until(reactor, lambda: not self.is_anything_unaccepted(supervisor))
        ended: list[object] = []
        supervisor.stopService().addCallback(ended.append)
        await until(reactor, lambda: refuses(address))
        for client, header in zip(clients, headers, strict=True):
            client.send(header[9:] + b"?")
        assert await self.answers(clients) == {"a": len(clients)}
        for client in clients:
            client.close()
        await until(reactor, lambda: ended)

    async def test_a_limit_on_all_connections_is_exact_and_those_beyond_it_wait(self) -> None:
        limits = LimitsConfig(connections=LIMIT)
        supervisor = await self.supervised(self.behind_proxies(limits=limits))
        headers = [header_of(client_of(place)) for place in range(WORKERS)] * LIMIT
        waiting = [self.proxied(supervisor, header + b"?") for header in headers]
        served: list[socket.socket] = []

        def hears() -> list[socket.socket]:
            found = [client for client in waiting if heard(client) == "a"]
            served.extend(found)
            return found

        while waiting:
            await until(reactor, hears, 20)
            await some_turns(reactor)
            hears()
            assert len(served) <= LIMIT
            for client in served:
                waiting.remove(client)
                client.close()
            served.clear()

    async def test_tls_behind_the_header(self) -> None:
        authority = Authority.root()
        tls = frontend_tls(authority.issue(self.folder, "web", "web.example"))
        root = authority.write(self.folder / "root.pem")
        supervisor = await self.limited(tls=tls)
        address = self.address_of(supervisor)
        for version, base in CLIENTS:
            header = header_of(base.format(7), version=version)
            kept: list[socket.socket] = []
            asked = [deferToThread(ask_over_tls, address, header, root, kept) for _ in range(2 * LIMIT)]
            found = [answer for success, answer in await DeferredList(asked) if success]
            for client in kept:
                client.close()
            assert sorted(found) == [b""] * LIMIT + [b"a"] * LIMIT, (version, base)

    async def test_each_connection_has_one_line_in_the_access_log(self) -> None:
        log = self.folder / "access.log"
        config = evolve(self.behind_proxies(), access_log=AccessLogConfig(path=LogPath(log)))
        supervisor = await self.supervised(config)
        names = [f"198.51.100.{last}" for last in range(40)]
        clients = [self.proxied(supervisor, header_of(name) + b"?") for name in names]
        assert await self.answers(clients) == {"a": 40}
        for client in clients:
            client.close()
        await until(reactor, lambda: len(log.read_text().splitlines()) >= 40)
        await supervisor.stopService()
        lines = log.read_text().splitlines()
        assert len(lines) == 40
        for name in names:
            (line,) = (line for line in lines if f"client={name}:40000 " in line)
            assert f"proxy={PROXY}:" in line
            assert "reason=client_closed" in line

    async def test_the_kernel_spreads_what_proxies_send_and_brings_others_to_their_worker(self) -> None:
        supervisor = await self.supervised(self.config())
        its_own = owner(socket.inet_aton(PROXY), WORKERS)
        for is_behind in (False, True, False):
            if is_behind != bool(supervisor.config.frontends["web"].accept_proxy_protocol):
                config = self.behind_proxies() if is_behind else self.config()
                await supervisor.apply(supervisor.prepare_config(config))
            first = (encode_v2_local() if is_behind else b"") + b"?"
            clients = [self.proxied(supervisor, first) for _ in range(60)]
            assert await self.answers(clients) == {"a": 60}
            await self.kill(supervisor, its_own)
            ended = sum(not is_open(client) for client in clients)
            assert 0 < ended < 60 if is_behind else ended == 60


def is_reset_by(client: socket.socket, data: bytes) -> bool:
    """Send something; give whether the connection was reset."""
    try:
        client.send(data)
    except ConnectionError:
        return True
    return False
