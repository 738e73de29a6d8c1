"""Addresses that change hands, or overlap those before them, in one change of the configuration: no client
is refused or reset."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import socket
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from twisted.internet import reactor as global_reactor

from support.apply_case import ApplyCase
from support.ports import free_port
from support.sockets import until
from support.unfinished_probe import UnfinishedProbe
from tcpbalance import Balancer, Config, HealthConfig, ListenError, SocketConfig, TcpProbe
from tcpbalance.config.routes import AnswerConfig, HttpRouteConfig
from tcpbalance.net import binding
from tcpbalance.services import carrier, service_set

reactor: Any = global_reactor


class ApplyAddressesTests(ApplyCase):
    """Two pools, and frontends before them at addresses of one port."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()

    def tables(self, **hosts: str) -> Config:
        """Make a configuration of frontends that listen on a host each; ``b`` is served by another pool."""
        frontends = {
            name: {"listen": f"{host}:{self.port}", "pool": "other" if name == "b" else "web"}
            for name, host in hosts.items()
        }
        return self.config(frontends, web=self.pool("a"), other=self.pool("b"))

    def at(self, host: str) -> socket.socket:
        client = socket.create_connection((host, self.port))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def served_by(self, host: str) -> str:
        return await self.answer(self.at(host))

    def is_refused(self, host: str) -> bool:
        with socket.socket() as client:
            return client.connect_ex((host, self.port)) == errno.ECONNREFUSED

    async def test_all_addresses_become_one_and_one_becomes_all(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        for host in ("0.0.0.0", "127.0.0.1", "0.0.0.0"):
            waiting = self.at("127.0.0.1")
            balancer.apply(self.tables(a=host))
            assert self.is_refused("127.0.0.2") == (host == "127.0.0.1")
            assert await self.answer(waiting) == "a"
            assert await self.served_by("127.0.0.1") == "a"

    async def test_ipv6_as_well(self) -> None:
        balancer = await self.running(self.tables(a="[::1]"))
        for host in ("[::]", "[::1]"):
            waiting = self.at("::1")
            balancer.apply(self.tables(a=host))
            assert await self.answer(waiting) == "a"
            assert await self.served_by("::1") == "a"

    async def test_another_frontend_takes_a_part_or_all(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        for name, host in (("b", "127.0.0.1"), ("a", "0.0.0.0")):
            waiting = self.at("127.0.0.1")
            balancer.apply(self.tables(**{name: host}))
            assert await self.answer(waiting) == ("b" if name == "a" else "a")
            assert await self.served_by("127.0.0.1") == name

    async def test_clients_wait_while_the_frontend_that_takes_a_part_makes_its_first_checks(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        slow = self.pool("b", health=HealthConfig(check="tcp", probe=TcpProbe()))
        frontends = {"b": {"listen": f"127.0.0.1:{self.port}", "pool": "other"}}
        balancer.apply(self.config(frontends, other=slow))
        early = self.at("127.0.0.1")
        (listener,) = (listener for _, listener in balancer.listeners())
        # A program that takes over would have to have this socket, too.
        assert listener.is_listening
        assert await self.answer(early) == "b"

    async def test_a_part_is_taken_by_several(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        balancer.apply(self.tables(a="127.0.0.1", b="127.0.0.2"))
        assert [await self.served_by(f"127.0.0.{number}") for number in (1, 2)] == ["a", "b"]
        balancer.apply(self.tables(b="0.0.0.0"))
        assert [await self.served_by(f"127.0.0.{number}") for number in (1, 2, 3)] == ["b", "b", "b"]

    async def test_two_frontends_swap_their_addresses(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1", b="127.0.0.2"))
        for name, other in (("b", "a"), ("a", "b"), ("b", "a")):
            waiting = [self.at("127.0.0.1"), self.at("127.0.0.2")]
            balancer.apply(self.tables(**{name: "127.0.0.1", other: "127.0.0.2"}))
            assert [await self.answer(client) for client in waiting] == [name, other]
            assert [await self.served_by("127.0.0.1"), await self.served_by("127.0.0.2")] == [name, other]

    async def test_a_new_frontend_takes_the_address_that_another_leaves(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        waiting = self.at("127.0.0.1")
        balancer.apply(self.tables(a="127.0.0.2", b="127.0.0.1"))
        assert await self.answer(waiting) == "b"
        assert [await self.served_by("127.0.0.1"), await self.served_by("127.0.0.2")] == ["b", "a"]

    async def test_a_frontend_comes_to_read_requests_and_its_open_sessions_go_on(self) -> None:
        place = f"127.0.0.1:{self.port}"
        answers = (HttpRouteConfig(answer=AnswerConfig(status=204)),)
        connections = self.config({"a": {"listen": place}})
        requests = self.config({"a": {"listen": place, "mode": "http", "pool": None, "routes": answers}})
        balancer = await self.running(connections)
        open_client = self.at("127.0.0.1")
        assert await self.answer(open_client) == "a"
        for _ in range(2):
            balancer.apply(requests)
            assert await self.status_at("127.0.0.1") == "204"
            assert await self.answer(open_client) == "a"
            balancer.apply(connections)
            assert await self.served_by("127.0.0.1") == "a"
        open_client.close()

    async def status_at(self, host: str) -> str:
        """Send a request, and give the status of the response."""
        client, words = self.at(host), [""]

        def has_come() -> bool:
            with contextlib.suppress(BlockingIOError):
                words[0] += client.recv(1000).decode()
            return "\r\n" in words[0]

        client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        await until(reactor, has_come)
        return words[0].split(" ")[1]

    async def test_clients_that_wait_are_served_by_the_frontend_that_gets_their_address(self) -> None:
        """Whichever names the frontends have, the first address leads to pool ``web``, before and after."""
        first, second = f"127.0.0.1:{self.port}", f"127.0.0.2:{self.port}"
        web, other = {"listen": first, "pool": "web"}, {"listen": second, "pool": "other"}
        pools = {"web": self.pool("a"), "other": self.pool("b")}
        balancer = await self.running(self.config({"n": web}, web=pools["web"]))
        for tables in ({"n": other, "m": web}, {"n": web, "m": other}, {"m": web}):
            waiting = self.at("127.0.0.1")
            balancer.apply(self.config(tables, **pools))
            assert await self.answer(waiting) == "a"

    async def test_clients_of_an_address_that_closes_are_served_by_the_pool_that_it_had(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        pools = {"web": self.pool("a"), "other": self.pool("b")}
        for host, pool, before in (("0.0.0.0", "other", "a"), ("127.0.0.1", "web", "b")):
            waiting = self.at("127.0.0.1")
            table = {"listen": f"{host}:{self.port}", "pool": pool}
            balancer.apply(self.config({"a": table}, **pools))
            assert await self.answer(waiting) == before
            assert await self.served_by("127.0.0.1") != before

    async def test_clients_of_a_new_address_wait_for_the_pool_that_comes_with_it(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        probe = UnfinishedProbe()
        slow = self.pool("b", health=HealthConfig(check="unfinished", probe=probe, timeout=60))
        first, second, third = (f"127.0.0.{number}:{self.port}" for number in (1, 2, 3))
        for listen in ([first, second], [first, second, third], [first, third]):
            balancer.apply(self.config({"a": {"listen": listen, "pool": "other"}}, other=slow))
        waiting = self.at("127.0.0.3")
        # The address that it had goes on with the pool that it had.
        assert await self.served_by("127.0.0.1") == "a"
        assert self.is_refused("127.0.0.2")
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        probe.asked[0].callback(None)
        assert await self.answer(waiting) == "b"
        assert await self.served_by("127.0.0.1") == "b"

    async def test_a_frontend_that_goes_before_its_new_address_has_opened_opens_none(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        probe = UnfinishedProbe()
        slow = self.pool("b", health=HealthConfig(check="unfinished", probe=probe, timeout=60))
        second = f"127.0.0.2:{self.port}"
        balancer.apply(self.config({"a": {"listen": second, "pool": "other"}}, other=slow))
        balancer.apply(self.config({"b": {}, "c": {"pool": "other"}}, web=self.pool("a"), other=slow))
        probe.asked[0].callback(None)
        assert self.is_refused("127.0.0.2")

    async def test_another_program_finds_the_address_in_use(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        balancer.apply(self.tables(a="127.0.0.1"))
        for host in ("127.0.0.1", "0.0.0.0"):
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind((host, self.port))
        assert not self.allows_others(balancer)

    def allows_others(self, balancer: Balancer) -> bool:
        """Whether other sockets of this user may be bound beside those of a balancer."""
        found = []
        for _, listener in balancer.listeners():
            with listener.share_socket() as sock:
                found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        return any(found)

    async def test_no_client_is_refused_or_reset_meanwhile(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        over = threading.Event()
        failures: list[Exception] = []
        visits: list[int] = []

        def visit() -> None:
            try:
                while not over.is_set():
                    with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
                        client.sendall(b"?")
                        assert client.recv(1) in (b"a", b"b")
                    visits.append(1)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=visit) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(60):
                host = "127.0.0.1" if number % 2 else "0.0.0.0"
                balancer.apply(self.tables(**{"ab"[number // 2 % 2]: host}))
                await until(reactor, self.more(visits, failures))
        finally:
            over.set()
            await until(reactor, lambda: not any(thread.is_alive() for thread in threads))
        assert failures == []

    def more(self, visits: list[int], failures: list[Exception]) -> Callable[[], bool]:
        """Ask whether there were some more visits, or one has failed."""
        before = len(visits)
        return lambda: bool(failures) or len(visits) > before + 3

    async def test_before_the_frontend_is_open_clients_of_an_address_that_is_added_are_refused(self) -> None:
        probe = UnfinishedProbe()
        slow = self.pool("a", health=HealthConfig(check="unfinished", probe=probe, timeout=60))
        first, second = f"127.0.0.1:{self.port}", f"127.0.0.2:{self.port}"
        balancer = Balancer.from_config(reactor, self.config({"a": {"listen": first}}, web=slow))
        self.addCleanup(balancer.stopService)
        balancer.startService()
        await until(reactor, lambda: probe.asked)
        balancer.apply(self.config({"a": {"listen": [first, second]}}, web=slow))
        assert self.is_refused("127.0.0.1")
        assert self.is_refused("127.0.0.2")
        balancer.apply(self.config({"a": {"listen": [first, second]}}))
        await balancer.when_listening()
        assert [await self.served_by("127.0.0.1"), await self.served_by("127.0.0.2")] == ["a", "a"]

    # An address that is lost

    def taking_between_bind_and_listen(self, thief: socket.socket) -> Callable[..., socket.socket]:
        """Give a way to bind that is followed at once by that of another program, which listens."""
        bind = binding.bind

        def bind_both(*args: Any, **keys: Any) -> socket.socket:
            sock = bind(*args, **keys)
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(sock.getsockname())
            thief.listen()
            return sock

        return bind_both

    async def test_a_process_without_descriptors_says_what_to_do_and_changes_nothing(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        after = self.config(
            {"a": {"listen": f"0.0.0.0:{self.port}", "socket": SocketConfig(max_segment=1000)}, "b": {}}
        )
        before, open_before = balancer.config, os.listdir("/proc/self/fd")
        for more in (0, 1):
            reason = self.refusal_with(more, balancer, after)
            assert re.match(r"frontend [ab]: .*: too many open files: raise LimitNOFILE or", reason)
            assert (balancer.config, os.listdir("/proc/self/fd")) == (before, open_before)
        balancer.apply(after)
        assert await self.served_by("127.0.0.1") == "a"

    def refusal_with(self, number: int, balancer: Balancer, config: Config) -> str:
        """Give the reason why a configuration cannot be applied with so many descriptors more."""
        lowest = os.dup(0)
        os.close(lowest)
        bounds = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, bounds[1]))
        try:
            balancer.apply(config)
        except ListenError as error:
            return str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
        return ""

    async def test_an_address_that_is_lost_before_it_listens_leaves_everything_as_it_was(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        before = balancer.listens_on("a"), balancer.config
        both = {"listen": [f"127.0.0.1:{self.port}", f"127.0.0.2:{self.port}"], "backlog": 5}
        with socket.socket() as thief:
            self.patch(carrier, "bind", self.taking_between_bind_and_listen(thief))
            with pytest.raises(ListenError, match=r"frontend a: cannot listen on 127\.0\.0\.2:.* in use"):
                balancer.apply(self.config({"a": both}))
        assert (balancer.listens_on("a"), balancer.config) == before
        assert await self.served_by("127.0.0.1") == "a"

    def clients_of_a_reload_that_fails(
        self, balancer: Balancer, config: Config, *hosts: str
    ) -> list[socket.socket]:
        """Give clients that have come to addresses when all was prepared, before something else failed."""
        clients: list[socket.socket] = []

        def fail(services: object) -> None:
            clients.extend(map(self.at, hosts))
            raise ListenError("something else")

        with (
            mock.patch.object(service_set, "prepare_all", fail),
            pytest.raises(ListenError, match="something else"),
        ):
            balancer.apply(config)
        return clients

    async def test_clients_of_an_address_whose_reload_fails_are_served_as_before(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        both = {"listen": [f"127.0.0.1:{self.port}", f"127.0.0.2:{self.port}"]}
        clients = self.clients_of_a_reload_that_fails(
            balancer, self.config({"a": both}), "127.0.0.1", "127.0.0.2"
        )
        assert [await self.answer(client) for client in clients] == ["a", "a"]
        assert self.is_refused("127.0.0.2")

    async def test_clients_of_another_family_whose_reload_fails_are_served_as_before(self) -> None:
        for before, after in (("127.0.0.1", "::1"), ("::1", "127.0.0.1")):
            places = {
                host: f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
                for host in (before, after)
            }
            balancer = await self.running(self.config({"a": {"listen": places[before]}}))
            both = {"listen": [places[before], places[after]]}
            clients = self.clients_of_a_reload_that_fails(balancer, self.config({"a": both}), before, after)
            assert [await self.answer(client) for client in clients] == ["a", "a"]
            for client in clients:
                client.close()
            await balancer.stopService()

    async def test_clients_of_a_part_whose_reload_fails_are_served_as_before(self) -> None:
        balancer = await self.running(self.tables(a="0.0.0.0"))
        for config in (self.tables(b="127.0.0.1"), self.tables(a="127.0.0.1")):
            clients = self.clients_of_a_reload_that_fails(balancer, config, "127.0.0.1", "127.0.0.2")
            assert [await self.answer(client) for client in clients] == ["a", "a"]
            assert await self.served_by("127.0.0.1") == "a"
            assert not self.allows_others(balancer)

    async def test_the_next_client_of_an_address_that_is_about_to_close_is_refused(self) -> None:
        balancer = await self.running(self.tables(a="127.0.0.1"))
        (listener,) = (it for _, it in balancer.listeners())
        with socket.create_server(("127.0.0.2", self.port)) as sock:
            sock.setblocking(False)
            early = self.at("127.0.0.2")
            listener.accept_from(sock)
            assert self.is_refused("127.0.0.2")
            assert await self.answer(early) == "a"


class NativeApplyAddressesTests(ApplyAddressesTests):
    """The same on the native data path."""

    data_path_name = "auto"
