"""A frontend whose clients may belong to another process: what it hands over, and what is handed to it."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from support.apply_case import ApplyCase
from support.certificates import Authority
from support.handed_over_case import PROXY, ask_over_tls, header_of
from support.hellos import hello, server_name
from support.sockets import heard, is_open, some_turns, until
from support.tls_lines import frontend_tls
from tcpbalance import Balancer, SessionRecord
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.frontends import RouteConfig
from tcpbalance.config.names import NamePattern
from tcpbalance.net.ends import reset_on_close
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.wire.proxy_protocol import UnixAddress, encode_v2, encode_v2_local

reactor: Any = global_reactor

HERE, ELSEWHERE = "203.0.113.1", "203.0.113.2"
ELSEWHERE6 = "2001:db8::2"
DIRECT = "127.0.0.9"
PEER = IPv4Address("TCP", PROXY, 40000)


class Elsewhere:
    """Keeps what is handed over."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, HandedOver]] = []
        self.places = {
            socket.inet_aton(ELSEWHERE),
            socket.inet_aton(DIRECT),
            socket.inet_pton(socket.AF_INET6, ELSEWHERE6),
        }

    def belongs_elsewhere(self, client: bytes) -> bool:
        return client in self.places

    def hand_over(self, client: bytes, connection: HandedOver) -> None:
        self.taken.append((client, connection))


