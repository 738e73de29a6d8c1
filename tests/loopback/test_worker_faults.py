"""Faults of workers and of what forks them: each is replaced soon, and nothing else notices."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import ssl
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

from support.certificates import self_signed
from support.sockets import is_closed, until
from support.supervised import SupervisedCase
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig
from tcpbalance.errors import TcpbalanceError
from tcpbalance.workers.nursery_process import NurseryProcess
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

TIMEOUT = 1.0
"""Seconds without an answer after which a worker is ended here."""

WAITS = 0.4
"""Seconds for which one that is to go on is stopped."""

DIES_AFTER_A_FORK = """\
import os
import sys

nursery = sys.modules["__main__"]
fork = nursery._fork_orphan

def fork_and_die(*arguments):
    pid = fork(*arguments)
    with open({path!r}, "a") as file:
        print(pid, file=file)
    os._exit(1)

nursery._fork_orphan = fork_and_die

from tcpbalance.workers.worker import main
"""

STOPS_WHERE_TOLD = """\
import os
import signal
from pathlib import Path

from tcpbalance.workers import worker

def main(request):
    told = Path({path!r})
    if request.content["place"] == 1 and told.exists():
        told.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
    worker.main(request)
"""

CANNOT_FORK_YET = """\
import os
import sys

nursery = sys.modules["__main__"]
fork = nursery._fork_orphan
failures = [None] * 3

def fork_later(*arguments):
    if failures:
        failures.pop()
        raise BlockingIOError(11, os.strerror(11))
    return fork(*arguments)

nursery._fork_orphan = fork_later

