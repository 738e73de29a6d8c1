"""A rolling restart replaces all workers: no client is refused, no session ends, and counts stay exact."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults

from support.sockets import is_closed, until
from support.supervised import WORKERS, SupervisedCase
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import PoolConfig
from tcpbalance.workers import place as place_module
from tcpbalance.workers.nursery_process import NurseryProcess
from tcpbalance.workers.place import COLUMNS_A_PLACE
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

LIMIT = 10

NOT_LOADED = "raise ImportError('half of it is missing')"

NEVER_READY = """\
from tcpbalance.workers.worker import _ORDERS, main

_ORDERS["begin"] = lambda worker, message: None
"""

STOPS = """\
import os
import signal

def main(request):
    os.kill(os.getpid(), signal.SIGSTOP)
"""

ENDS = "def main(request): raise SystemExit(3)"

ENDS_IN_PLACE_1 = """\
from tcpbalance.workers import worker

def main(request):
    if request.content["place"] == 1:
        raise SystemExit(3)
    worker.main(request)
"""


def is_stopped(pid: int) -> bool:
    """Whether a process is there, and stopped: proc_pid_stat(5)."""
    return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class RollingRestartTests(SupervisedCase):
    """A supervisor whose workers are replaced."""

    def config(self, frontends: dict[str, Any] | None = None, /, **pools: PoolConfig) -> Config:
        return attrs.evolve(super().config(frontends, **pools), shutdown_grace=60.0)

    def nursery_of(self, text: str) -> Callable[[Any, str, float], NurseryProcess]:
        """Make the first nursery as it is, and others of another program."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "other_worker.py").write_text(text)
        made: list[NurseryProcess] = []

        def make(reactor: Any, module: str, timeout: float) -> NurseryProcess:
            with mock.patch.dict(os.environ, PYTHONPATH=folder.name):
                made.append(NurseryProcess(reactor, "other_worker" if len(made) == 1 else module, timeout))
            return made[-1]

        return make

    async def answers(self, supervisor: Supervisor) -> list[str]:
        clients = [self.connected(supervisor, source) for source in self.sources()]
        answers = [await self.answer(client) for client in clients]
        for client in clients:
            client.close()
        return answers

    async def test_workers_are_replaced_and_sessions_go_on(self) -> None:
        supervisor = await self.supervised(self.config())
        before, nursery = self.pids(supervisor), supervisor._nurseries.present
        clients = [self.connected(supervisor, source) for source in self.sources()]
        for client in clients:
            assert await self.answer(client) == "a"
        supervisor.restart_workers()
        await self.restarted(supervisor)
        after = self.pids(supervisor)
        assert 0 not in after
        assert not {*before} & {*after}
        assert supervisor._nurseries.present is not nursery
        assert await self.answers(supervisor) == ["a", "a"]
        assert {*self.all_pids(supervisor)} == {*before, *after}
        for client in clients:
            assert await self.answer(client) == "a"
            client.close()
        await until(reactor, lambda: self.all_pids(supervisor) == after)

    async def test_no_client_is_refused(self) -> None:
        supervisor = await self.supervised(self.config())
        over: list[bool] = []
        answers: list[str] = []
        coming = self.come_and_go(supervisor, answers, over)
        for _ in range(3):
            supervisor.restart_workers()
            await self.restarted(supervisor)
        over.append(True)
        await gatherResults(coming)
        assert {*answers} == {"a"}
        assert len(answers) > 100

    async def test_sessions_of_the_old_one_end_with_the_time_of_a_backend_that_is_removed(self) -> None:
        supervisor = await self.supervised(self.config(web=self.pool("ab", drain_timeout=0.2)))
        clients = [self.connected(supervisor, source) for source in self.sources() for _ in range(2)]
        answers = [await self.answer(client) for client in clients]
        assert {*answers} == {"a", "b"}
        supervisor.restart_workers()
        await self.restarted(supervisor)
        other = self.config(web=self.pool("b", drain_timeout=0.2))
        await supervisor.apply(supervisor.prepare_config(other))
        for client, answer in zip(clients, answers, strict=True):
            if answer == "a":
                await until(reactor, partial(is_closed, client))
            else:
                assert await self.answer(client) == "b"

    async def admitted(self, supervisor: Supervisor, source: str, times: int) -> list[socket.socket]:
        """Come so often; give the connections that were admitted."""
        admitted = []
        for _ in range(times):
            # One that is refused may be reset before it knows that it was connected.
            with contextlib.suppress(ConnectionResetError):
                client = self.connected(supervisor, source)
                if await self.answer(client):
                    admitted.append(client)
        return admitted

    async def let_go(self, supervisor: Supervisor, clients: list[socket.socket], left: int) -> None:
        for client in clients:
            client.close()
        await until(reactor, lambda: len(self.all_pids(supervisor)) == left)

    async def test_a_limit_holds_for_the_old_and_the_new_one_together(self) -> None:
        limits = {"limits": LimitsConfig(connections_per_client=LIMIT)}
        supervisor = await self.supervised(self.config({"web": limits}))
        source = self.sources()[1]
        first = await self.admitted(supervisor, source, 4)
        assert len(first) == 4
        kept: list[socket.socket] = []
        for _ in range(COLUMNS_A_PLACE - 2):
            supervisor.restart_workers()
            await self.restarted(supervisor)
            kept += await self.admitted(supervisor, source, 2)
        assert len(kept) == 4
        last = await self.admitted(supervisor, source, LIMIT)
        assert len(last) == LIMIT - 8
        # The first process has ended when the others hear of it.
        processes = len(self.all_pids(supervisor))
        await self.let_go(supervisor, first, processes - 1)
        assert len(await self.admitted(supervisor, source, LIMIT)) == 4
        # A process that is killed has no connections, reported or not.
        first_of_place = supervisor._places[1].processes[0]
        os.kill(first_of_place.pid, signal.SIGKILL)
        await until(reactor, lambda: first_of_place not in supervisor._processes())
        assert len(await self.admitted(supervisor, source, LIMIT)) == 2

    async def test_connections_that_end_one_by_one_are_counted_no_more(self) -> None:
        limits = {"limits": LimitsConfig(connections_per_client=LIMIT)}
        supervisor = await self.supervised(self.config({"web": limits}))
        source = self.sources()[0]
        clients = await self.admitted(supervisor, source, LIMIT)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        for client in clients[1:]:
            client.close()
            again: list[socket.socket] = []

            async def come(again: list[socket.socket] = again) -> None:
                while not again:
                    again += await self.admitted(supervisor, source, 1)

            await come()
            assert await self.admitted(supervisor, source, 1) == []
        assert await self.answer(clients[0]) == "a"

    async def test_one_that_follows_on_a_killed_worker_counts_what_drains(self) -> None:
        limits = {"limits": LimitsConfig(connections_per_client=LIMIT)}
        supervisor = await self.supervised(self.config({"web": limits}))
        source = self.sources()[1]
        drains = await self.admitted(supervisor, source, 3)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        await self.admitted(supervisor, source, 4)
        self.send_signal(supervisor, 1, signal.SIGKILL)
        assert len(await self.admitted(supervisor, source, LIMIT)) == LIMIT - len(drains)

    async def stays(self, supervisor: Supervisor, before: list[int], lines: list[str], why: str) -> None:
        client = self.connected(supervisor, self.sources()[0])
        assert await self.answer(client) == "a"
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert any(why in line for line in lines), lines
        assert self.pids(supervisor)[1] == before[1]
        assert await self.answer(client) == "a"
        assert await self.answers(supervisor) == ["a", "a"]
        # What follows on one that is killed is of the nursery that has stayed.
        self.send_signal(supervisor, 1, signal.SIGKILL)
        assert await self.answers(supervisor) == ["a", "a"]
        assert all(self.pids(supervisor))

    async def test_a_program_that_cannot_be_loaded_leaves_all_as_it_was(self) -> None:
        supervisor = await self.supervised(self.config(), make_nursery=self.nursery_of(NOT_LOADED))
        before = self.pids(supervisor)
        await self.stays(supervisor, before, self.lines, "ImportError: half of it is missing")

    async def test_workers_that_end_leave_all_as_it_was(self) -> None:
        supervisor = await self.supervised(self.config(), make_nursery=self.nursery_of(ENDS))
        await self.stays(supervisor, self.pids(supervisor), self.lines, "worker 0: it ended with status 3")

    async def test_workers_that_are_not_ready_in_time_leave_all_as_it_was(self) -> None:
        with mock.patch.object(place_module, "TAKES_OVER_WITHIN", 0.5):
            supervisor = await self.supervised(self.config(), make_nursery=self.nursery_of(NEVER_READY))
            before = self.pids(supervisor)
            await self.stays(supervisor, before, self.lines, "was not ready to accept clients within 0.5 s")
            assert before[0] == self.pids(supervisor)[0]

    async def test_the_one_before_may_be_killed_while_the_other_one_is_stopped(self) -> None:
        supervisor = await self.supervised(self.config(), make_nursery=self.nursery_of(STOPS))
        before = self.pids(supervisor)
        supervisor.restart_workers()
        processes = supervisor._places[0].processes
        await until(reactor, lambda: len(processes) == 2 and is_stopped(processes[1].pid))
        self.send_signal(supervisor, 0, signal.SIGKILL)
        assert await self.answers(supervisor) == ["a", "a"]
        await self.restarted(supervisor)
        assert any("another one was ready before" in line for line in self.lines), self.lines
        await until(reactor, lambda: len(processes) == 1)
        assert self.pids(supervisor)[1] == before[1]
        assert 0 != self.pids(supervisor)[0] != before[0]

    async def test_one_that_is_stopped_as_it_starts_is_not_awaited_for_longer_than_others_at_the_end(
        self,
    ) -> None:
        config = attrs.evolve(self.config(), worker_timeout=1.0)
        supervisor = await self.supervised(config, make_nursery=self.nursery_of(STOPS))
        supervisor.restart_workers()
        processes = supervisor._places[0].processes
        await until(reactor, lambda: len(processes) == 2 and is_stopped(processes[1].pid))
        began = reactor.seconds()
        await supervisor.stopService()
        assert reactor.seconds() - began < 10

    async def test_what_was_replaced_before_one_fails_is_replaced_once_more(self) -> None:
        supervisor = await self.supervised(self.config(), make_nursery=self.nursery_of(ENDS_IN_PLACE_1))
        before = self.pids(supervisor)
        await self.stays(supervisor, before, self.lines, "worker 1: it ended with status 3")
        assert before[0] != self.pids(supervisor)[0]

    async def test_a_second_one_is_reported_while_one_is_under_way(self) -> None:
        supervisor = await self.supervised(self.config())
        for _ in range(2):
            supervisor.restart_workers()
        assert "SIGUSR2: the workers are being replaced already" in self.lines
        await self.restarted(supervisor)

    async def test_it_is_refused_where_too_many_drain(self) -> None:
        supervisor = await self.supervised(self.config())
        clients = []
        for _ in range(COLUMNS_A_PLACE - 1):
            clients.append(self.connected(supervisor, self.sources()[1]))
            assert await self.answer(clients[-1]) == "a"
            supervisor.restart_workers()
            await self.restarted(supervisor)
        before = self.pids(supervisor)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert [line for line in self.lines if "too many processes of worker 1 drain" in line]
        assert self.pids(supervisor) == before
        clients[0].close()
        await until(reactor, lambda: not supervisor._places[1].is_full)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert not {*before} & {*self.pids(supervisor)}
        for client in clients[1:]:
            assert await self.answer(client) == "a"

    async def test_the_new_nursery_may_be_killed(self) -> None:
        supervisor = await self.supervised(self.config())
        before = self.pids(supervisor)
        supervisor.restart_workers()
        supervisor._nurseries.processes[-1].kill("is killed by a test")
        await self.restarted(supervisor)
        assert self.pids(supervisor) == before
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert not {*before} & {*self.pids(supervisor)}

    async def test_the_old_nursery_may_be_killed(self) -> None:
        supervisor = await self.supervised(self.config())
        before = self.pids(supervisor)
        supervisor.restart_workers()
        supervisor._nurseries.processes[0].kill("is killed by a test")
        await self.restarted(supervisor)
        await until(reactor, lambda: len(supervisor._nurseries.processes) == 1)
        after = self.pids(supervisor)
        assert not {*before} & {*after}
        self.send_signal(supervisor, 0, signal.SIGKILL)
        assert await self.answers(supervisor) == ["a"] * WORKERS

    async def test_it_may_be_stopped_meanwhile(self) -> None:
        supervisor = await self.supervised(self.config())
        supervisor.restart_workers()
        await until(reactor, lambda: supervisor._places[0].processes[1:])
        await supervisor.stopService()
        assert self.all_pids(supervisor) == []
