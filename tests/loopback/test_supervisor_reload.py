"""Another configuration comes to workers that run: addresses come and go, and processes end meanwhile."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor

from support.ports import free_port
from support.sockets import until
from support.supervised import SupervisedCase
from tcpbalance import Config, ListenError
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class SupervisorReloadTests(SupervisedCase):
    """A supervisor with two workers, before servers that say which of them has answered."""

    async def changed(self, supervisor: Supervisor, config: Config) -> None:
        await supervisor.apply(supervisor.prepare_config(config))

    async def answers(self, supervisor: Supervisor, frontend: str = "web") -> list[str]:
        """What a client of each worker is answered."""
        clients = [self.connected(supervisor, source, frontend) for source in self.sources()]
        found = [await self.answer(client) for client in clients]
        for client in clients:
            client.close()
        return found

    async def test_all_workers_serve_by_it(self) -> None:
        supervisor = await self.supervised(self.config())
        await self.changed(supervisor, self.config(web=self.pool("b")))
        assert await self.answers(supervisor) == ["b", "b"]
        assert supervisor.config.pools["web"].backends[0].name == "b"

    async def test_one_that_is_replaced_later_serves_by_it_as_well(self) -> None:
        supervisor = await self.supervised(self.config())
        await self.changed(supervisor, self.config(web=self.pool("b")))
        self.send_signal(supervisor, 0, signal.SIGKILL)
        assert await self.answers(supervisor) == ["b", "b"]

    async def test_two_that_were_prepared_at_once_come_one_after_the_other(self) -> None:
        supervisor = await self.supervised(self.config())
        first = supervisor.prepare_config(self.config(web=self.pool("b")))
        second = supervisor.prepare_config(self.config(web=self.pool("ac")))
        both = [supervisor.apply(first), supervisor.apply(second)]
        for one in both:
            await one
        assert set(await self.answers(supervisor)) <= {"a", "c"}
        assert not supervisor.prepare_config(self.config(web=self.pool("ac"))).difference

    async def test_a_worker_that_is_killed_meanwhile_is_not_waited_for(self) -> None:
        supervisor = await self.supervised(self.config())
        pid = self.send_signal(supervisor, 1, signal.SIGSTOP)
        change = supervisor.apply(supervisor.prepare_config(self.config(web=self.pool("b"))))
        await until(reactor, lambda: supervisor._changes._workers)
        assert pid == self.send_signal(supervisor, 1, signal.SIGKILL)
        await change
        assert await self.answers(supervisor) == ["b", "b"]

    async def test_an_address_that_cannot_be_had_changes_nothing(self) -> None:
        supervisor = await self.supervised(self.config())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host, port = taken.getsockname()
            frontends = {"web": {}, "more": {"listen": f"{host}:{port}"}}
            config = self.config(frontends, web=self.pool("b"))
            with pytest.raises(ListenError, match="frontend more: cannot listen on"):
                await self.changed(supervisor, config)
        assert await self.answers(supervisor) == ["a", "a"]

    async def test_an_address_goes_on_at_another_frontend(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        supervisor = await self.supervised(self.config({"web": {"listen": address}}))
        frontends = {"other": {"listen": address}}
        await self.changed(supervisor, self.config(frontends, web=self.pool("b")))
        assert await self.answers(supervisor, "other") == ["b", "b"]

    async def test_addresses_that_overlap_follow_each_other(self) -> None:
        port = free_port()
        supervisor = await self.supervised(self.config({"web": {"listen": f"127.0.0.1:{port}"}}))
        for host in ("0.0.0.0", "127.0.0.1"):
            config = self.config({"web": {"listen": f"{host}:{port}"}}, web=self.pool("a"))
            await self.changed(supervisor, config)
            for source in self.sources():
                client = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
                self.addCleanup(client.close)
                client.setblocking(False)
                assert await self.answer(client) == "a"

    async def test_other_words_for_an_address_go_on_with_its_sockets(self) -> None:
        supervisor = await self.supervised(self.config({"web": {"listen": "127.0.0.1:0"}}))
        group = self.group(supervisor)
        port = group.of_worker(0).getsockname()[1]
        for listen in (f"127.0.0.1:{port}", f"localhost:{port}", f"127.0.0.1:{port}"):
            await self.changed(supervisor, self.config({"web": {"listen": listen}}, web=self.pool("a")))
            assert group in [it for one in supervisor._config.listening.listeners for it in one.groups]
            assert await self.answers(supervisor) == ["a", "a"]

    async def test_two_names_of_one_address_are_refused(self) -> None:
        supervisor = await self.supervised(self.config())
        port = free_port()
        frontends: dict[str, Any] = {
            "web": {},
            "more": {"listen": f"127.0.0.1:{port}"},
            "again": {"listen": f"localhost:{port}"},
        }
        with pytest.raises(ListenError, match=r"frontend again: .* address already in use"):
            await self.changed(supervisor, self.config(frontends, web=self.pool("a")))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    async def test_a_zone_that_is_not_there_is_refused(self) -> None:
        supervisor = await self.supervised(self.config())
        frontends = {"web": {"listen": ["127.0.0.1:0", "[fe80::1%nosuch]:9"]}}
        with pytest.raises(ListenError, match="frontend web: cannot listen on"):
            await self.changed(supervisor, self.config(frontends, web=self.pool("a")))

    async def test_the_mode_of_a_unix_socket_changes_in_place(self) -> None:
        path = f"{self.mktemp()}.sock"
        listen = ["127.0.0.1:0", f"unix:{path}"]
        supervisor = await self.supervised(self.config({"web": {"listen": listen}}))
        for mode in (0o600, 0o660):
            frontends = {"web": {"listen": listen, "listen_mode": mode}}
            await self.changed(supervisor, self.config(frontends, web=self.pool("a")))
            assert os.stat(path).st_mode & 0o777 == mode
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host, port = taken.getsockname()
            frontends = {"web": {"listen": [*listen, f"{host}:{port}"], "listen_mode": 0o600}}
            with pytest.raises(ListenError):
                await self.changed(supervisor, self.config(frontends, web=self.pool("a")))
        assert os.stat(path).st_mode & 0o777 == 0o660

    async def test_an_address_that_is_gone_refuses(self) -> None:
        port = free_port()
        frontends: dict[str, Any] = {"web": {}, "more": {"listen": f"127.0.0.1:{port}"}}
        supervisor = await self.supervised(self.config(frontends))
        await self.changed(supervisor, self.config())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    async def test_more_addresses_than_come_with_one_message(self) -> None:
        many = tuple("127.0.0.1:0" for _ in range(130))
        frontends: dict[str, Any] = {"web": {}, "more": {"listen": many}}
        supervisor = await self.supervised(self.config(frontends))
        assert await self.answers(supervisor, "web") == ["a", "a"]

    async def test_nothing_is_left_of_changes(self) -> None:
        supervisor = await self.supervised(self.config())
        await self.changed(supervisor, self.config(web=self.pool("b")))
        before = self.descriptors(supervisor)
        for names in "abab":
            frontends: dict[str, Any] = {"web": {}, "more": {"listen": f"127.0.0.1:{free_port()}"}}
            await self.changed(supervisor, self.config(frontends, web=self.pool(names)))
            await self.changed(supervisor, self.config(web=self.pool(names)))
        # A listener that has gone is closed in a later turn.
        await until(reactor, lambda: self.descriptors(supervisor) == before)

    def descriptors(self, supervisor: Supervisor) -> list[int]:
        """How many the supervisor and each worker have."""
        return [count_of(pid) for pid in (os.getpid(), *self.pids(supervisor))]


def count_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