from tcpbalance.workers.worker import main
"""


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class WorkerFaultTests(SupervisedCase):
    """Two workers, one of which has a fault."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def first_nursery_of(self, text: str) -> Callable[[Any, str, float], NurseryProcess]:
        """Make the first nursery of another program, and others as they are."""
        (self.folder / "other_worker.py").write_text(text)
        modules = ["other_worker"]

        def make(reactor: Any, module: str, timeout: float) -> NurseryProcess:
            with mock.patch.dict(os.environ, PYTHONPATH=str(self.folder)):
                return NurseryProcess(reactor, modules.pop() if modules else module, timeout)

        return make

    def impatient(self, config: Config) -> Config:
        return attrs.evolve(config, worker_timeout=TIMEOUT)

    def is_replaced(self, supervisor: Supervisor, pid: int) -> bool:
        """Whether another process than that has taken the place of worker 1."""
        return self.pids(supervisor)[1] not in {0, pid}

    async def answer_to(self, supervisor: Supervisor, worker: int, frontend: str = "web") -> str:
        client = self.connected(supervisor, self.sources()[worker], frontend)
        answer = await self.answer(client)
        client.close()
        return answer

    # Stopped for a while

    async def test_one_that_does_not_answer_is_replaced(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        before = self.pids(supervisor)
        self.send_signal(supervisor, 1, signal.SIGSTOP)
        assert await self.answer_to(supervisor, 1) == "a"
        after = self.pids(supervisor)
        assert after[0] == before[0]
        assert after[1] != before[1]
        expected = f"worker 1 (process {before[1]}) has not answered for 1.25 s: it is ended"
        assert expected in self.lines

    async def test_one_that_is_stopped_for_less_goes_on(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        before = self.pids(supervisor)
        for _ in range(4):
            self.send_signal(supervisor, 1, signal.SIGSTOP)
            reactor.callLater(WAITS, os.kill, before[1], signal.SIGCONT)
            assert await self.answer_to(supervisor, 1) == "a"
        assert self.pids(supervisor) == before
        assert [line for line in self.lines if "answer" in line] == []

    async def test_one_that_is_stopped_as_it_starts_does_not_keep_its_clients_waiting(self) -> None:
        told = self.folder / "stop"
        make = self.first_nursery_of(STOPS_WHERE_TOLD.format(path=str(told)))
        supervisor = await self.supervised(self.config(), make_nursery=make)
        told.touch()
        before = self.pids(supervisor)
        self.send_signal(supervisor, 1, signal.SIGKILL)
        assert await self.answer_to(supervisor, 1) == "a"
        assert not told.exists()
        late = "its process is not ready to accept clients in time"
        assert f"worker 1: {late}; its clients wait, and it is tried again" in self.lines
        await until(reactor, lambda: len(supervisor._places[1].processes) == 1)
        assert self.pids(supervisor)[0] == before[0]

    async def test_one_that_drains_and_does_not_answer_is_ended(self) -> None:
        limits = LimitsConfig(connections_per_client=1)
        config = self.config({"web": {"limits": limits}})
        supervisor = await self.supervised(self.impatient(config))
        client = self.connected(supervisor, self.sources()[1])
        assert await self.answer(client) == "a"
        before = self.pids(supervisor)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert before[1] in self.all_pids(supervisor)
        os.kill(before[1], signal.SIGSTOP)
        assert await self.answer_to(supervisor, 1) == ""
        await until(reactor, lambda: before[1] not in self.all_pids(supervisor))
        assert await self.answer_to(supervisor, 1) == "a"

    async def test_one_that_does_not_hand_over_is_ended(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        before = self.pids(supervisor)
        self.send_signal(supervisor, 0, signal.SIGSTOP)
        supervisor.restart_workers()
        await self.restarted(supervisor)
        assert not {*before} & {*self.pids(supervisor)}
        assert [await self.answer_to(supervisor, number) for number in range(2)] == ["a", "a"]

    async def test_one_that_takes_no_messages_is_ended(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        before = self.pids(supervisor)
        (_, process) = supervisor._processes()
        self.send_signal(supervisor, 1, signal.SIGSTOP)
        for _ in range(2000):
            process.send({"nothing": "x" * 1000})
        assert "worker 1 takes no messages, and is given up: 1000 wait for it" in self.lines
        assert await self.answer_to(supervisor, 0) == "a"
        assert await self.answer_to(supervisor, 1) == "a"
        assert before[1] not in self.all_pids(supervisor)

    async def test_one_that_gets_sigterm_drains_and_is_replaced(self) -> None:
        limits = LimitsConfig(connections_per_client=2)
        supervisor = await self.supervised(self.config({"web": {"limits": limits}}))
        client = self.connected(supervisor, self.sources()[1])
        assert await self.answer(client) == "a"
        pid = self.send_signal(supervisor, 1, signal.SIGTERM)
        await until(reactor, partial(self.is_replaced, supervisor, pid))
        assert [line for line in self.lines if f"worker 1 (process {pid}) has got SIGTERM" in line]
        assert await self.answer(client) == "a"
        second = self.connected(supervisor, self.sources()[1])
        assert await self.answer(second) == "a"
        assert await self.answer_to(supervisor, 1) == ""
        client.close()
        await until(reactor, lambda: pid not in self.all_pids(supervisor))
        assert await self.answer_to(supervisor, 1) == "a"

    async def test_one_that_cannot_do_what_it_is_asked_is_replaced_and_its_sessions_go_on(self) -> None:
        limits = LimitsConfig(connections_per_client=2)
        supervisor = await self.supervised(self.config({"web": {"limits": limits}}))
        client = self.connected(supervisor, self.sources()[1])
        assert await self.answer(client) == "a"
        pid = self.pids(supervisor)[1]
        process = supervisor._places[1].process
        assert process is not None
        process.send({"files": "not of one length", "descriptors": 0}, [0])
        await until(reactor, partial(self.is_replaced, supervisor, pid))
        assert [line for line in self.lines if line.startswith("worker 1: files: ")]
        assert not [line for line in self.lines if "SIGTERM" in line or "ended with status" in line]
        second = self.connected(supervisor, self.sources()[1])
        assert await self.answer(second) == "a"
        assert await self.answer_to(supervisor, 1) == ""
        assert await self.answer(client) == "a"

    # What forks

    async def test_a_nursery_that_does_not_answer_is_replaced(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        (nursery,) = supervisor._nurseries.processes
        nursery.transport.signalProcess("STOP")
        self.send_signal(supervisor, 1, signal.SIGKILL)
        assert await self.answer_to(supervisor, 0) == "a"
        assert await self.answer_to(supervisor, 1) == "a"
        assert [line for line in self.lines if "the process that forks workers has not answered" in line]
        # One that is not asked needs not answer.
        (nursery,) = supervisor._nurseries.processes
        nursery.transport.signalProcess("STOP")
        assert await self.answer_to(supervisor, 1) == "a"

    async def test_a_nursery_that_is_stopped_ends_with_all_others(self) -> None:
        supervisor = await self.supervised(self.impatient(self.config()))
        (nursery,) = supervisor._nurseries.processes
        nursery.transport.signalProcess("STOP")
        await supervisor.stopService()
        assert nursery.ended.called

    def lacking(self, failures: list[None]) -> Callable[[Any, str, float], NurseryProcess]:
        """Make nurseries, but fail so often for want of memory."""

        def make(reactor: Any, module: str, timeout: float) -> NurseryProcess:
            if failures:
                failures.pop()
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return NurseryProcess(reactor, module, timeout)

        return make

    async def test_a_nursery_that_cannot_be_run_is_tried_again(self) -> None:
        failures: list[None] = []
        supervisor = await self.supervised(self.config(), make_nursery=self.lacking(failures))
        failures += [None] * 3
        (nursery,) = supervisor._nurseries.processes
        nursery.kill("is killed by a test")
        await until(reactor, lambda: not failures)
        self.send_signal(supervisor, 1, signal.SIGKILL)
        assert [await self.answer_to(supervisor, number) for number in range(2)] == ["a", "a"]
        assert [line for line in self.lines if line.endswith("cannot be run: cannot allocate memory")]

    async def test_a_nursery_that_cannot_be_run_leaves_the_workers_as_they_are(self) -> None:
        failures: list[None] = []
        supervisor = await self.supervised(self.config(), make_nursery=self.lacking(failures))
        before = self.pids(supervisor)
        failures.append(None)
        supervisor.restart_workers()
        assert not failures
        assert not supervisor._restart.is_running
        assert [line for line in self.lines if line.startswith("the workers stay: ")]
        assert [await self.answer_to(supervisor, number) for number in range(2)] == ["a", "a"]
        assert self.pids(supervisor) == before

    async def test_the_first_nursery_that_cannot_be_run_is_the_end_of_the_start(self) -> None:
        failures: list[None] = [None]
        with pytest.raises(TcpbalanceError, match="cannot be run: cannot allocate memory"):
            await self.supervised(self.config(), make_nursery=self.lacking(failures))

    async def test_a_fork_that_fails_is_tried_again(self) -> None:
        make = self.first_nursery_of(CANNOT_FORK_YET)
        supervisor = await self.supervised(self.config(), make_nursery=make)
        failed = "a worker cannot be forked: Resource temporarily unavailable"
        # The first tries of both fail, and the next one of one of them, which is not logged again.
        assert [line for line in self.lines if failed in line] == [
            f"worker {number}: {failed}; its clients wait, and it is tried again" for number in range(2)
        ]
        assert [await self.answer_to(supervisor, number) for number in range(2)] == ["a", "a"]

    async def without_descriptors(self, what: str) -> list[str]:
        """Kill a worker while the supervisor has no descriptor left for something; give what is logged."""
        supervisor = await self.supervised(self.config())
        lines = len(self.lines)
        call, failures = getattr(os if what == "dup" else socket, what), [None] * 3

        def fail_at_first(*arguments: Any, **keys: Any) -> Any:
            if failures:
                failures.pop()
                raise OSError(24, os.strerror(24))
            return call(*arguments, **keys)

        self.send_signal(supervisor, 1, signal.SIGKILL)
        with mock.patch.object(os if what == "dup" else socket, what, fail_at_first):
            await until(reactor, lambda: not failures)
        assert await self.answer_to(supervisor, 1) == "a"
        assert await self.answer_to(supervisor, 0) == "a"
        return self.lines[lines:]

    async def test_no_descriptor_for_the_messages_of_a_worker(self) -> None:
        lines = await self.without_descriptors("socketpair")
        assert [line for line in lines if line.startswith("worker 1 cannot be started: too many open files")]

    async def test_no_descriptor_to_watch_a_worker(self) -> None:
        lines = await self.without_descriptors("dup")
        assert [line for line in lines if "worker 1: a worker cannot be watched: too many open files" in line]

    async def test_workers_whose_numbers_are_lost_with_the_nursery_do_not_begin(self) -> None:
        path = self.folder / "pids"
        make = self.first_nursery_of(DIES_AFTER_A_FORK.format(path=str(path)))
        supervisor = await self.supervised(self.impatient(self.config()), make_nursery=make)
        assert [await self.answer_to(supervisor, number) for number in range(2)] == ["a", "a"]
        (lost,) = map(int, path.read_text().split())
        assert lost not in self.all_pids(supervisor)
        # It ends, and is reaped.
        await until(reactor, lambda: not Path(f"/proc/{lost}").exists())

    # Killed in the middle of something

    def unreachable(self) -> str:
        """Give the address of a server whose queue is full: connecting takes long."""
        server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(server.close)
        for _ in range(2):
            fills = socket.socket()
            self.addCleanup(fills.close)
            fills.setblocking(False)
            fills.connect_ex(server.getsockname())
        return "{}:{}".format(*server.getsockname())

    def beside(self, **keys: Any) -> Config:
        """A frontend with other keys beside one that serves at once."""
        pool = keys.pop("pool", None) or self.pool("a")
        return self.config({"web": {"pool": "other", **keys}, "plain": {}}, web=self.pool("b"), other=pool)

    async def killed_with(self, config: Config, say: bytes = b"", sessions: int = 1) -> None:
        """Kill a worker that has sessions of which the last is in the middle of something."""
        supervisor = await self.supervised(config)
        clients = [self.connected(supervisor, self.sources()[1]) for _ in range(sessions)]
        for client in clients:
            client.send(say)
        other = self.connected(supervisor, self.sources()[0], "plain")
        assert await self.answer(other) == "b"
        assert await self.answer_to(supervisor, 1, "plain") == "b"
        before = self.pids(supervisor)
        self.send_signal(supervisor, 1, signal.SIGKILL)
        for client in clients:
            await until(reactor, partial(is_closed, client))
        assert await self.answer(other) == "b"
        assert await self.answer_to(supervisor, 1, "plain") == "b"
        assert self.pids(supervisor)[0] == before[0]

    async def test_killed_in_a_proxy_header(self) -> None:
        await self.killed_with(self.beside(accept_proxy_protocol=("127.0.0.0/8",)), b"PROXY TCP4 ")

    async def test_killed_in_a_handshake(self) -> None:
        certificate, key = self_signed(self.folder, "localhost")
        tls = FrontendTlsConfig(certificates=(CertificateConfig(cert=str(certificate), key=str(key)),))
        await self.killed_with(self.beside(tls=tls), client_hello()[:50])

    async def test_killed_in_a_dial(self) -> None:
        backends = (BackendConfig(address=self.unreachable(), name="hangs"),)
        await self.killed_with(self.beside(pool=PoolConfig(backends=backends)))

    async def test_killed_with_a_queue(self) -> None:
        backends = (BackendConfig(address=self.servers["a"], name="a", max_connections=1),)
        await self.killed_with(self.beside(pool=PoolConfig(backends=backends, queue=10)), sessions=5)

    async def test_killed_in_a_relay(self) -> None:
        await self.killed_with(self.beside(), sessions=5)

    async def test_killed_between_accepts(self) -> None:
        """Each client is served or sees an end, while workers are killed as they accept."""
        supervisor = await self.supervised(self.config())
        over: list[bool] = []
        answers: list[str] = []
        coming = self.come_and_go(supervisor, answers, over)
        for _ in range(5):
            served = len(answers)
            await until(reactor, partial(has_more, answers, served + 50))
            killed = self.send_signal(supervisor, 1, signal.SIGKILL)
            await until(reactor, partial(self.is_replaced, supervisor, killed))
        over.append(True)
        await gatherResults(coming)
        # One in an accept, or in a relay, for each of those that come at the same time.
        assert answers.count("") <= 5 * len(coming)
        assert {*answers} <= {"", "a"}


def has_more(items: list[str], number: int) -> bool:
    return len(items) > number


def client_hello() -> bytes:
    """What a client of TLS sends first."""
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()