class HandingOverTests(ApplyCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.elsewhere = Elsewhere()
        self.addCleanup(self._close_all)
        self.records: list[SessionRecord] = []

    def _close_all(self) -> None:
        for _, connection in self.elsewhere.taken:
            connection.sock.close()

    async def behind_proxies(self, **keys: Any) -> Balancer:
        config = self.config({"web": {"accept_proxy_protocol": [PROXY], **keys}})
        balancer = Balancer.from_config(reactor, config, hand_over=self.elsewhere)
        self.addCleanup(balancer.stopService)
        await self.started(balancer)
        balancer.factories["web"].registry.on_record = self.records.append
        return balancer

    def connected(self, balancer: Balancer, *segments: bytes, source: str = PROXY) -> socket.socket:
        (address,) = balancer.listens_on("web")
        where: Any = address
        client = socket.create_connection((where.host, where.port), source_address=(source, 0))
        self.addCleanup(client.close)
        client.setblocking(False)
        for segment in segments:
            client.send(segment)
        return client

    async def taken(self) -> HandedOver:
        """What has been handed over, once there is something."""
        await until(reactor, lambda: self.elsewhere.taken)
        ((_, connection),) = self.elsewhere.taken
        return connection

    async def end_of(self, client: socket.socket) -> str:
        """What a client hears next."""
        word = ""

        def hears() -> str:
            nonlocal word
            word = heard(client)
            return word

        await until(reactor, hears)
        return word

    def nothing_is_left(self, balancer: Balancer) -> None:
        factory = balancer.factories["web"]
        assert not factory.registry.sessions
        assert factory.stats.snapshot()["connections_total"] == 0
        assert self.records == []

    async def test_a_connection_goes_with_all_that_was_read_from_it(self) -> None:
        for name in (ELSEWHERE, ELSEWHERE6):
            for version in (1, 2):
                balancer = await self.behind_proxies()
                header = header_of(name, version=version)
                began = time.monotonic()
                client = self.connected(balancer, header + b"behind")
                connection = await self.taken()
                await some_turns(reactor)
                client.send(b" it")
                await some_turns(reactor)
                self.nothing_is_left(balancer)
                assert is_open(client)
                assert connection.received + connection.sock.recv(99) == header + b"behind it"
                assert (connection.frontend, str(connection.peer.host)) == ("web", PROXY)
                assert began <= connection.born <= time.monotonic()
                # Whoever closes it last resets it, until a session has it.
                connection.sock.close()
                assert await self.end_of(client) == "reset"
                self.elsewhere.taken.clear()

    async def test_a_header_that_comes_byte_by_byte(self) -> None:
        balancer = await self.behind_proxies()
        header = header_of(ELSEWHERE)
        client = self.connected(balancer)
        for number in range(len(header)):
            client.send(header[number : number + 1])
            await some_turns(reactor, 3)
        client.send(b"?")
        connection = await self.taken()
        await some_turns(reactor)
        rest = b""
        while connection.received + rest != header + b"?":
            rest += connection.sock.recv(99)
        self.nothing_is_left(balancer)

    async def test_a_client_without_a_proxy_is_handed_over_before_it_says_anything(self) -> None:
        balancer = await self.behind_proxies()
        self.connected(balancer, source=DIRECT)
        connection = await self.taken()
        assert connection.received == b""
        self.nothing_is_left(balancer)

    async def test_others_stay(self) -> None:
        balancer = await self.behind_proxies()
        unix = encode_v2(UnixAddress(b"/client"), UnixAddress(b"/service"))
        for first in (header_of(HERE), encode_v2_local(), b"PROXY UNKNOWN\r\n", unix):
            client = self.connected(balancer, first)
            assert await self.answer(client) == "a"
        assert await self.answer(self.connected(balancer, source="127.0.0.8")) == "a"
        assert self.elsewhere.taken == []

    async def test_a_frontend_without_proxies_hands_nothing_over(self) -> None:
        balancer = await self.behind_proxies(accept_proxy_protocol=[])
        assert await self.answer(self.connected(balancer, source=DIRECT)) == "a"

    async def handed_over(self, balancer: Balancer, *segments: bytes) -> socket.socket:
        """A client that was handed over, and comes back here."""
        client = self.connected(balancer, *segments)
        connection = await self.taken()
        self.elsewhere.taken.clear()
        balancer.serve_handed_over(connection)
        return client

    async def test_what_another_process_hands_over_is_served_here(self) -> None:
        balancer = await self.behind_proxies()
        client = self.connected(balancer, header_of(ELSEWHERE) + b"?")
        connection = await self.taken()
        await some_turns(reactor)
        balancer.serve_handed_over(evolve(connection, born=connection.born - 100))
        self.elsewhere.taken.clear()
        assert await self.answer(client) == "a"
        client.shutdown(socket.SHUT_WR)
        await until(reactor, lambda: self.records)
        (record,) = self.records
        assert (record.client, record.client_bytes > 0) == (f"{ELSEWHERE}:40000", True)
        assert str(record.proxy).startswith(f"{PROXY}:")
        # It began when it was accepted.
        assert record.total > 100
        assert record.started < time.time() - 99
        assert self.elsewhere.taken == []
        # An end in order is one.
        assert await self.end_of(client) == "end"

    async def test_one_without_a_header_is_served_here(self) -> None:
        balancer = await self.behind_proxies()
        client = self.connected(balancer, source=DIRECT)
        connection = await self.taken()
        balancer.serve_handed_over(connection)
        assert await self.answer(client) == "a"

    async def test_the_time_for_the_preread_began_with_the_accept(self) -> None:
        tls = frontend_tls(Authority.root().issue(self.folder, "web", "web.example"))
        balancer = await self.behind_proxies(tls=tls, preread_timeout=60.0)
        self.connected(balancer, header_of(ELSEWHERE))
        connection = await self.taken()
        balancer.serve_handed_over(evolve(connection, born=connection.born - 60))
        await until(reactor, lambda: self.records)
        assert self.records[0].reason.word == "preread_timeout"

    async def test_tls_behind_the_header_begins_here_or_elsewhere(self) -> None:
        authority = Authority.root()
        root = authority.write(self.folder / "root.pem")
        tls = frontend_tls(authority.issue(self.folder, "web", "web.example"))
        balancer = await self.behind_proxies(tls=tls)
        (address,) = balancer.listens_on("web")
        where: Any = address
        kept: list[socket.socket] = []
        self.addCleanup(lambda: [*map(socket.socket.close, kept)])

        def ask(name: str) -> bytes:
            return ask_over_tls((where.host, where.port), header_of(name), root, kept)

        assert await deferToThread(ask, HERE) == b"a"
        asked = deferToThread(ask, ELSEWHERE)
        connection = await self.taken()
        balancer.serve_handed_over(connection)
        assert await asked == b"a"
        for client in kept:
            client.close()
        await until(reactor, lambda: len(self.records) == 2)
        assert all(record.tls is not None for record in self.records)

    async def test_a_name_behind_the_header_is_found(self) -> None:
        route = RouteConfig(names=(NamePattern("web.example"),), pool="web")
        balancer = await self.behind_proxies(sni_routes=[route], pool=None)
        asks = hello(server_name("web.example"))
        client = await self.handed_over(balancer, header_of(ELSEWHERE) + asks)
        assert await self.answer(client) == "a"
        client = self.connected(balancer, header_of(ELSEWHERE), asks[:50])
        connection = await self.taken()
        balancer.serve_handed_over(connection)
        client.send(asks[50:])
        assert await self.answer(client) == "a"

    async def test_it_is_admitted_by_the_address_in_the_header(self) -> None:
        balancer = await self.behind_proxies(access=AccessConfig(deny=[f"{ELSEWHERE}/32"]))
        client = await self.handed_over(balancer, header_of(ELSEWHERE))
        assert await self.answer(client) == ""
        await until(reactor, lambda: self.records)
        assert self.records[0].reason.word == "refused"

    async def test_it_waits_while_the_frontend_accepts_no_clients(self) -> None:
        balancer = await self.behind_proxies(limits=LimitsConfig(connections=1), backlog=2)
        first = await self.handed_over(balancer, header_of(ELSEWHERE))
        assert await self.answer(first) == "a"
        # What is accepted here would wait in the kernel: these come from elsewhere.
        with capturedLogs() as events:
            waiting = [self.from_elsewhere(balancer) for _ in range(3)]
            await some_turns(reactor)
        assert [is_open(client) for client in waiting] == [True, True, False]
        assert balancer.factories["web"].stats.connections_shed == 1
        (line,) = (formatEvent(event) for event in events)
        assert line.startswith("frontend web: 1 connections reset that another worker has handed over")
        first.close()
        assert await self.answer(waiting[0]) == "a"
        assert is_open(waiting[1])
        # The others end with the frontend.
        await self.stopped(balancer, waiting[0])
        assert await self.answer(waiting[1]) == ""

    async def test_one_that_cannot_be_handed_over_is_served_while_the_frontend_drains(self) -> None:
        balancer = await self.behind_proxies()
        served = [self.from_elsewhere(balancer, rest=b"?")]
        assert await self.answer(served[0]) == "a"
        ended = balancer.stopService()
        served.append(self.from_elsewhere(balancer, rest=b"?", address=PEER))
        assert await self.answer(served[1]) == "a"
        for client in served:
            client.close()
        await ended
        with capturedLogs() as events:
            late = self.from_elsewhere(balancer, address=PEER)
        assert await self.answer(late) == ""
        (line,) = (formatEvent(event) for event in events)
        assert line.endswith("it could not be handed over, and all others have ended")

    async def stopped(self, balancer: Balancer, client: socket.socket) -> None:
        ended = balancer.stopService()
        client.close()
        await ended

    def from_elsewhere(
        self, balancer: Balancer, frontend: str = "web", rest: bytes = b"", address: Any = None
    ) -> socket.socket:
        """A client that another process has accepted."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            sock, _ = listening.accept()
        self.addCleanup(client.close)
        client.setblocking(False)
        sock.setblocking(False)
        reset_on_close(sock)
        where: Any = address or balancer.listens_on("web")[0]
        peer = evolve(where, host=PROXY)
        received = header_of(ELSEWHERE) + rest
        number = sock.detach()
        balancer.serve_handed_over(
            HandedOver(
                frontend, peer, time.monotonic(), received, socket.SocketType(fileno=number), has_header=True
            )
        )
        return client

    async def test_the_client_of_a_frontend_that_is_gone_is_reset(self) -> None:
        balancer = await self.behind_proxies()
        with capturedLogs() as events:
            client = self.from_elsewhere(balancer, "other")
        assert await self.answer(client) == ""
        (line,) = (formatEvent(event) for event in events)
        assert (
            line
            == "frontend other: a connection that another worker has handed over is reset: no such frontend"
        )

    async def test_those_that_wait_are_served_when_their_frontend_is_removed(self) -> None:
        config = self.config(
            {
                "web": {"accept_proxy_protocol": [PROXY], "limits": LimitsConfig(connections=1)},
                "other": {},
            }
        )
        balancer = Balancer.from_config(reactor, config, hand_over=self.elsewhere)
        self.addCleanup(balancer.stopService)
        await self.started(balancer)
        first = self.from_elsewhere(balancer)
        assert await self.answer(first) == "a"
        second = self.from_elsewhere(balancer)
        balancer.apply(self.config({"other": {"listen": config.frontends["other"].listen}}))
        assert await self.answer(second) == "a"

    async def without_frontend(self, **keys: Any) -> Balancer:
        """A balancer whose frontend was removed while it had no session."""
        pools = {"web": self.pool("a", drain_timeout=0.2)}
        frontends = {"web": {"accept_proxy_protocol": [PROXY], **keys}, "other": {}}
        config = self.config(frontends, **pools)
        balancer = Balancer.from_config(reactor, config, hand_over=self.elsewhere)
        self.addCleanup(balancer.stopService)
        await self.started(balancer)
        balancer.apply(self.config({"other": {"listen": config.frontends["other"].listen}}, **pools))
        return balancer

    async def test_one_on_its_way_when_its_frontend_is_removed_is_served_as_it_said(self) -> None:
        balancer = await self.without_frontend(preread_timeout=60.0)
        await some_turns(reactor)
        client = self.from_elsewhere(balancer, rest=b"?", address=PEER)
        assert await self.answer(client) == "a"
        # As sessions that were open before.
        assert await self.end_of(client) in ("end", "reset")

    async def test_none_is_expected_when_its_time_is_over(self) -> None:
        balancer = await self.without_frontend(preread_timeout=0.2)
        assert balancer._served.retiring
        await until(reactor, lambda: not balancer._served.retiring)
        client = self.from_elsewhere(balancer, address=PEER)
        assert await self.answer(client) == ""

    async def test_none_is_expected_when_all_ends(self) -> None:
        balancer = await self.without_frontend(preread_timeout=60.0)
        await balancer.stopService()

    async def applied(self, balancer: Balancer, name: str = "web", **keys: Any) -> None:
        """Have the frontend go on by other keys, on the same address."""
        assert balancer.config is not None
        listen = balancer.config.frontends["web"].listen
        balancer.apply(self.config({name: {"listen": listen, **keys}}))
        await some_turns(reactor)

    async def test_one_whose_frontend_came_to_be_without_proxies_stays(self) -> None:
        balancer = await self.behind_proxies()
        header = header_of(ELSEWHERE)
        client = self.connected(balancer, header[:9])
        await until(reactor, lambda: balancer.factories["web"].registry.sessions)
        await self.applied(balancer)
        client.send(header[9:] + b"?")
        assert await self.answer(client) == "a"
        client.close()
        await until(reactor, lambda: self.records)
        assert self.records[0].client == f"{ELSEWHERE}:40000"
        assert self.elsewhere.taken == []

    async def test_one_whose_frontend_is_removed_stays(self) -> None:
        balancer = await self.behind_proxies()
        header = header_of(ELSEWHERE)
        client = self.connected(balancer, header[:9])
        await until(reactor, lambda: balancer.factories["web"].registry.sessions)
        await self.applied(balancer, "other", accept_proxy_protocol=[PROXY])
        client.send(header[9:] + b"?")
        assert await self.answer(client) == "a"
        assert self.elsewhere.taken == []

    async def test_a_header_is_read_as_one_where_none_is_accepted_any_more(self) -> None:
        balancer = await self.behind_proxies()
        await self.applied(balancer)
        client = self.from_elsewhere(balancer, rest=b"?")
        assert await self.answer(client) == "a"
        client.close()
        await until(reactor, lambda: self.records)
        assert self.records[0].client == f"{ELSEWHERE}:40000"

    async def test_what_no_frontend_reads_is_to_be_given_back(self) -> None:
        balancer = await self.behind_proxies()
        self.connected(balancer, header_of(ELSEWHERE))
        connection = await self.taken()
        assert (connection.has_header, connection.ends_tls) == (True, False)
        assert balancer.can_serve_handed_over(connection)
        assert not balancer.can_serve_handed_over(evolve(connection, frontend="other"))
        assert not balancer.can_serve_handed_over(evolve(connection, ends_tls=True))


class NativeHandingOverTests(HandingOverTests):
    data_path_name = "auto"
