"""The frontends of several workers keep one limit: clients wait in the backlog while there is no place."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.worker_loads import SharedWorkers
from tcpbalance.config.counted import frontend_key, paused_key
from tcpbalance.proxy.dry_run import DryRun, DryRunLimit
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.shared_limit import CountedRegistry
from tcpbalance.stats import FrontendStats
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

WORKERS = 3
anyone = st.integers(0, 10**6)


class Open:
    """As much of a session as a registry asks for."""

    cause = ""
    dry_run_limits: tuple[DryRunLimit, ...] = ()


class Port:
    """A listening port with a backlog, which claims a place before it accepts."""

    def __init__(self, registry: CountedRegistry) -> None:
        self.registry = registry
        self.backlog = 0
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def getHost(self) -> Any:
        raise NotImplementedError

    def accept_now(self) -> None:
        """What the reactor does once a client waits."""
        while not self.paused:
            if not self.registry.claim():
                break
            if not self.backlog:
                break
            self.backlog -= 1
            self.registry.add(cast(Any, Open()))
        self.registry.give_up_claim()


class Worker:
    """A worker that accepts the clients of a frontend."""

    def __init__(self, shared: SharedWorkers, column: int, limit: int, dry_run: bool = False) -> None:
        worker = shared.workers[column]
        self.stats = FrontendStats()
        clock = worker.reactor
        self.registry = CountedRegistry(
            worker.load.frontend("web"),
            "web",
            clock,
            clock.seconds,
            self.stats,
            max_sessions=limit,
            dry_run=DryRun("web", clock.seconds, clock, self.stats) if dry_run else None,
            on_idle=lambda: None,
        )
        self.port = Port(self.registry)
        self.registry.accept_pause.pause_on(self.port)

    def comes(self) -> None:
        self.port.backlog += 1
        self.port.accept_now()

    def ends(self) -> None:
        self.registry.remove(next(iter(self.registry.sessions)), EndReason.CLIENT_CLOSED, None, 0, 0, 0.0)


def shared_workers(limit: int | None) -> SharedWorkers:
    return SharedWorkers(WORKERS, {frontend_key("web"): limit, paused_key("web"): None})


class RegistryMachine(RuleBasedStateMachine):
    """Clients come to several workers, and sessions end; workers are killed."""

    limit = 0

    @initialize(limit=st.integers(1, 4))
    def build(self, limit: int) -> None:
        self.limit = limit
        self.shared = shared_workers(limit)
        self.workers = [Worker(self.shared, column, limit) for column in range(WORKERS)]

    @rule(columns=st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=5))
    def some_come(self, columns: list[int]) -> None:
        for column in columns:
            self.workers[column].comes()

    @rule(number=anyone)
    def one_ends(self, number: int) -> None:
        with_sessions = [worker for worker in self.workers if worker.registry.sessions]
        if with_sessions:
            with_sessions[number % len(with_sessions)].ends()

    @rule(column=st.integers(0, WORKERS - 1))
    def one_is_killed(self, column: int) -> None:
        waiting = self.workers[column].port.backlog
        self.shared.replace(column)
        worker = self.workers[column] = Worker(self.shared, column, self.limit)
        worker.port.backlog = waiting
        worker.port.accept_now()

    @rule(column=st.integers(0, WORKERS - 1))
    def one_has_a_turn(self, column: int) -> None:
        self.turn(column)

    def turn(self, column: int) -> None:
        self.shared.workers[column].reactor.turn(0.001)
        self.workers[column].port.accept_now()

    @rule()
    def a_moment_passes(self) -> None:
        for _ in range(100):
            for column in range(WORKERS):
                self.turn(column)
        waiting = sum(worker.port.backlog for worker in self.workers)
        assert not waiting or self.open() == self.limit

    def open(self) -> int:
        return sum(len(worker.registry.sessions) for worker in getattr(self, "workers", ()))

    @invariant()
    def there_are_no_more_than_there_may_be(self) -> None:
        assert self.open() <= self.limit
        if self.limit:
            assert self.shared.total(frontend_key("web")) == self.open()

    def teardown(self) -> None:
        if self.limit:
            self.shared.close()


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_dry_run_lets_all_in_and_counts_those_beyond_the_limit_of_all_workers() -> None:
    shared = shared_workers(None)
    first, second = (Worker(shared, column, 2, dry_run=True) for column in range(2))
    for worker in (first, first, second, second):
        worker.comes()
    assert [len(worker.registry.sessions) for worker in (first, second)] == [2, 2]
    assert first.stats.would_limit[DryRunLimit.CONNECTIONS] == 0
    assert second.stats.would_limit[DryRunLimit.CONNECTIONS] == 2
    shared.close()


def test_a_frontend_that_was_removed_and_comes_back_counts_what_is_open_of_the_former_one() -> None:
    shared = shared_workers(2)
    rows = dict(shared.rows)
    load = shared.workers[0].load
    load.forget(rows)
    old = Worker(shared, 0, 0)
    old.registry.limit(None, None)
    load.look_again()
    for _ in range(3):
        old.comes()
    new = Worker(shared, 0, 0)
    load.learn(rows.items())
    load.look_again()
    new.registry.limit(2, None)
    assert shared.total(frontend_key("web")) == 3
    new.comes()
    assert not new.registry.sessions
    for _ in range(3):
        old.ends()
    shared.turns([0], 0.03)
    new.comes()
    new.comes()
    assert len(new.registry.sessions) == shared.total(frontend_key("web")) == 2
    shared.close()


def test_a_frontend_that_comes_to_have_a_limit_counts_what_is_open() -> None:
    shared = shared_workers(2)
    rows = {key: shared.rows[key] for key in shared.rows}
    worker, other = shared.workers[0].load, shared.workers[1].load
    for load in (worker, other):
        load.forget(rows)
    first, second = Worker(shared, 0, 0), Worker(shared, 1, 0)
    for one in (first, second):
        one.registry.limit(None, None)
    first.comes()
    first.comes()
    assert shared.total(frontend_key("web")) == 0
    for load in (worker, other):
        load.learn(rows.items())
        load.look_again()
    assert shared.total(frontend_key("web")) == 2
    for one in (first, second):
        one.registry.limit(2, None)
    second.comes()
    assert not second.registry.sessions
    first.ends()
    shared.turns(range(2), 0.03)
    assert len(second.registry.sessions) == 1
    shared.close()


@pytest.mark.parametrize("dry_run", [False, True])
def test_all_are_counted_where_there_is_a_limit(dry_run: bool) -> None:
    shared = shared_workers(5)
    workers = [Worker(shared, column, 5, dry_run) for column in range(2)]
    for worker in workers:
        worker.comes()
    assert [worker.registry.total for worker in workers] == [2, 2]


def test_without_a_limit_none_knows_of_the_others() -> None:
    worker = Worker(shared_workers(None), 0, 5)
    worker.registry.limit(None, None)
    worker.comes()
    assert worker.registry.total is None
