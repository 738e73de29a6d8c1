"""Several workers behind one address: each client has its own, and one that ends is replaced."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor

from support.sockets import is_closed, refuses, until
from support.supervised import WORKERS, SupervisedCase
from tcpbalance import ListenError
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class SupervisorTests(SupervisedCase):
    """A supervisor before servers that say which of them has answered."""

    async def test_all_serve_and_each_client_has_its_own(self) -> None:
        supervisor = await self.supervised(self.config())
        assert len(set(self.pids(supervisor))) == WORKERS
        clients = [self.connected(supervisor, source) for source in self.sources()]
        assert [await self.answer(client) for client in clients] == ["a", "a"]
        # The end of a worker ends its own sessions alone.
        os.kill(self.pids(supervisor)[0], signal.SIGKILL)
        assert await self.answer(clients[0]) == ""
        assert await self.answer(clients[1]) == "a"

    async def test_one_that_is_killed_is_replaced_and_clients_wait_for_it(self) -> None:
        supervisor = await self.supervised(self.config())
        before = self.pids(supervisor)
        os.kill(before[1], signal.SIGSTOP)
        waits = self.connected(supervisor, self.sources()[1])
        os.kill(before[1], signal.SIGKILL)
        assert await self.answer(waits) == "a"
        after = self.pids(supervisor)
        assert after[0] == before[0]
        assert after[1] not in (0, before[1])
        assert [await self.answer(self.connected(supervisor, source)) for source in self.sources()] == [
            "a",
            "a",
        ]

    async def test_workers_go_on_without_the_nursery_and_another_one_forks_the_next(self) -> None:
        supervisor = await self.supervised(self.config())
        first = supervisor._nurseries.present
        assert first is not None
        before = self.pids(supervisor)
        first.transport.signalProcess("KILL")
        await until(reactor, lambda: supervisor._nurseries.present is not first)
        assert [await self.answer(self.connected(supervisor, source)) for source in self.sources()] == [
            "a",
            "a",
        ]
        os.kill(before[0], signal.SIGKILL)
        assert await self.answer(self.connected(supervisor, self.sources()[0])) == "a"

    async def test_it_ends_with_the_last_session(self) -> None:
        supervisor = await self.supervised(self.config())
        clients = [self.connected(supervisor, source) for source in self.sources()]
        for client in clients:
            assert await self.answer(client) == "a"
        address = self.address_of(supervisor)
        ended: list[object] = []
        supervisor.stopService().addCallback(ended.append)
        assert await self.answer(clients[0]) == "a"
        await until(reactor, lambda: refuses(address))
        clients[0].close()
        assert await self.answer(clients[1]) == "a"
        assert not ended
        clients[1].close()
        await until(reactor, lambda: ended)
        assert self.pids(supervisor) == [0, 0]

    async def test_the_grace_can_be_cut_short(self) -> None:
        supervisor = await self.supervised(self.config())
        client = self.connected(supervisor, self.sources()[0])
        assert await self.answer(client) == "a"
        ended: list[object] = []
        supervisor.stopService().addCallback(ended.append)
        assert await self.answer(client) == "a"
        supervisor.end_grace_now()
        await until(reactor, lambda: is_closed(client))
        await until(reactor, lambda: ended)

    async def test_a_second_one_does_not_get_the_addresses(self) -> None:
        supervisor = await self.supervised(self.config())
        host, port = self.address_of(supervisor)
        config = self.config({"web": {"listen": f"{host}:{port}"}})
        second = Supervisor(reactor, config)
        with pytest.raises(ListenError, match="address already in use"):
            second.prepare()

    async def test_workers_of_a_supervisor_that_is_gone_drain(self) -> None:
        supervisor = await self.supervised(self.config())
        client = self.connected(supervisor, self.sources()[0])
        assert await self.answer(client) == "a"
        place = supervisor._places[0]
        process = place.process
        assert process is not None
        process._channel.close()
        assert await self.answer(client) == "a"
        client.close()
        await until(reactor, lambda: place.process is not process)
