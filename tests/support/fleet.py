"""A supervisor's pools and the balancers of its workers in one process, with messages in lists."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock

from tcpbalance import Balancer, Config, ProbeFailed, Target
from tcpbalance.build import Parts, PreparedConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.common_affinity import CommonAffinity
from tcpbalance.workers.common_bans import CommonBans
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.common_status import CommonStatus
from tcpbalance.workers.followed_pools import FollowedPools
from tcpbalance.workers.messages import MAX_MESSAGE, Message
from tcpbalance.workers.shared_state import SharedState, word_of


@define(eq=False)
class ScriptedProbe:
    """Passes, but for backends in *down*; gives no answer while it hangs."""

    down: set[str] = field(factory=set)
    hangs: bool = False
    asked: list[str] = field(factory=list)
    waiting: list[tuple[str, Deferred[None]]] = field(factory=list)

    def check(self, target: Target) -> Deferred[None]:
        self.asked.append(target.name)
        if self.hangs:
            self.waiting.append((target.name, Deferred()))
            return self.waiting[-1][1]
        return self._verdict(target.name)

    def _verdict(self, name: str) -> Deferred[None]:
        if name in self.down:
            raise ProbeFailed("refused")
        return succeed(None)

    def answer(self) -> None:
        """Let the checks under way pass."""
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for _, answer in waiting:
            answer.callback(None)


class Worker:
    """A process that serves; see ``ToWorker``.

    :ivar inbox: what was sent to it, and has not come yet.
    :ivar sent: what it has sent, and has not come yet.
    """

    def __init__(self, place: int, config: Config, reactor: Any) -> None:
        self.place = self.column = place
        self.inbox: deque[dict[str, Any]] = deque()
        self.sent: deque[dict[str, Any]] = deque()
        self.count = 0
        self.following = FollowedPools(reactor, lambda content: self.sent.append(packed(content)))
        self.balancer = Balancer.from_config(reactor, config, clock=reactor.seconds, following=self.following)
        self.balancer.prepare()

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        self.count += 1
        self.inbox.append(packed(content))

    def pool(self, name: str = "web") -> Pool:
        (found,) = [pool for pool in self.balancer._served.pools if pool.name == name]
        return found

    def backend(self, name: str, pool: str = "web") -> Backend:
        (found,) = [backend for backend in self.pool(pool).backends if backend.name == name]
        return found

    @property
    def states(self) -> dict[str, str]:
        return {backend.name: backend.state for backend in self.pool().backends}

    @property
    def accepts(self) -> bool:
        return all(service.opened.called for service in self.balancer._served.frontends.values())


class Fleet:
    """All of them.

    :param config: of all.
    :ivar pools: the supervisor's.
    """

    def __init__(self, config: Config, workers: int = 2) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.config = config
        self.parts = Parts.of(config, self.reactor, self.reactor.seconds)
        self.pools = CommonPools(self.reactor, self.parts, clock=self.reactor.seconds)
        self.statuses = CommonStatus(self.reactor, self.pools)
        self.bans = CommonBans(self.reactor, self.reactor.seconds, config)
        self.affinity = CommonAffinity(self.reactor, self.pools, workers)
        self.shared_states: list[SharedState] = [self.statuses, self.bans, self.affinity]
        self.pools.startService()
        self.workers = [self.begin(place) for place in range(workers)]
        self.run()

    def begin(self, place: int) -> Worker:
        """Begin a process as the supervisor does."""
        worker = Worker(place, self.config, self.reactor)
        for state in self.shared_states:
            state.greet(worker)
        worker.send({"begin": True})
        return worker

    def replace(self, place: int) -> Worker:
        """Have a process replaced, as in a rolling restart.

        :returns: the one that drains; its last, apart from what it takes.
        """
        before = self.workers[place]
        self.workers[place] = self.begin(place)
        self.workers.append(before)
        self.run()
        _Busy().setServiceParent(before.balancer)
        before.following.follow_to_the_end()
        before.balancer.stopService()
        self.run()
        return before

    def kill(self, place: int, *, replaced: bool = True) -> None:
        """End a process, with what it has not sent yet, and have another one take its place."""
        before = self.workers[place]
        # What it leaves in this process.
        before.sent = Lost()
        before.balancer.stopService()
        for state in self.shared_states:
            state.has_ended(before)
        if replaced:
            self.workers[place] = self.begin(place)
        self.run()

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and all messages come, those that they cause among them."""
        end = self.reactor.seconds() + seconds
        while True:
            self._deliver()
            due = [call.getTime() for call in self.reactor.getDelayedCalls()]
            if not due or min(due) > end:
                break
            self.reactor.advance(max(0.0, min(due) - self.reactor.seconds()))
        self.reactor.advance(max(0.0, end - self.reactor.seconds()))
        self._deliver()

    def _deliver(self) -> None:
        for worker in self.workers if hasattr(self, "workers") else ():
            while worker.inbox or worker.sent:
                self.deliver_to(worker)
                self.deliver_from(worker)

    def deliver_to(self, worker: Worker) -> None:
        """Let the first message come that was sent to a worker."""
        if not worker.inbox:
            return
        message = Message(worker.inbox.popleft())
        word = word_of(message)
        if word == "begin":
            worker.balancer.startService()
        elif word in worker.following.words:
            worker.following.note(message)

    def deliver_from(self, worker: Worker) -> None:
        """Let the first message come that a worker has sent."""
        if not worker.sent:
            return
        message = Message(worker.sent.popleft())
        for state in self.shared_states:
            if word_of(message) in state.words:
                state.note(worker, message)

    def apply(self, config: Config) -> None:
        """Reload, as the supervisor does."""
        prepared = PreparedConfig.of(self.parts, config, self.reactor, self.reactor.seconds)
        self.pools.prepare(prepared).commit()
        self.statuses.send_all()
        self.bans.go_on_by(config)
        self.config, self.parts = config, prepared.parts
        for worker in self.workers:
            while worker.inbox:
                self.deliver_to(worker)
            if worker.balancer.running:  # Otherwise it drains.
                worker.balancer.apply(config)
        self.run()

    def backend(self, name: str, pool: str = "web") -> Backend:
        """One of the supervisor's."""
        found = self.pools.find(pool)
        assert found is not None
        (backend,) = [backend for backend in found.backends if backend.name == name]
        return backend

    def stop(self) -> list[Any]:
        """End in order.

        :returns: not empty when all have ended.
        """
        ended: list[Any] = []
        for worker in self.workers:
            worker.balancer.stopService()
        self.run(2.0)
        self.pools.stopService().addCallback(ended.append)
        self.run()
        return ended


class _Busy(Service):
    """Keeps a balancer from coming to its end, as open sessions do."""

    def stopService(self) -> Deferred[None]:
        return Deferred()


class Lost(deque[dict[str, Any]]):
    """Takes what comes to no one."""

    def append(self, content: dict[str, Any]) -> None:
        """Lose it."""


def packed(content: Mapping[str, Any]) -> dict[str, Any]:
    """What comes of a message on its way."""
    packet = json.dumps(content, allow_nan=False)
    assert len(packet) <= MAX_MESSAGE
    unpacked: dict[str, Any] = json.loads(packet)
    return unpacked


def all_are(states: Callable[[Worker], object], fleet: Fleet, wanted: object) -> bool:
    """Whether it is the same in all workers."""
    return [states(worker) for worker in fleet.workers] == [wanted] * len(fleet.workers)
