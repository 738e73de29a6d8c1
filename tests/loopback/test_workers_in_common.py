"""What all workers have in common of backends and clients, with processes that are killed."""

from __future__ import annotations

import signal
import socket
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from support.ports import refusing
from support.sockets import until
from support.supervised import WORKERS, SupervisedCase
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.health.probes.tcp import TcpProbe
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

INTERVAL = 0.2


class Counted(Protocol):
    """A port for checks, which counts them."""

    def connectionMade(self) -> None:
        self.factory.count += 1


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class InCommonTests(SupervisedCase):
    """Two workers."""

    async def stopped(self, supervisor: Supervisor) -> None:
        ended: list[object] = []
        supervisor.stopService().addCallback(ended.append)
        await until(reactor, lambda: ended)

    async def ask(self, supervisor: Supervisor, source: str) -> str:
        """Give the name of the server that serves a client; nothing where the client is refused."""
        client = self.connected(supervisor, source)
        answer = await self.answer(client)
        client.close()
        return answer

    def clients_of(self, place: int, count: int = 1) -> list[str]:
        every = (f"127.0.{third}.{last}" for third in range(8) for last in range(1, 255))
        its = (source for source in every if owner(socket.inet_aton(source), WORKERS) == place)
        return [next(its) for _ in range(count)]

    async def killed(self, supervisor: Supervisor, place: int) -> None:
        """Kill a worker, and wait until another one serves in its place."""
        before = self.send_signal(supervisor, place, signal.SIGKILL)
        its = supervisor._places[place]
        await until(reactor, lambda: self.pids(supervisor)[place] not in (0, before) and its.is_serving)

    def backend(self, supervisor: Supervisor, name: str) -> Backend:
        (pool,) = supervisor.pools.pools
        (found,) = [backend for backend in pool.backends if backend.name == name]
        return found

    def port_for_checks(self) -> tuple[Any, Any]:
        factory: Any = Factory.forProtocol(Counted)
        factory.count = 0
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port, factory

    async def all_ask(self, supervisor: Supervisor, times: int = 4) -> set[str]:
        """Give the names of the servers that serve clients of all workers."""
        return {
            await self.ask(supervisor, self.clients_of(place)[0])
            for place in range(WORKERS)
            for _ in range(times)
        }

    async def taken_by_all(self, supervisor: Supervisor) -> None:
        """Wait until all workers know how backends stand."""
        receivers = supervisor._statuses._receivers.values()
        await until(reactor, lambda: all(receiver.paced.is_idle for receiver in receivers))

    async def test_backends_are_checked_once_an_interval_and_are_down_in_all_workers(self) -> None:
        port, checks = self.port_for_checks()
        health = HealthConfig(
            check="tcp", probe=TcpProbe(), interval=INTERVAL, fall=1, rise=1, port=port.getHost().port
        )
        supervisor = await self.supervised(self.config(web=self.pool("a", health=health)))
        assert await self.all_ask(supervisor) == {"a"}
        began, before = reactor.seconds(), checks.count
        await until(reactor, lambda: checks.count >= before + 10)
        assert checks.count - before <= (reactor.seconds() - began) / INTERVAL + 1
        await port.stopListening()
        await until(reactor, lambda: not self.backend(supervisor, "a").up)
        await self.taken_by_all(supervisor)
        assert await self.all_ask(supervisor) == {""}

    async def test_consecutive_failures_of_two_workers_eject(self) -> None:
        backends = (
            BackendConfig(address=self.enterContext(refusing()), name="dead"),
            BackendConfig(address=self.servers["b"], name="b", backup=True),
        )
        outlier = OutlierConfig(consecutive_failures=2, eject_for=60.0)
        supervisor = await self.supervised(
            self.config(web=PoolConfig(backends=backends, outlier=outlier, retries=1))
        )
        assert await self.ask(supervisor, self.clients_of(0)[0]) == "b"
        await until(reactor, lambda: self.backend(supervisor, "dead").host_stats.failures)
        assert not self.backend(supervisor, "dead").ejected
        assert await self.ask(supervisor, self.clients_of(1)[0]) == "b"
        await until(reactor, lambda: self.backend(supervisor, "dead").ejected)
        await self.killed(supervisor, 0)
        assert await self.ask(supervisor, self.clients_of(0)[0]) == "b"
        assert self.backend(supervisor, "dead").stats.ejections == 1

    async def test_a_ban_outlives_the_worker_and_the_one_after_it(self) -> None:
        limits = LimitsConfig(connections_per_client=1, ban_after=1, ban_for=60.0)
        supervisor = await self.supervised(self.config({"web": {"limits": limits}}))
        (source, other) = self.clients_of(0, 2)
        first = self.connected(supervisor, source)
        assert await self.answer(first) == "a"
        assert await self.ask(supervisor, source) == ""
        bans = next(it for it in supervisor._shared_states if "bans" in it.words)
        await until(reactor, lambda: len(bans._bans))  # type: ignore[attr-defined]
        await self.killed(supervisor, 0)
        assert await self.ask(supervisor, source) == ""
        assert await self.ask(supervisor, other) == "a"
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert await self.ask(supervisor, source) == ""
        assert await self.ask(supervisor, other) == "a"

    async def test_clients_come_back_to_their_backends(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        affinity = AffinityConfig(state_file=FilePath(f"{folder}/affinity"))
        config = self.config(web=self.pool("abc", balance="random", affinity=affinity))
        supervisor = await self.supervised(config)
        sources = self.clients_of(0, 8) + self.clients_of(1, 8)
        before = [await self.ask(supervisor, source) for source in sources]
        assert len(set(before)) > 1
        (pool,) = supervisor.pools.pools
        await until(reactor, lambda: pool.affinity is not None and len(pool.affinity) == len(sources))
        await self.killed(supervisor, 0)
        assert [await self.ask(supervisor, source) for source in sources] == before
        await self.stopped(supervisor)
        again = await self.supervised(config)
        assert [await self.ask(again, source) for source in sources] == before

    async def test_an_operator_drains_a_backend_for_all_workers(self) -> None:
        supervisor = await self.supervised(self.config(web=self.pool("ab")))
        assert await self.all_ask(supervisor) == {"a", "b"}
        assert supervisor.pools.set_admin_state("web", "a", AdminState.DRAIN)
        await self.taken_by_all(supervisor)
        assert await self.all_ask(supervisor) == {"b"}

    async def test_the_supervisor_counts_what_is_in_use(self) -> None:
        pools = {"web": self.pool("ab"), "spare": self.pool("c")}
        supervisor = await self.supervised(self.config(**pools))
        assert supervisor.pools.set_admin_state("web", "a", AdminState.MAINTENANCE)
        summary = supervisor.summary()
        assert (summary.frontends, summary.backends_up, summary.backends) == (1, 1, 2)
        assert supervisor.addresses_of("localhost") == []
