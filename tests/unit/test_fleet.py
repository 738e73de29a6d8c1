"""The supervisor and its workers in memory: in whatever order deaths, reloads, rolling restarts and messages
come, all places serve in the end, by the same configuration."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.task import Clock, deferLater

from tcpbalance.workers.config_changes import ConfigChanges, RefusedError
from tcpbalance.workers.messages import Message
from tcpbalance.workers.place import Place
from tcpbalance.workers.rolling_restart import RollingRestart
from tcpbalance.workers.worker_process import Stage

PLACES = 2


class Worker:
    """A process, and what the supervisor has of it: `to_worker` and `to_supervisor` are on their way."""

    def __init__(self, fleet: Fleet, place: int, column: int) -> None:
        self.place, self.column = place, column
        self.stage = Stage.STARTING
        self.why_ended = self.reported = ""
        self.name = f"worker {place}:"
        self.is_greeted = False
        self.is_killed = False
        self.to_worker: deque[Mapping[str, Any]] = deque()
        self.to_supervisor: deque[Mapping[str, Any]] = deque()
        self.accepts = False
        self.given = self.config = -1
        self.prepared: tuple[int, int] | None = None
        self._fleet = fleet

    @property
    def drains(self) -> bool:
        return self.stage >= Stage.HANDING_OVER

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        self.to_worker.append(content)

    def start(self) -> None:
        self._fleet.asked.append(self)

    def forked(self) -> None:
        if self.drains:
            self.send({"drain": True})
        else:
            self.is_greeted = True
            self._fleet.greet(self)

    def accept(self) -> None:
        self.stage = Stage.SERVING
        self.send({"accept": True})

    def hand_over(self) -> None:
        self.stage = Stage.HANDING_OVER
        self.send({"hand_over": True})

    def drain(self) -> None:
        self.stage = Stage.DRAINING
        self.send({"drain": True})

    def kill(self, why: str) -> None:
        self.is_killed = True
        self.why_ended = f"it {why}"

    def read(self, refuses: bool = False) -> None:
        """Do what the next message says."""
        content = self.to_worker.popleft()
        self._change(content, refuses)
        self._serve(content)

    def _change(self, content: Mapping[str, Any], refuses: bool) -> None:
        match content:
            case {"config": int(config)}:
                self.given = config
            case {"begin": True}:
                self.config = self.given
                self.to_supervisor.append({"ready": True})
            case {"prepare": int(number)} if refuses:
                self.to_supervisor.append({"refused": number, "error": "no memory"})
            case {"prepare": int(number)}:
                self.prepared = number, self.given
                self.to_supervisor.append({"prepared": number})
            case {"commit": int(number)}:
                assert self.prepared is not None
                assert self.prepared[0] == number
                self.config = self.prepared[1]
                self.to_supervisor.append({"committed": number})

    def _serve(self, content: Mapping[str, Any]) -> None:
        match content:
            case {"accept": True}:
                self.accepts = True
            case {"hand_over": True}:
                self.accepts = False
                self.to_supervisor.append({"handed_over": True})
            case {"drain": True}:
                self.accepts = False
                self.is_killed = True  # It has no sessions.


class Nursery:
    """Forks what it is asked for, later."""

    def __init__(self) -> None:
        self.ready: Deferred[None] = succeed(None)


class Fleet:
    """What the supervisor does, with workers in memory.

    :ivar asked: workers that are to be forked.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.config = 0
        self.asked: deque[Worker] = deque()
        self.changes = ConfigChanges()
        self.closes = False
        self.present = Nursery()
        self._one_at_a_time = DeferredLock()
        self.places = [
            Place(self.clock, number, cast(Any, self.make), lambda: 0.5, lambda *_: None)
            for number in range(PLACES)
        ]
        self.restart = RollingRestart(self.places, cast(Any, self), self._one_at_a_time)
        self.outcomes: list[list[Any]] = []
        for place in self.places:
            place.begin(cast(Any, self.present))

    def make(self, place: int, column: int, nursery: Nursery) -> Worker:
        return Worker(self, place, column)

    @property
    def workers(self) -> list[Worker]:
        return [cast(Worker, process) for place in self.places for process in place.processes]

    # As of nurseries

    def another(self) -> Nursery:
        return Nursery()

    def take_over(self, nursery: Nursery) -> None:
        self.present = nursery
        for place in self.places:
            place.begin(cast(Any, nursery))

    def give_up(self, nursery: Nursery) -> None:
        self.take_over(self.present)

    # As of the supervisor

    def greet(self, worker: Worker) -> None:
        worker.send({"config": self.config})
        worker.send({"begin": True})
        self.changes.include(worker)

    def note(self, worker: Worker) -> None:
        """Take the next message of a worker."""
        content = worker.to_supervisor.popleft()
        match content:
            case {"ready": True} if worker.stage is Stage.STARTING:
                worker.stage = Stage.READY
                self.places[worker.place].has_changed(cast(Any, worker))
            case {"handed_over": True} if worker.stage <= Stage.HANDING_OVER:
                worker.stage = Stage.DRAINING
                self.changes.leaves(worker)
                self.places[worker.place].has_changed(cast(Any, worker))
                worker.is_killed = True  # It has no sessions.
            case {"prepared": _} | {"refused": _} | {"committed": _}:
                self.changes.note(worker, Message(content))

    def end(self, worker: Worker) -> None:
        worker.why_ended = worker.why_ended or "it was killed"
        if worker in self.asked:
            self.asked.remove(worker)
        if worker.is_greeted:
            self.changes.has_ended(worker)
        self.places[worker.place].has_ended(cast(Any, worker))

    def reload(self, config: int) -> None:
        outcome: list[Any] = []
        self._one_at_a_time.run(self._reload, config).addBoth(outcome.append)
        self.outcomes.append(outcome)

    def _reload(self, config: int) -> Deferred[None]:
        # Files are read in a thread before.
        return deferLater(self.clock, 0).addCallback(lambda _: self._prepare(config))

    def _prepare(self, config: int) -> Deferred[None]:
        serving = [worker for place in self.places for worker in place.current() if worker.is_greeted]

        def ask(worker: Any) -> None:
            worker.send({"config": config})

        prepared = self.changes.prepare(cast(Any, serving), ask)
        return prepared.addCallbacks(lambda _: self._commit(config), self._abandon)

    def _commit(self, config: int) -> Deferred[None]:
        self.config = config
        return self.changes.commit()

    def _abandon(self, failure: Any) -> None:
        failure.trap(RefusedError)
        self.changes.abandon()


