"""Names that the system looks up: those that hang keep neither others from being looked up nor the process
from ending."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from support.sockets import fired, until
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver import system
from tcpbalance.net.resolver.answer import Host, Reply, Verdict
from tcpbalance.net.resolver.blocking import look_up_all
from tcpbalance.net.resolver.knowledge import verdict_of
from tcpbalance.net.resolver.system import MAX_LOOKUPS, TTL, SystemEngine

reactor: Any = global_reactor

HERE = Host(socket.AF_INET, "127.0.0.1")


def lookup_threads() -> int:
    return sum(thread.name == "names" for thread in threading.enumerate())


class Ended:
    """A reactor that says that it has ended, as the one on asyncio does."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def callFromThread(self, *_: object) -> None:
        self.told.set()
        raise RuntimeError("Event loop is closed")


class SystemEngineTests(TestCase):
    """Lookups by a resolver of our own: names that begin with ``hang`` are answered when they are let go."""

    timeout = 30

    def setUp(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()
        self.patch(socket, "getaddrinfo", self.answer)
        self.addCleanup(self.no_thread_is_left)

    def answer(self, host: str, *_: object) -> list[Any]:
        self.asked.append(host)
        if host.startswith("hang"):
            self.let_go.wait()
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]

    async def no_thread_is_left(self) -> None:
        self.let_go.set()
        await until(reactor, lambda: not lookup_threads())

    def engine(self, told: Any = reactor) -> SystemEngine:
        engine = SystemEngine(told)
        self.addCleanup(engine.stop)
        return engine

    async def verdict(self, error: Exception) -> Verdict:
        def fail(*_: object) -> list[Any]:
            raise error

        self.patch(socket, "getaddrinfo", fail)
        return verdict_of(await self.engine().ask("db.example"))

    async def test_hanging_names_do_not_hold_up_others(self) -> None:
        engine = self.engine()
        hanging = [fired(engine.ask(f"hang{number}")) for number in range(MAX_LOOKUPS - 1)]
        assert (await engine.ask("db.example")).ipv4.hosts == (HERE,)
        assert not any(hanging)
        self.let_go.set()
        await until(reactor, lambda: all(hanging))

    async def test_hanging_names_leave_the_threads_of_the_reactor_alone(self) -> None:
        hanging = fired(self.engine().ask("hang"))
        await until(reactor, lambda: self.asked)
        assert reactor.getThreadPool().working == []
        self.let_go.set()
        await until(reactor, lambda: hanging)

    async def test_no_more_than_so_many_are_looked_up_at_one_time(self) -> None:
        self.patch(system, "MAX_LOOKUPS", 2)
        engine = self.engine()
        hanging = [fired(engine.ask(f"hang{number}")) for number in range(5)]
        # A thread is started, or not, before ``ask`` returns.
        assert lookup_threads() == 2
        await until(reactor, lambda: len(self.asked) == 2)
        self.let_go.set()
        await until(reactor, lambda: all(hanging))
        assert len(self.asked) == 5
        assert lookup_threads() == 2

    async def test_one_thread_serves_lookups_that_follow_each_other(self) -> None:
        engine = self.engine()
        for _ in range(5):
            await engine.ask("db.example")
        assert lookup_threads() == 1

    async def test_a_cancelled_question_is_answered_to_nobody(self) -> None:
        engine = self.engine()
        question = engine.ask("hang")
        outcome = fired(question)
        question.cancel()
        assert outcome
        self.let_go.set()
        assert (await engine.ask("db.example")).ipv4.hosts == (HERE,)

    async def test_started_again_while_lookups_from_before_hang(self) -> None:
        engine = self.engine()
        for number in range(3):
            engine.ask(f"hang{number}")
        await until(reactor, lambda: len(self.asked) == 3)
        engine.stop()
        assert (await engine.ask("db.example")).ipv4.hosts == (HERE,)

    async def test_what_waits_for_a_thread_is_not_looked_up_once_stopped(self) -> None:
        self.patch(system, "MAX_LOOKUPS", 1)
        engine = self.engine()
        for name in ("hang", "never.example"):
            engine.ask(name)
        await until(reactor, lambda: self.asked)
        engine.stop()
        self.let_go.set()
        await self.no_thread_is_left()
        assert self.asked == ["hang"]

    async def test_an_answer_after_the_end_of_the_reactor_is_nobodys_business(self) -> None:
        ended = Ended()
        engine = self.engine(ended)
        engine.ask("db.example")
        await until(reactor, ended.told.is_set)
        ended.told.clear()
        engine.ask("other.example")
        # The thread has outlived the first.
        await until(reactor, ended.told.is_set)

    async def test_no_room_for_a_thread_is_our_own_fault(self) -> None:
        def no_room(_: object) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", no_room)
        assert verdict_of(await self.engine().ask("db.example")) is Verdict.NO_MEMORY

    async def test_the_order_of_the_families_is_that_of_the_system(self) -> None:
        places: list[tuple[Any, ...]] = [
            ("10.0.0.2", 0),
            ("10.0.0.1", 0),
            ("fe80::1", 0, 0, 3),
            ("10.0.0.2", 0),
        ]
        found = [
            (socket.AF_INET6 if ":" in place[0] else socket.AF_INET, 1, 6, "", place) for place in places
        ]
        self.patch(socket, "getaddrinfo", lambda *_: found)
        reply = await self.engine().ask("db.example")
        hosts = (Host(socket.AF_INET, "10.0.0.2"), Host(socket.AF_INET, "10.0.0.1"))
        expected = Reply.of_hosts((*hosts, Host(socket.AF_INET6, "fe80::1", 3)), TTL)
        assert reply == expected
        assert not reply.ipv6_first

    async def test_causes_are_told_apart_as_far_as_the_system_does(self) -> None:
        for error, verdict in (
            (socket.gaierror(socket.EAI_NONAME, "unknown"), Verdict.NO_SUCH_NAME),
            (socket.gaierror(socket.EAI_NODATA, "no address"), Verdict.NO_ADDRESS),
            (socket.gaierror(socket.EAI_AGAIN, "temporary"), Verdict.SERVER_FAILURE),
            (socket.gaierror(socket.EAI_FAIL, "failure"), Verdict.SERVER_FAILURE),
            (socket.gaierror(-999, "new"), Verdict.UNKNOWN),
            (OSError(errno.EMFILE, "too many"), Verdict.NO_DESCRIPTOR),
            (OSError(errno.ENOMEM, "no memory"), Verdict.NO_MEMORY),
            (OSError(errno.EIO, "broken"), Verdict.UNKNOWN),
            (UnicodeError("label too long"), Verdict.BAD_NAME),
        ):
            assert (error, await self.verdict(error)) == (error, verdict)

    async def test_without_a_reactor(self) -> None:
        self.let_go.set()
        replies = look_up_all(["hang", "db.example"], ResolverConfig(engine="system"), 10.0)
        verdicts = {host: verdict_of(reply) for host, reply in replies.items()}
        assert verdicts == {"hang": Verdict.FOUND, "db.example": Verdict.FOUND}

    async def test_without_a_reactor_it_does_not_wait_for_ever(self) -> None:
        config = ResolverConfig(engine="system")
        assert look_up_all(["hang"], config, 0.05) == {"hang": Reply.failed(Verdict.TIMED_OUT)}
