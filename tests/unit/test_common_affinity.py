"""What workers know of clients is kept by the supervisor: for the worker after it, and for a restart."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import execute

from support.fleet import Fleet, Lost, Worker
from support.pools import names
from tcpbalance import Config
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.config.pools import AffinityConfig, BackendConfig, PoolConfig
from tcpbalance.pool.slot import Slot
from tcpbalance.services import pool_service
from tcpbalance.workers.affinity_entries import ENTRIES_A_MESSAGE, MAX_ENTRIES_A_MESSAGE
from tcpbalance.workers.owner import owner
from tcpbalance.workers.sent_affinity import SEND_EVERY

TTL = 600.0


@pytest.fixture(autouse=True)
def _files_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_service, "in_thread", lambda reactor: execute)


def a_config(file: Path | None = None, backends: str = "abc", **affinity: Any) -> Config:
    made = tuple(BackendConfig(address=f"127.0.0.1:{7000 + ord(name)}", name=name) for name in backends)
    table = AffinityConfig(ttl=TTL, state_file=None if file is None else FilePath(file), **affinity)
    return Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="web")},
        pools={"web": PoolConfig(backends=made, affinity=table)},
    )


def clients_of(place: int, count: int = 2, workers: int = 2) -> list[bytes]:
    """Some clients that a worker owns."""
    found = (number.to_bytes(4) for number in range(1 << 24, 1 << 25, 77))
    its = (client for client in found if owner(client, workers) == place)
    return [next(its) for _ in range(count)]


def connect(worker: Worker, client: bytes, backend: str) -> Slot:
    slot = worker.pool().take(worker.backend(backend), client)
    slot.connected(0.01)
    return slot


def visit(worker: Worker, client: bytes, backend: str) -> None:
    connect(worker, client, backend).release()


def where(worker: Worker, *clients: bytes) -> list[str]:
    affinity = worker.pool().affinity
    assert affinity is not None
    return [names(affinity.lookup(client)) for client in clients]


def restart(fleet: Fleet, *, in_order: bool = True) -> Fleet:
    if in_order:
        assert fleet.stop()
    else:
        journal: Any = fleet.pools._watched[fleet.pools.pools[0]].service._journal
        journal._file.close()
        for worker in fleet.workers:
            worker.sent = Lost()
            worker.balancer.stopService()
    return Fleet(fleet.config)


@pytest.mark.parametrize("with_file", [True, False])
def test_a_worker_knows_the_clients_of_the_one_before_it(tmp_path: Path, with_file: bool) -> None:
    fleet = Fleet(a_config(tmp_path / "state" if with_file else None))
    (anne, bob), (carl, _) = clients_of(0), clients_of(1)
    visit(fleet.workers[0], anne, "b")
    visit(fleet.workers[0], bob, "c")
    visit(fleet.workers[0], bob, "a")
    visit(fleet.workers[1], carl, "a")
    fleet.run(SEND_EVERY)
    fleet.kill(0)
    assert fleet.workers[0].accepts
    assert where(fleet.workers[0], anne, bob, carl) == ["b", "ca", ""]
    assert where(fleet.workers[1], anne, bob, carl) == ["", "", "a"]
    fleet.run(TTL - 2 * SEND_EVERY)
    assert where(fleet.workers[0], anne) == ["b"]
    fleet.run(3 * SEND_EVERY)
    assert where(fleet.workers[0], anne) == [""]
    fleet.stop()


@pytest.mark.parametrize("in_order", [True, False])
def test_all_are_known_after_a_restart(tmp_path: Path, in_order: bool) -> None:
    fleet = Fleet(a_config(tmp_path / "state"))
    (anne, bob), (carl, dora) = clients_of(0), clients_of(1)
    visit(fleet.workers[0], anne, "b")
    visit(fleet.workers[1], carl, "c")
    connect(fleet.workers[1], dora, "a")
    if not in_order:
        fleet.run(1.0)
    after = restart(fleet, in_order=in_order)
    assert where(after.workers[0], anne, bob, carl, dora) == ["b", "", "", ""]
    assert where(after.workers[1], anne, bob, carl, dora) == ["", "", "c", "a"]
    after.stop()


def test_clients_of_a_worker_that_ended_are_connected_no_longer() -> None:
    fleet = Fleet(a_config())
    (anne, _) = clients_of(0)
    connect(fleet.workers[0], anne, "b")
    fleet.run(2 * TTL)
    fleet.kill(0)
    fleet.run(TTL - 1.0)
    fleet.kill(0)
    assert where(fleet.workers[0], anne) == ["b"]
    fleet.run(1.1)
    fleet.kill(0)
    assert where(fleet.workers[0], anne) == [""]
    fleet.stop()


def test_many_clients_go_in_pieces_both_ways() -> None:
    fleet = Fleet(a_config())
    clients = clients_of(0, 4 * ENTRIES_A_MESSAGE + 1)
    for client in clients:
        visit(fleet.workers[0], client, "b")
    fleet.run(SEND_EVERY)
    fleet.kill(0)
    assert where(fleet.workers[0], *clients) == ["b"] * len(clients)
    assert fleet.workers[0].accepts
    fleet.stop()


def test_a_worker_that_does_not_serve_yet_gets_longer_messages() -> None:
    fleet = Fleet(a_config())
    for client in clients_of(0, MAX_ENTRIES_A_MESSAGE + 1):
        visit(fleet.workers[0], client, "b")
    fleet.run(1.0)
    after = fleet.begin(0)
    counts: list[int] = []
    while not (after.balancer.running and after.accepts):
        if after.inbox:
            counts += [part["count"] for part in after.inbox[0].get("entries", [])]
        fleet.deliver_to(after)
        fleet.deliver_from(after)
        fleet.reactor.advance(0.01)
    assert counts == [MAX_ENTRIES_A_MESSAGE, 1]
    after.balancer.stopService()
    fleet.stop()


def test_one_that_is_forgotten_is_forgotten_by_all() -> None:
    fleet = Fleet(a_config())
    (anne, bob) = clients_of(0)
    visit(fleet.workers[0], anne, "b")
    visit(fleet.workers[0], bob, "a")
    fleet.run(SEND_EVERY)
    fleet.apply(a_config(backends="ac"))
    fleet.run(SEND_EVERY)
    fleet.kill(0)
    assert where(fleet.workers[0], anne, bob) == ["", "a"]
    fleet.stop()


def test_affinity_that_a_reload_brings_is_kept(tmp_path: Path) -> None:
    config = a_config(tmp_path / "state")
    (anne, _) = clients_of(1)
    fleet = Fleet(config)
    visit(fleet.workers[1], anne, "b")
    assert fleet.stop()
    without = Config(
        frontends=config.frontends, pools={"web": PoolConfig(backends=config.pools["web"].backends)}
    )
    fleet = Fleet(without)
    fleet.apply(config)
    assert where(fleet.workers[1], anne) == ["b"]
    fleet.apply(without)
    fleet.apply(a_config())
    visit(fleet.workers[1], anne, "c")
    fleet.run(SEND_EVERY)
    fleet.kill(1)
    assert where(fleet.workers[1], anne) == ["c"]
    fleet.stop()


def test_where_a_network_is_one_client_all_workers_know_it() -> None:
    fleet = Fleet(a_config(ipv4_prefix=24), workers=3)
    visit(fleet.workers[0], b"\x0a\0\0\1", "b")
    fleet.run(SEND_EVERY)
    assert [where(worker, b"\x0a\0\0\2") for worker in fleet.workers] == [["b"]] * 3
    fleet.kill(2)
    assert where(fleet.workers[2], b"\x0a\0\0\3") == ["b"]
    fleet.stop()


def test_a_successor_knows_the_last_clients_of_its_predecessor() -> None:
    fleet = Fleet(a_config())
    (anne, bob) = clients_of(0)
    before = fleet.workers[0]
    visit(before, anne, "b")
    fleet.workers.append(fleet.begin(0))
    fleet.run()
    assert where(fleet.workers[2], anne, bob) == ["", ""]
    visit(before, bob, "c")
    before.balancer.stopService()
    fleet.run()
    assert where(fleet.workers[2], anne, bob) == ["b", "c"]
    assert where(fleet.workers[1], anne, bob) == ["", ""]
    fleet.stop()


def test_a_worker_opens_where_the_supervisor_does_not_answer() -> None:
    fleet = Fleet(a_config())
    fleet.shared_states.remove(fleet.affinity)
    fleet.kill(0)
    assert [worker.accepts for worker in fleet.workers] == [False, True]
    fleet.run(5.0)
    assert [worker.accepts for worker in fleet.workers] == [True, True]
    fleet.stop()


def open_slowly(fleet: Fleet, worker: Worker) -> None:
    """Have a worker open, with messages that take a hundredth of a second each."""
    while not (worker.balancer.running and worker.accepts):
        fleet.deliver_to(worker)
        fleet.deliver_from(worker)
        fleet.reactor.advance(0.01)


def test_where_no_other_serves_clients_do_not_wait_for_all_entries() -> None:
    fleet = Fleet(a_config())
    clients = clients_of(0, 20 * ENTRIES_A_MESSAGE)
    for client in clients:
        visit(fleet.workers[0], client, "b")
    fleet.run(1.0)
    before = fleet.workers[0]
    for state in fleet.shared_states:
        state.has_ended(before)
    after = fleet.workers[0] = fleet.begin(0)
    open_slowly(fleet, after)
    assert where(after, clients[-1], clients[0]) == ["b", ""]
    began = fleet.reactor.seconds()
    visit(after, clients[0], "c")
    assert began < 1.0 + 0.1 + SEND_EVERY
    fleet.run(1.0)
    assert where(after, *clients[:3]) == ["c", "b", "b"]
    before.balancer.stopService()
    fleet.stop()


def test_a_successor_knows_all_clients_before_it_takes_the_place_of_one_that_serves() -> None:
    fleet = Fleet(a_config())
    clients = clients_of(0, 20 * ENTRIES_A_MESSAGE)
    for client in clients:
        visit(fleet.workers[0], client, "b")
    fleet.run(1.0)
    after = fleet.begin(0)
    open_slowly(fleet, after)
    assert where(after, *clients) == ["b"] * len(clients)
    after.balancer.stopService()
    fleet.stop()


def replaced(fleet: Fleet) -> tuple[Worker, Worker]:
    """Have a worker drain that another one has replaced; give both."""
    before = fleet.workers[0]
    after = fleet.begin(0)
    fleet.workers = [after, fleet.workers[1], before]
    fleet.run(0.1)
    before.balancer.stopService()
    fleet.run(1.0)
    return before, after


@pytest.mark.parametrize("ends", ["session", "process"])
def test_one_that_is_connected_to_the_successor_stays_known(ends: str) -> None:
    fleet = Fleet(a_config())
    (anne, _) = clients_of(0)
    slot = connect(fleet.workers[0], anne, "b")
    fleet.run(1.0)
    before, after = replaced(fleet)
    connect(after, anne, "b")
    fleet.run(1.0)
    if ends == "session":
        slot.release()
        fleet.run(1.0)
    fleet.workers.remove(before)
    for state in fleet.shared_states:
        state.has_ended(before)
    fleet.run(2 * TTL)
    fleet.kill(0)
    assert where(fleet.workers[0], anne) == ["b"]
    fleet.run(TTL + 1.0)
    fleet.kill(0)
    assert where(fleet.workers[0], anne) == [""]
    fleet.stop()


def test_of_connected_clients_no_more_are_noted_than_are_remembered() -> None:
    fleet = Fleet(a_config(max_entries=10))
    worker = fleet.workers[0]
    for client in clients_of(0, 40):
        slot = connect(worker, client, "a")
        fleet.run(SEND_EVERY)
        slot.release()
        connect(worker, client, "b")
    fleet.run(SEND_EVERY)
    (noted,) = fleet.affinity._learners[worker].connected.values()
    assert len(noted) == 10
    fleet.apply(a_config(backends="ac", max_entries=10))
    fleet.run(SEND_EVERY)
    assert not fleet.affinity._learners[worker].connected["web"]
    fleet.stop()


def test_pools_that_reloads_have_removed_are_not_kept() -> None:
    def named(name: str) -> Config:
        pool = a_config().pools["web"]
        return Config(frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool=name)}, pools={name: pool})

    fleet = Fleet(named("one"))
    (anne, _) = clients_of(0)
    worker = fleet.workers[0]
    worker.pool("one").take(worker.backend("a", "one"), anne).connected(0.01)
    fleet.run(1.0)
    pool = weakref.ref(fleet.pools.pools[0])
    fleet.apply(named("two"))
    fleet.run(5.0)
    gc.collect()
    assert pool() is None
    assert [learner.connected for learner in fleet.affinity._learners.values()] == [{}, {}]
    fleet.stop()


visits = st.lists(
    st.tuples(
        st.integers(0, 5),  # the client
        st.sampled_from("abc"),
        st.sampled_from(["visit", "connect", "release", "kill", "wait", "nothing"]),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=40)
@given(visits)
def test_what_the_supervisor_knows_is_what_the_worker_knows(steps: list[tuple[int, str, str]]) -> None:
    fleet = Fleet(a_config(), workers=1)
    clients = clients_of(0, 6, workers=1)
    slots: list[Slot] = []
    for number, backend, what in steps:
        worker = fleet.workers[0]
        if what == "visit":
            visit(worker, clients[number], backend)
        elif what == "connect":
            slots.append(connect(worker, clients[number], backend))
        elif what == "release" and slots:
            slots.pop().release()
        elif what == "kill":
            slots.clear()
            fleet.run(SEND_EVERY)
            before = where(worker, *clients)
            fleet.kill(0)
            assert where(fleet.workers[0], *clients) == before
        elif what == "wait":
            fleet.run(TTL / 3)
    fleet.run(SEND_EVERY)
    supervisor = fleet.pools.pools[0].affinity
    assert supervisor is not None
    assert [names(supervisor.lookup(client)) for client in clients] == where(fleet.workers[0], *clients)
    for slot in slots:
        slot.release()
    assert fleet.stop()
