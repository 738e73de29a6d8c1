"""Names that c-ares looks up, at a name server of our own."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pycares
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from support.descriptors import no_descriptor_free, open_descriptors, opened_since
from support.name_server import NO_SUCH_NAME, REFUSED, SERVER_FAILURE, FakeNameServer
from support.sockets import fired, until
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver import cares, hosts_file
from tcpbalance.net.resolver.answer import Host, Reply, Verdict
from tcpbalance.net.resolver.blocking import look_up_all
from tcpbalance.net.resolver.cares import CaresEngine
from tcpbalance.net.resolver.knowledge import verdict_of

reactor: Any = global_reactor


HOSTS = """# A comment
10.0.0.1 first.example other.example # another
  2001:db8::1\tOTHER.example
not-an-address other.example
fe80::1%nosuch0 other.example
10.0.0.2 other.example other.example
10.0.0.3
"""


def ipv4(*addresses: str) -> tuple[Host, ...]:
    return tuple(Host(socket.AF_INET, address) for address in addresses)


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


class CaresEngineTests(TestCase):
    """``CaresEngine`` against a server that answers, fails and is silent."""

    timeout = 30

    def setUp(self) -> None:
        self.server = FakeNameServer().open()
        self.addCleanup(self.server.close)
        self.engine = self.make_engine()

    def make_engine(self, **settings: Any) -> CaresEngine:
        self.config = ResolverConfig(servers=(self.server.address,), **{"timeout": 0.1, **settings})
        engine = CaresEngine(reactor, self.config)
        self.addCleanup(self.nothing_is_left, open_descriptors(), threads())
        self.addCleanup(engine.stop)
        return engine

    async def nothing_is_left(self, descriptors: dict[int, str], threads_before: int) -> None:
        # One thread that closes channels is pycares' own and stays; pipes for signals are the reactor's.
        def left() -> bool:
            opened = [what for what in opened_since(descriptors).values() if not what.startswith("pipe:")]
            return bool(opened) or threads() > threads_before + 1

        await until(reactor, lambda: not left())

    async def test_nothing_is_open_between_two_questions(self) -> None:
        descriptors, threads_before = open_descriptors(), threads()
        for name in ("db.test", "localhost", "a" * 70):
            await self.engine.ask(name)
            await self.nothing_is_left(descriptors, threads_before)

    async def test_a_channel_takes_questions_for_a_while_only(self) -> None:
        self.server.is_mute = True
        await self.engine.ask("localhost")  # The hosts file has been read.
        first = fired(self.engine.ask("a.test"))
        second = fired(self.engine.ask("b.test"))
        assert len(self.engine._open) == 1
        self.patch(cares, "MAX_AGE", 0.0)
        third = fired(self.engine.ask("c.test"))
        assert len(self.engine._open) == 2
        await until(reactor, lambda: len(self.server.asked) == 6)
        self.server.is_mute = False
        await until(reactor, lambda: first and second and third)
        assert self.engine._open == []

    async def test_channels_are_few_while_a_server_is_silent(self) -> None:
        self.patch(cares, "MAX_AGE", 0.0)
        self.server.is_mute = True
        await self.engine.ask("localhost")
        questions = [fired(self.engine.ask(f"{number}.test")) for number in range(20)]
        assert len(self.engine._open) == cares.MAX_CHANNELS
        self.engine.stop()
        await until(reactor, lambda: all(questions))

    async def test_stopped_it_leaves_no_channel_open_however_old(self) -> None:
        descriptors, threads_before = open_descriptors(), threads()
        engine = self.make_engine(timeout=60)
        self.patch(cares, "MAX_AGE", 0.0)
        self.server.is_mute = True
        questions = [fired(engine.ask(name)) for name in ("a.test", "b.test")]
        await until(reactor, lambda: len(self.server.asked) == 4)
        engine.stop()
        await self.nothing_is_left(descriptors, threads_before)
        await until(reactor, lambda: all(questions))

    async def verdict(self, host: str) -> Verdict:
        return verdict_of(await self.engine.ask(host))

    async def test_both_families_are_asked_for_once(self) -> None:
        self.server.addresses["db.test"] = ["127.0.0.2", "127.0.0.3", "2001:db8::1"]
        reply = await self.engine.ask("db.test")
        assert sorted(reply.ipv4.hosts, key=str) == list(ipv4("127.0.0.2", "127.0.0.3"))
        assert reply.ipv6.hosts == (Host(socket.AF_INET6, "2001:db8::1"),)
        assert reply.ipv4.ttl == reply.ipv6.ttl == 60
        assert sorted(self.server.asked) == [("db.test", "A"), ("db.test", "AAAA")]

    async def test_the_time_to_live_is_that_of_the_whole_chain(self) -> None:
        self.server.aliases["db.test"] = ("real.test", 7)
        self.server.addresses["real.test"] = ["127.0.0.2"]
        reply = await self.engine.ask("db.test")
        assert (reply.ipv4.hosts, reply.ipv4.ttl) == (ipv4("127.0.0.2"), 7)

    async def test_a_chain_that_leads_back_to_itself_has_no_address(self) -> None:
        self.server.aliases["loop.test"] = ("loop.test", 7)
        self.server.addresses["loop.test"] = []
        assert await self.verdict("loop.test") is Verdict.NO_ADDRESS

    async def test_causes_are_told_apart(self) -> None:
        self.server.addresses["empty.test"] = []
        self.server.failures |= {
            "fails.test": SERVER_FAILURE,
            "refused.test": REFUSED,
            "no.test": NO_SUCH_NAME,
        }
        assert await self.verdict("no.test") is Verdict.NO_SUCH_NAME
        assert await self.verdict("empty.test") is Verdict.NO_ADDRESS
        assert await self.verdict("fails.test") is Verdict.SERVER_FAILURE
        assert await self.verdict("refused.test") is Verdict.REFUSED
        assert await self.verdict("a" * 70 + ".test") is Verdict.BAD_NAME
        assert await self.verdict("\N{SNOWMAN}" * 70) is Verdict.BAD_NAME
        self.server.is_mute = True
        assert await self.verdict("other.test") is Verdict.TIMED_OUT
        self.server.close()
        assert await self.verdict("third.test") is Verdict.UNREACHABLE

    async def test_one_family_that_fails_does_not_empty_the_other(self) -> None:
        self.server.addresses["db.test"] = ["127.0.0.2", "2001:db8::1"]
        self.server.failures["db.test", "AAAA"] = SERVER_FAILURE
        reply = await self.engine.ask("db.test")
        assert reply.ipv4.hosts == ipv4("127.0.0.2")
        assert reply.ipv6.verdict is Verdict.SERVER_FAILURE

    async def test_the_hosts_file_comes_first(self) -> None:
        reply = await self.engine.ask("localhost")
        assert ipv4("127.0.0.1")[0] in reply.ipv4.hosts
        assert self.server.asked == []

    def note_reading(self) -> list[str]:
        """Give a list that gets the thread of each reading of the hosts file, which is another one here."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.hosts = Path(folder) / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.patch(hosts_file, "PATH", str(self.hosts))
        threads: list[str] = []
        read = hosts_file._names_in_file

        def note() -> dict[str, list[str]]:
            threads.append(threading.current_thread().name)
            return read()

        self.patch(hosts_file, "_names_in_file", note)
        return threads

    async def test_the_hosts_file_is_read_in_a_thread_when_it_has_changed(self) -> None:
        """A long one takes seconds."""
        reading = self.note_reading()
        assert (await self.engine.ask("localhost")).ipv4.hosts == ipv4("127.0.0.1")
        await self.engine.ask("localhost")
        assert reading == ["hosts file"]
        self.hosts.write_text(HOSTS)
        questions = [fired(self.engine.ask("Other.example.")) for _ in range(5)]
        await until(reactor, lambda: all(questions))
        assert reading == ["hosts file"] * 2
        assert {reply.ipv4.hosts for (reply,) in questions} == {ipv4("10.0.0.1", "10.0.0.2")}
        (reply,) = questions[0]
        assert reply.ipv6.hosts == (Host(socket.AF_INET6, "2001:db8::1"),)
        self.hosts.unlink()
        assert (await self.engine.ask("localhost")).ipv4.hosts == ipv4("127.0.0.1")
        assert reading == ["hosts file"] * 3
        assert await self.verdict("other.example") is Verdict.NO_SUCH_NAME

    async def test_stopped_while_the_hosts_file_is_read(self) -> None:
        question = fired(self.engine.ask("db.test"))
        self.engine.stop()
        assert not self.engine._hosts_file._waiting
        await until(reactor, lambda: not self.engine._hosts_file._is_being_read)
        assert (question, self.engine._open, self.server.asked) == ([], [], [])

    async def test_a_hosts_file_for_which_there_was_no_descriptor_is_read_later(self) -> None:
        await deferLater(reactor, 0)  # The start of the reactor takes some.
        with no_descriptor_free():
            assert await self.verdict("localhost") is Verdict.NO_DESCRIPTOR
        assert (await self.engine.ask("localhost")).ipv4.hosts == ipv4("127.0.0.1")

    async def test_a_hosts_file_that_cannot_be_read_for_want_of_memory(self) -> None:
        def no_memory() -> None:
            raise MemoryError

        self.patch(hosts_file, "_names_in_file", no_memory)
        assert await self.verdict("db.test") is Verdict.NO_MEMORY

    def use_search_domains(self, *domains: str) -> None:
        """Let the system's configuration have these."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = Path(folder) / "resolv.conf"
        path.write_text(f"search {' '.join(domains)}\n")
        self.patch(pycares, "Channel", partial(pycares.Channel, resolvconf_path=str(path)))

    async def test_search_domains_are_tried(self) -> None:
        self.use_search_domains("a.test", "b.test")
        self.server.addresses |= {"db.b.test": ["127.0.0.2", "::1"], "db.x": ["127.0.0.3"]}
        reply = await self.engine.ask("db")
        assert reply.ipv4.hosts == ipv4("127.0.0.2")
        assert len(reply.ipv6.hosts) == 1
        assert (await self.engine.ask("db.x")).ipv4.hosts == ipv4("127.0.0.3")

    async def test_one_name_is_used_where_each_family_has_another(self) -> None:
        self.use_search_domains("a.test", "b.test")
        self.server.addresses |= {
            "db.a.test": ["127.0.0.2"],
            "db.b.test": ["::1"],
            "six.example": ["::1"],
            "six.example.a.test": ["127.0.0.2"],
        }
        reply = await self.engine.ask("db")
        assert (reply.ipv4.hosts, reply.ipv6.hosts) == (ipv4("127.0.0.2"), ())
        reply = await self.engine.ask("six.example")
        assert (reply.ipv4.hosts, len(reply.ipv6.hosts)) == ((), 1)

    async def test_no_answer_comes_from_an_older_question(self) -> None:
        self.server.addresses["db.test"] = ["127.0.0.2"]
        assert (await self.engine.ask("db.test")).ipv4.hosts == ipv4("127.0.0.2")
        self.server.addresses["db.test"] = ["127.0.0.3"]
        assert (await self.engine.ask("db.test")).ipv4.hosts == ipv4("127.0.0.3")

    async def test_questions_at_one_time_share_what_is_open(self) -> None:
        before = open_descriptors()
        self.server.is_mute = True
        questions = [fired(self.engine.ask(f"{number}.test")) for number in range(50)]
        await until(reactor, lambda: len(self.server.asked) >= 50)
        assert len(opened_since(before)) < 10
        self.engine.stop()
        await until(reactor, lambda: all(questions))

    async def test_stopped_while_a_server_is_silent(self) -> None:
        self.server.is_mute = True
        question = self.engine.ask("db.test")
        outcome = fired(question)
        await until(reactor, lambda: self.server.asked)
        question.cancel()
        self.engine.stop()
        assert outcome
        self.server.is_mute = False
        self.server.addresses["db.test"] = ["127.0.0.2"]
        assert (await self.engine.ask("db.test")).ipv4.hosts == ipv4("127.0.0.2")

    async def test_out_of_descriptors(self) -> None:
        class Full:
            def __init__(self, **_: object) -> None:
                raise OSError("no channel")

        def no_socket(*_: object) -> None:
            raise OSError(24, "too many open files")

        self.patch(pycares, "Channel", Full)
        self.patch(socket, "socket", no_socket)
        assert await self.verdict("db.test") is Verdict.NO_DESCRIPTOR

    async def test_ipv6_comes_first_only_where_there_is_a_way(self) -> None:
        self.server.addresses |= {
            "here.test": ["127.0.0.1", "::1"],
            "local.test": ["127.0.0.1", "fd00::1"],
            "far.test": ["127.0.0.1", "2001:db8::1"],
        }
        assert (await self.engine.ask("here.test")).ipv6_first
        assert not (await self.engine.ask("local.test")).ipv6_first

        class Unrouted(socket.socket):
            def connect_ex(self, address: Any, /) -> int:
                return 101

        self.patch(socket, "socket", Unrouted)
        assert not (await self.engine.ask("far.test")).ipv6_first

    async def test_without_a_reactor(self) -> None:
        self.server.addresses["db.test"] = ["127.0.0.2"]
        replies = look_up_all(["db.test", "localhost", "no.test"], self.config, 10.0)
        verdicts = {host: verdict_of(reply) for host, reply in replies.items()}
        found, absent = Verdict.FOUND, Verdict.NO_SUCH_NAME
        assert verdicts == {"db.test": found, "localhost": found, "no.test": absent}
        assert replies["db.test"].addresses == ["127.0.0.2"]

    async def test_an_answer_after_the_end_of_the_reactor_is_nobodys_business(self) -> None:
        ended = threading.Event()

        class Ended:
            seconds = staticmethod(reactor.seconds)

            def callFromThread(self, *_: object) -> None:
                ended.set()
                raise RuntimeError("Event loop is closed")

        engine = CaresEngine(Ended(), self.config)
        self.addCleanup(engine.stop)
        replies: list[Reply] = fired(engine.ask("db.test"))
        await until(reactor, ended.is_set)
        assert replies == []
