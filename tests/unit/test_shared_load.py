"""Pools of several workers keep one maximum, whatever they do in which order, and none waits in vain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.pools import described
from support.worker_loads import SharedWorkers
from tcpbalance.config.counted import able_key, backend_key, queue_key
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.dial import Decision, Dial, GiveUp, Queue, Try
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.worker_load import WorkerBackendLoad

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

WORKERS = 3
ADDRESSES = {"a": "10.0.0.1:80", "b": "10.0.0.2:80"}
anyone = st.integers(0, 10**6)
Limits = Mapping[str, int | None]


def make_pool(shared: SharedWorkers, column: int, limits: Limits, **keys: Any) -> Pool:
    backends = [Backend(ADDRESSES[name], name, max_connections=most) for name, most in limits.items()]
    worker = shared.workers[column]
    return Pool.of(
        described(backends, **{"queue": 50, **keys}),
        clock=worker.reactor.seconds,
        shared=worker.load.pool("web"),
    )


def keys_of(limits: Limits) -> dict[Any, int | None]:
    maxima: dict[Any, int | None] = {
        backend_key("web", name, ADDRESSES[name]): most for name, most in limits.items()
    }
    return {**maxima, queue_key("web"): None, able_key("web"): None}


class Session:
    """What wants a slot, and dials as the pool says."""

    def __init__(self, pool: Pool, client: bytes | None) -> None:
        self.pool = pool
        self.client = client
        self.dial = Dial(pool, client)
        self.slot: Slot | None = None
        self.waits = False
        self.turned_away = False

    def go(self, decision: Decision | None = None) -> Session:
        decision = decision or self.dial.decide()
        if isinstance(decision, Try):
            try:
                self.slot = self.pool.take(decision.backend, self.client)
            except NoCapacityError:
                self.go(self.dial.after_refusal())
            else:
                self.slot.connected(0.001)
        elif isinstance(decision, Queue):
            assert self.pool.queue is not None
            if decision.put_back:
                self.pool.queue.put_back(self)
                self.waits = True
                return self
            self.waits = self.pool.queue.join(self)
            self.turned_away = not self.waits
        else:
            assert isinstance(decision, GiveUp)
            self.turned_away = True
        return self

    def its_turn(self) -> None:
        self.waits = False
        self.go(self.dial.after_queue())

    def displaced(self) -> None:
        self.waits = False
        self.turned_away = True

    def look_soon(self) -> None:
        pass

    def release(self) -> None:
        slot, self.slot = self.slot, None
        assert slot is not None
        slot.release()


def test_those_that_wait_for_another_backend_hold_none_up() -> None:
    limits = {"a": 1, "b": 1}
    shared = SharedWorkers(WORKERS, keys_of(limits))
    keys = {"affinity": AffinityConfig(ttl=60.0)}
    first, second, third = (make_pool(shared, column, limits, **keys) for column in range(WORKERS))
    at_home, elsewhere = (Session(first, bytes((192, 0, 2, host))).go() for host in (1, 2))
    waits = Session(first, at_home.client).go()
    assert waits.waits
    elsewhere.release()
    shared.turns(range(WORKERS), 0.002)
    assert waits.waits
    comes = Session(second, bytes((192, 0, 2, 3))).go()
    assert comes.slot is not None
    # Nor are they forgotten.
    other = Session(third, bytes((192, 0, 2, 4))).go()
    assert other.waits
    at_home.release()
    shared.turns(range(WORKERS), 0.1)
    assert (waits.slot is not None) != (other.slot is not None)
    shared.close()


def test_a_maximum_that_is_not_known_here_is_one_nevertheless() -> None:
    limits = {"a": 1, "b": 1}
    shared = SharedWorkers(2, keys_of(limits))
    serving, draining = make_pool(shared, 0, limits), make_pool(shared, 1, {"a": None, "b": 1})
    held = [serving.take(backend, None) for backend in serving.backends]
    session = Session(draining, bytes((192, 0, 2, 1))).go()
    assert session.waits
    assert draining.queue is not None
    assert not draining.queue.serve_one()
    assert draining.stats.queue_total == 1
    held[0].release()
    shared.turns(range(2), 0.1)
    assert session.slot is not None
    shared.close()


def test_a_backend_without_a_maximum_is_never_full() -> None:
    limits = {"a": 1, "b": None}
    shared = SharedWorkers(2, keys_of(limits))
    first, second = (make_pool(shared, column, limits) for column in range(2))
    assert first.queue is not None
    first.queue.join(Session(first, None))
    assert [backend.full for backend in second.backends] == [True, False]
    shared.close()


def test_those_that_wait_in_a_worker_that_is_stopped_hold_none_up() -> None:
    limits = {"a": 10}
    shared = SharedWorkers(2, keys_of(limits))
    stopped, running = (make_pool(shared, column, limits, queue=5) for column in range(2))
    held = [Session(running, None).go() for _ in range(10)]
    assert Session(stopped, bytes((192, 0, 2, 1))).go().waits
    for session in held:
        session.release()
    at_once = [Session(running, bytes((192, 0, 2, host))).go() for host in range(10, 18)]
    assert not any(session.turned_away for session in at_once)
    shared.turns([1], 0.1)
    assert all(session.slot is not None for session in at_once)
    later = [Session(running, bytes((192, 0, 2, host))).go() for host in range(20, 23)]
    assert [session.slot is not None for session in later] == [True, True, False]
    shared.close()


def test_one_whose_time_is_over_goes_to_another_backend_although_others_wait() -> None:
    limits = {"a": 1, "b": 1}
    shared = SharedWorkers(2, keys_of(limits))
    first, second = (make_pool(shared, c, limits, affinity=AffinityConfig(ttl=60.0)) for c in range(2))
    client = bytes((192, 0, 2, 1))
    a, b = first.backends
    slot = first.take(a, client)
    slot.connected(0.001)
    slot.release()
    first.take(a, None)
    held = first.take(b, None)
    waiting = Session(first, client).go()
    assert Session(second, None).go().waits
    held.release()
    assert first.queue is not None
    first.queue.time_out(waiting)
    assert waiting.dial.after_queue_timeout() == Try(b)
    shared.close()


def test_one_that_another_worker_outruns_stays_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"a": 1}
    shared = SharedWorkers(2, keys_of(limits))
    first, second = (make_pool(shared, column, limits) for column in range(2))
    (backend,) = first.backends
    held = second.take(second.backends[0], None)
    waiting = [Session(first, bytes((192, 0, 2, host))).go() for host in range(3)]
    shared.turns([0], 0.01)
    load = backend.shared
    assert isinstance(load, WorkerBackendLoad)

    def outrun(of_all: WorkerBackendLoad) -> bool:
        monkeypatch.undo()
        second.take(second.backends[0], None)
        return of_all.add()

    monkeypatch.setattr(WorkerBackendLoad, "add", outrun)
    held.release()
    shared.turns([0], 0.002)
    queue = first.queue
    assert queue is not None
    assert list(queue._queue) == waiting
    assert first.stats.queue_total == 3
    shared.close()


def test_a_queue_that_two_reloads_take_away_and_give_back_is_the_one_that_it_was() -> None:
    limits = {"a": 1}
    shared = SharedWorkers(2, keys_of(limits))
    first, second = (make_pool(shared, column, limits) for column in range(2))
    held = Session(second, None).go()
    early = Session(first, bytes((192, 0, 2, 1))).go()
    rows = {key: shared.rows[key] for key in (queue_key("web"), able_key("web"))}
    load = shared.workers[0].load

    def becomes(queue: int) -> None:
        first.prepare_as(described([Backend(ADDRESSES["a"], "a", max_connections=1)], queue=queue))()

    becomes(0)
    load.forget(rows)
    load.look_again()
    load.learn(rows.items())
    load.look_again()
    becomes(50)
    late = Session(first, bytes((192, 0, 2, 2))).go()
    assert early.waits
    assert late.waits
    assert first.queue is not None
    first.queue.leave(early)
    assert shared.total(queue_key("web")) == 1
    held.release()
    shared.turns(range(2), 0.1)
    assert late.slot is not None
    shared.close()


def test_where_one_of_those_goes_that_cannot_use_what_is_free_the_others_still_cannot() -> None:
    limits = {"a": 1, "b": 10}
    shared = SharedWorkers(2, keys_of(limits))
    first, second = (make_pool(shared, c, limits, affinity=AffinityConfig(ttl=60.0)) for c in range(2))
    clients = [bytes((192, 0, 2, host)) for host in range(2)]
    (a, _) = first.backends
    for client in clients:
        slot = first.take(a, client)
        slot.connected(0.001)
        slot.release()
    first.take(a, None)
    held = [Session(second, None).go() for _ in range(10)]
    waiting = [Session(first, client).go() for client in clients]
    for session in held:
        session.release()
    shared.turns(range(2), 0.1)
    assert all(session.waits for session in waiting)
    assert first.queue is not None
    first.queue.leave(waiting[0])
    assert Session(second, None).go().slot is not None
    shared.close()


class LoadMachine(RuleBasedStateMachine):
    """Sessions of several workers come, wait, go, and are killed with their worker."""

    shared: SharedWorkers

    @initialize(limits=st.lists(st.integers(1, 3), min_size=1, max_size=2), affine=st.booleans())
    def build(self, limits: list[int], affine: bool) -> None:
        self.limits = dict(zip(ADDRESSES, limits, strict=False))
        self.settings = {"affinity": AffinityConfig(ttl=60.0) if affine else None}
        self.shared = SharedWorkers(WORKERS, keys_of(self.limits))
        self.pools = [make_pool(self.shared, n, self.limits, **self.settings) for n in range(WORKERS)]
        self.sessions: list[list[Session]] = [[] for _ in range(WORKERS)]
        self.stopped: set[int] = set()

    def running(self) -> list[int]:
        return [column for column in range(WORKERS) if column not in self.stopped]

    @rule(comers=st.lists(st.tuples(anyone, st.integers(0, 3)), min_size=1, max_size=8))
    def some_come(self, comers: list[tuple[int, int]]) -> None:
        for number, client in comers:
            if self.running():
                column = self.running()[number % len(self.running())]
                session = Session(self.pools[column], bytes((192, 0, 2, 4 * column + client)))
                self.sessions[column].append(session.go())

    @rule(number=anyone)
    def ends(self, number: int) -> None:
        held = [session for column in self.running() for session in self.sessions[column] if session.slot]
        if held:
            held[number % len(held)].release()

    @rule(number=anyone)
    def gives_up(self, number: int) -> None:
        waiting = [session for column in self.running() for session in self.sessions[column] if session.waits]
        if waiting:
            session = waiting[number % len(waiting)]
            session.waits = False
            assert session.pool.queue is not None
            session.pool.queue.leave(session)

    @rule(column=st.integers(0, WORKERS - 1), what=st.sampled_from(["killed", "stopped", "goes on"]))
    def a_worker_is(self, column: int, what: str) -> None:
        if what == "stopped":
            self.stopped.add(column)
            return
        self.stopped.discard(column)
        if what == "killed":
            self.sessions[column].clear()
            self.shared.replace(column)
            self.pools[column] = make_pool(self.shared, column, self.limits, **self.settings)

    @rule(number=anyone, milliseconds=st.integers(0, 3))
    def has_a_turn(self, number: int, milliseconds: int) -> None:
        if self.running():
            column = self.running()[number % len(self.running())]
            self.shared.workers[column].reactor.turn(milliseconds / 1000)

    @rule()
    def a_moment_passes(self) -> None:
        """After that none waits that could be served, and all that may be there is there."""
        self.shared.turns(self.running(), 0.25)
        for column in self.running():
            waiting = [session for session in self.sessions[column] if session.waits]
            pool = self.pools[column]
            free = {b for b in pool.backends if self.held(b.name) < self.limits[b.name]}
            for session in waiting:
                sticky = pool.affinity.lookup(session.client) if pool.affinity and session.client else ()
                assert not free.intersection(sticky or pool.backends)

    def held(self, name: str) -> int:
        sessions = [session for of_one in self.sessions for session in of_one]
        return sum(session.slot is not None and session.slot.backend.name == name for session in sessions)

    @invariant()
    def no_backend_has_more_than_it_may(self) -> None:
        for name, most in getattr(self, "limits", {}).items():
            assert self.held(name) <= most

    @invariant()
    def what_is_counted_is_what_there_is(self) -> None:
        for name in getattr(self, "limits", {}):
            assert self.shared.total(backend_key("web", name, ADDRESSES[name])) == self.held(name)

    @invariant()
    def each_session_is_in_one_state(self) -> None:
        for session in (session for of_one in getattr(self, "sessions", []) for session in of_one):
            assert (session.slot is not None) + session.waits + session.turned_away <= 1

    def teardown(self) -> None:
        if hasattr(self, "shared"):
            self.shared.close()


TestLoad = LoadMachine.TestCase
TestLoad.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