class Machine(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.fleet = Fleet()

        self.configs = 0

    def some(self, data: st.DataObject, workers: Iterator[Worker]) -> Worker | None:
        found = list(workers)
        return data.draw(st.sampled_from(found)) if found else None

    @precondition(lambda self: self.fleet.asked)
    @rule()
    def fork(self) -> None:
        self.fleet.asked.popleft().forked()

    @rule(data=st.data(), refuses=st.booleans())
    def read(self, data: st.DataObject, refuses: bool) -> None:
        worker = self.some(data, (it for it in self.fleet.workers if it.to_worker and not it.is_killed))
        if worker is not None:
            worker.read(refuses)

    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        worker = self.some(data, (it for it in self.fleet.workers if it.to_supervisor))
        if worker is not None:
            self.fleet.note(worker)

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        worker = self.some(data, iter(self.fleet.workers))
        if worker is not None:
            self.fleet.end(worker)

    @precondition(lambda self: sum(not outcome for outcome in self.fleet.outcomes) < 3)
    @rule()
    def reload(self) -> None:
        self.configs += 1
        self.fleet.reload(self.configs)

    @rule()
    def replace_all(self) -> None:
        if not self.fleet.restart.is_running:
            self.fleet.restart.begin(cast(Any, self.fleet.present))

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.fleet.clock.advance(seconds)
        self.reap()

    def reap(self) -> None:
        for worker in self.fleet.workers:
            if worker.is_killed:
                self.fleet.end(worker)

    @invariant()
    def one_accepts_at_most(self) -> None:
        for place in self.fleet.places:
            assert sum(cast(Worker, process).accepts for process in place.processes) <= 1

    def teardown(self) -> None:
        fleet = self.fleet
        for _ in range(60):
            self.until_quiet()
            if not fleet.clock.getDelayedCalls():
                break
            fleet.clock.advance(1)
        assert all(place.is_serving for place in fleet.places)
        assert not fleet.restart.is_running
        assert all(fleet.outcomes)
        assert [worker.config for worker in fleet.workers] == [fleet.config] * PLACES
        assert all(worker.accepts for worker in fleet.workers)

    def until_quiet(self) -> None:
        """Let all that is on its way arrive."""
        fleet = self.fleet
        while fleet.asked or any(it.to_worker or it.to_supervisor or it.is_killed for it in fleet.workers):
            while fleet.asked:
                fleet.asked.popleft().forked()
            for worker in fleet.workers:
                while worker.to_worker and not worker.is_killed:
                    worker.read()
                while worker.to_supervisor and worker in fleet.workers:
                    fleet.note(worker)
            self.reap()


TestFleet = Machine.TestCase
TestFleet.settings = settings(stateful_step_count=60)
