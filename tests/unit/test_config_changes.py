"""Another configuration comes to all workers or to none, whatever they answer, and whenever they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred

from support.sockets import fired
from tcpbalance.workers.config_changes import ConfigChanges, RefusedError
from tcpbalance.workers.messages import Message


class MemoryWorker:
    """A worker that answers when the test says so.

    :ivar config: what it serves by.
    :ivar inbox: messages that it has not read.
    """

    def __init__(self, place: int, config: int) -> None:
        self.place, self.column = place, 0
        self.config = config
        self.given = config
        self.prepared: tuple[int, int] | None = None
        self.inbox: list[Mapping[str, Any]] = []

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        self.inbox.append(content)

    def read(self, refuses: bool = False) -> dict[str, Any] | None:
        """Do what the next message says; give the answer."""
        match self.inbox.pop(0):
            case {"config": int(config)}:
                self.given = config
            case {"prepare": int(number)} if refuses:
                return {"refused": number, "error": "no memory"}
            case {"prepare": int(number)}:
                self.prepared = number, self.given
                return {"prepared": number}
            case {"commit": int(number)}:
                assert self.prepared is not None
                assert self.prepared[0] == number
                self.config = self.prepared[1]
                self.prepared = None
                return {"committed": number}
            case {"abandon": _}:
                self.prepared = None
        return None


class Stage:
    """Workers, and what the supervisor believes they serve by."""

    def __init__(self, count: int = 2) -> None:
        self.changes = ConfigChanges()
        self.config = self.latest = 0
        self.workers = [MemoryWorker(place, 0) for place in range(count)]
        self.outcome: list[Any] = []
        self.committed: list[Any] = []
        self.is_preparing = False

    def begin(self) -> None:
        self.latest += 1
        wanted = self.latest
        self.is_preparing = True
        asked: Deferred[None] = self.changes.prepare(
            self.workers, lambda worker: worker.send({"config": wanted})
        )
        asked.addCallbacks(lambda _: self._commit(wanted), self._abandon)

    def _commit(self, wanted: int) -> None:
        self.is_preparing = False
        self.config = wanted
        self.committed = fired(self.changes.commit())

    def _abandon(self, failure: Any) -> None:
        failure.trap(RefusedError)
        self.outcome.append(str(failure.value))
        self.is_preparing = False
        self.changes.abandon()

    def read(self, worker: MemoryWorker, refuses: bool = False) -> None:
        answer = worker.read(refuses)
        if answer is not None:
            self.changes.note(worker, Message(answer))

    def end(self, worker: MemoryWorker) -> None:
        """Have a worker end, and another one take its place."""
        self.workers.remove(worker)
        self.changes.has_ended(worker)
        new = MemoryWorker(worker.place, self.config)
        self.workers.append(new)
        self.changes.greet(new)
        self.changes.include(new)

    @property
    def has_unread(self) -> bool:
        return any(worker.inbox for worker in self.workers)

    def finish(self) -> None:
        while self.has_unread:
            for worker in list(self.workers):
                while worker.inbox:
                    self.read(worker)


def test_a_configuration_that_ends_workers_again_and_again_is_refused() -> None:
    stage = Stage()
    first, second = stage.workers
    stage.begin()
    for _ in range(2):
        stage.read(second)
    stage.end(first)
    # One may have been killed: the other ones go on, and the next one may take part.
    assert stage.outcome == []
    stage = Stage()
    first, _ = stage.workers
    stage.begin()
    stage.end(first)
    stage.end(stage.workers[-1])
    assert stage.outcome == ["worker 0 has ended while it prepared the configuration"]
    stage.finish()
    assert {worker.config for worker in stage.workers} == {0}


def test_one_that_ends_while_it_commits_refuses_nothing() -> None:
    stage = Stage(3)
    stage.begin()
    for worker in stage.workers:
        for _ in range(2):
            stage.read(worker)
    assert not stage.is_preparing
    for worker in list(stage.workers):
        stage.end(worker)
    stage.finish()
    assert (stage.outcome, stage.committed) == ([], [None])
    assert {worker.config for worker in stage.workers} == {1}


def test_one_that_drains_is_asked_no_more() -> None:
    stage = Stage()
    first, second = stage.workers
    stage.begin()
    stage.changes.leaves(first)
    stage.read(first, refuses=True)
    stage.read(first, refuses=True)
    for _ in range(2):
        stage.read(second)
    assert (stage.outcome, stage.is_preparing) == ([], False)
    assert not first.inbox


def test_all_prepare_before_one_commits() -> None:
    stage = Stage()
    first, second = stage.workers
    stage.begin()
    for _ in range(2):
        stage.read(first)
    assert not first.inbox
    for _ in range(2):
        stage.read(second)
    assert first.inbox == second.inbox == [{"commit": 1}]
    stage.finish()
    assert stage.committed == [None]
    assert [worker.config for worker in stage.workers] == [1, 1]


def test_one_that_refuses_keeps_all_as_they_are() -> None:
    stage = Stage()
    first, second = stage.workers
    stage.begin()
    for _ in range(2):
        stage.read(first)
    stage.read(second)
    stage.read(second, refuses=True)
    assert stage.outcome == ["worker 1: no memory"]
    stage.finish()
    assert [(worker.config, worker.prepared) for worker in stage.workers] == [(0, None), (0, None)]


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_one_that_ends_is_not_waited_for_and_the_next_takes_part(reads: int) -> None:
    stage = Stage()
    first, second = stage.workers
    stage.begin()
    for _ in range(reads):
        stage.read(second)
    stage.end(second)
    stage.finish()
    assert [worker.config for worker in stage.workers] == [1, 1]
    assert first in stage.workers


def test_without_workers_it_is_over_at_once() -> None:
    stage = Stage(0)
    stage.begin()
    assert (stage.config, stage.committed) == (1, [None])


class Machine(RuleBasedStateMachine):
    """Any order of changes, answers, refusals and deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(3)

    @precondition(lambda self: not self.stage.is_preparing and not self.stage.has_unread)
    @rule()
    def change(self) -> None:
        self.stage.begin()

    @precondition(lambda self: self.stage.has_unread)
    @rule(which=st.integers(0, 2), refuses=st.booleans())
    def read(self, which: int, refuses: bool) -> None:
        worker = self.stage.workers[which]
        if worker.inbox:
            self.stage.read(worker, refuses)

    @rule(which=st.integers(0, 2))
    def end(self, which: int) -> None:
        self.stage.end(self.stage.workers[which])

    @invariant()
    def none_serves_by_what_not_all_have_prepared(self) -> None:
        assert all(worker.config in (self.stage.config, self.before) for worker in self.stage.workers)
        if not self.stage.has_unread and not self.stage.is_preparing:
            assert {worker.config for worker in self.stage.workers} == {self.stage.config}

    @property
    def before(self) -> int:
        """What they had before the present one; some may not have read the commit yet."""
        unread = [worker.config for worker in self.stage.workers if worker.inbox]
        return min(unread, default=self.stage.config)

    def teardown(self) -> None:
        self.stage.finish()
        assert {worker.config for worker in self.stage.workers} == {self.stage.config}
        assert all(worker.prepared is None for worker in self.stage.workers)


TestMachine = Machine.TestCase
