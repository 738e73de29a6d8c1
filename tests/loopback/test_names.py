"""Names that hang keep neither others from being looked up nor the process from ending."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from support.sockets import fired, until
from tcpbalance.net import names as names_module
from tcpbalance.net.names import AT_ONCE, Names, Target, names_of

reactor: Any = global_reactor


class Ended:
    """A reactor that says that it has ended, as the one on asyncio does."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def callFromThread(self, *_: object) -> None:
        self.told.set()
        raise RuntimeError("Event loop is closed")


class NamesTests(TestCase):
    """Lookups by a resolver of our own: names that begin with ``hang`` are answered when they are let go."""

    timeout = 30

    def setUp(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()
        self.addCleanup(self.let_go.set)
        self.patch(socket, "getaddrinfo", self.answer)

    def answer(self, host: str, port: int, *_: object) -> list[Any]:
        self.asked.append(host)
        if host.startswith("hang"):
            self.let_go.wait()
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    async def test_hanging_names_do_not_hold_up_others(self) -> None:
        names = Names(reactor)
        hanging = [fired(names.look_up(f"hang{number}", 1)) for number in range(AT_ONCE - 1)]
        assert await names.look_up("db.example", 5432) == [(socket.AF_INET, ("127.0.0.1", 5432))]
        assert not any(hanging)
        self.let_go.set()
        await until(reactor, lambda: all(hanging))

    async def test_hanging_names_leave_the_threads_of_the_reactor_alone(self) -> None:
        names = Names(reactor)
        hanging = fired(names.look_up("hang", 1))
        await until(reactor, lambda: self.asked)
        assert reactor.getThreadPool().working == []
        self.let_go.set()
        await until(reactor, lambda: hanging)

    async def test_what_is_beyond_the_bound_waits_for_its_turn(self) -> None:
        self.patch(names_module, "AT_ONCE", 2)
        names = Names(reactor)
        hanging = [fired(names.look_up(f"hang{number}", 1)) for number in range(2)]
        third = fired(names.look_up("db.example", 1))
        await until(reactor, lambda: len(self.asked) == 2)
        assert not third
        self.let_go.set()
        await until(reactor, lambda: all(hanging) and third)

    async def test_one_thread_serves_lookups_that_follow_each_other(self) -> None:
        names = Names(reactor)
        before = threading.active_count()
        for _ in range(5):
            await names.look_up("db.example", 1)
        assert threading.active_count() == before + 1

    async def test_who_cancels_takes_nothing_from_the_others(self) -> None:
        names = Names(reactor)
        one, other = names.look_up("hang", 1), names.look_up("hang", 1)
        outcome = fired(one)
        one.cancel()
        assert outcome
        self.let_go.set()
        assert len(await other) == 1

    async def test_an_answer_after_the_end_of_the_reactor_is_nobodys_business(self) -> None:
        ended = Ended()
        names = Names(ended)
        names.look_up("db.example", 1)
        await until(reactor, ended.told.is_set)
        ended.told.clear()
        names.look_up("other.example", 1)
        # The thread has outlived the first.
        await until(reactor, ended.told.is_set)

    async def test_no_room_for_a_thread_is_our_own_fault(self) -> None:
        def no_room(_: object) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", no_room)
        with self.assertRaises(OSError) as caught:
            await Names(reactor).look_up("db.example", 1)
        assert caught.exception.errno == errno.ENOMEM

    async def test_all_of_one_reactor_share(self) -> None:
        assert names_of(reactor) is names_of(reactor)
        other = Ended()
        assert names_of(other) is not names_of(reactor)
        await deferLater(reactor, 0)

    async def test_targets_are_in_the_order_of_the_resolver(self) -> None:
        found: list[Target] = [(socket.AF_INET, ("127.0.0.2", 1)), (socket.AF_INET, ("127.0.0.1", 1))]
        self.patch(socket, "getaddrinfo", lambda *_: [(family, 1, 6, "", addr) for family, addr in found])
        assert await Names(reactor).look_up("db.example", 1) == found
