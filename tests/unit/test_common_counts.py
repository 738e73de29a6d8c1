"""What is counted is known to each worker before it serves, and right over reloads and ends of workers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.descriptors import no_descriptor_free
from support.worker_loads import ClockReactor
from tcpbalance.build import build_pool
from tcpbalance.config.counted import queue_key
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.errors import TcpbalanceError
from tcpbalance.pool.pool import Pool, Slot
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.workers import common_counts
from tcpbalance.workers.common_counts import SupervisorCounts, pieces
from tcpbalance.workers.messages import MAX_MESSAGE, Message
from tcpbalance.workers.place import COLUMNS_A_PLACE
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.worker_counts import WorkerCounts
from tcpbalance.workers.worker_load import WorkerLoad

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

WORKERS = 3


def a_config(limits: Mapping[str, int | None], **pool: Any) -> Config:
    backends = tuple(
        BackendConfig(address=f"10.0.0.{ord(name)}:80", name=name, max_connections=most)
        for name, most in limits.items()
    )
    return Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:80", pool="web")},
        pools={"web": PoolConfig(backends=backends, **pool)},
    )


class Worker:
    """A worker that gets its messages at once; it has a pool, and no frontend."""

    def __init__(self, config: Config, place: int, number: int = 0) -> None:
        self.place = place
        self.column = place * COLUMNS_A_PLACE + number
        self.reactor = ClockReactor()
        self.load = WorkerLoad(place)
        self.pool: Pool = build_pool("web", config.pools["web"], clock=self.reactor.seconds, load=self.load)
        self.slots: list[Slot] = []
        self._counts = WorkerCounts(self.reactor, self.load, Random(1).random)
        self.largest = 0

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        packet = json.dumps(content)
        self.largest = max(self.largest, len(packet))
        message = Message(json.loads(packet), tuple(map(os.dup, descriptors)))
        self._counts.note(message)
        message.close()

    def become(self, config: Config) -> None:
        pool = build_pool("web", config.pools["web"])
        self.pool.prepare(
            [  # Other objects, as a reload makes them.
                type(b)(b.address, b.name, max_connections=b.max_connections) for b in pool.backends
            ]
        )()

    def bring_pool(self, config: Config) -> None:
        """Have another pool take the place of the one that is gone, whose connections go on."""
        self.pool = build_pool("web", config.pools["web"], clock=self.reactor.seconds, load=self.load)

    def take(self, name: str) -> bool:
        backend = next(backend for backend in self.pool.backends if backend.name == name)
        try:
            self.slots.append(self.pool.take(backend, None))
        except NoCapacityError:
            return False
        return True

    def give_back(self, name: str) -> None:
        slot = next(slot for slot in self.slots if slot.backend.name == name)
        self.slots.remove(slot)
        slot.release()

    def end(self) -> None:
        for reader in list(self.reactor.readers):
            reader.close()


class Scene:
    """A supervisor and its workers."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.counts = SupervisorCounts(WORKERS)
        self.counts.prepare(config)
        self.counts.commit(config)
        self.workers: list[Worker] = []
        for place in range(WORKERS):
            self.starts(place)

    def starts(self, place: int, number: int = 0) -> Worker:
        worker = Worker(self.config, place, number)
        self.workers.append(worker)
        self.counts.greet(worker)
        return worker

    def ends(self, worker: Worker) -> None:
        worker.end()
        self.workers.remove(worker)
        self.counts.has_ended(worker)

    def reload(self, config: Config) -> None:
        self.counts.prepare(config)
        self.config = config
        for worker in self.workers:
            worker.become(config)
        self.counts.commit(config)

    @property
    def waiting(self) -> int:
        """Clients that wait in all workers."""
        return self.counts._counts.count(0, self.counts._rows.known[queue_key("web")]).total

    def reload_without_pool(self) -> None:
        other = PoolConfig(backends=(BackendConfig(address="10.0.0.1:80"),))
        config = attrs.evolve(
            self.config,
            frontends={"other": FrontendConfig(listen="127.0.0.1:81", pool="other")},
            pools={"other": other},
        )
        self.counts.prepare(config)
        self.counts.commit(config)

    def bring_pool(self, *, is_refused: bool = False) -> None:
        """Reload once more, with the pool."""
        self.counts.prepare(self.config)
        for worker in self.workers:
            worker.bring_pool(self.config)
        if is_refused:
            self.reload_without_pool()
        else:
            self.counts.commit(self.config)

    def go_and_come_back(self, *, is_refused_first: bool) -> None:
        """Reload without the pool, and with it again."""
        self.reload_without_pool()
        if is_refused_first:
            self.bring_pool(is_refused=True)
        self.bring_pool()

    def kill(self, number: int) -> None:
        """Have one of the workers replaced, without its connections."""
        worker = self.workers[number % len(self.workers)]
        self.ends(worker)
        self.starts(worker.place)

    def give_back(self, number: int, name: str) -> None:
        """End a connection to a backend, of one of the workers that have some."""
        having = [it for it in self.workers if any(slot.backend.name == name for slot in it.slots)]
        if having:
            having[number % len(having)].give_back(name)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self.counts.close()


@pytest.fixture
def make_scene() -> Iterator[Any]:
    scenes: list[Scene] = []

    def make(config: Config) -> Scene:
        scenes.append(Scene(config))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


def test_a_limit_is_that_of_all(make_scene: Any) -> None:
    first, second, third = make_scene(a_config({"a": 2})).workers
    assert [first.take("a"), second.take("a"), third.take("a")] == [True, True, False]
    first.give_back("a")
    assert third.take("a")


def test_a_limit_that_a_reload_brings_counts_what_is_open(make_scene: Any) -> None:
    scene = make_scene(a_config({"a": None}))
    first, second, third = scene.workers
    assert all(worker.take("a") for worker in (first, first, second))
    scene.reload(a_config({"a": 3}))
    assert not third.take("a")
    first.give_back("a")
    assert third.take("a")
    assert not second.take("a")


def test_a_limit_that_a_reload_takes_away_or_changes(make_scene: Any) -> None:
    scene = make_scene(a_config({"a": 1}))
    first, second, _ = scene.workers
    assert first.take("a")
    scene.reload(a_config({"a": 2}))
    assert second.take("a")
    assert not second.take("a")
    scene.reload(a_config({"a": None}))
    assert all(second.take("a") for _ in range(3))
    scene.reload(a_config({"a": 5}))
    assert not first.take("a")
    second.give_back("a")
    assert first.take("a")


def test_a_change_that_is_given_up_changes_nothing(make_scene: Any) -> None:
    scene = make_scene(a_config({"a": 1, "b": None}))
    first, second, _ = scene.workers
    other = a_config({"a": 3, "b": 1})
    scene.counts.prepare(other)
    assert all(first.take("b") for _ in range(3))
    assert first.take("a")
    assert not second.take("a")
    scene.counts.abandon(scene.config)
    assert not second.take("a")
    assert second.take("b")
    scene.reload(other)
    assert second.take("a")
    assert not second.take("b")


@pytest.mark.parametrize("is_refused_first", [False, True])
def test_a_pool_that_comes_back_counts_with_the_one_that_drains(
    make_scene: Any, is_refused_first: bool
) -> None:
    scene = make_scene(a_config({"a": 4}))
    first, second, _ = scene.workers
    for taking in (first, first, second):
        assert taking.take("a")
        scene.go_and_come_back(is_refused_first=is_refused_first)
    assert second.take("a")
    assert not any(worker.take("a") for worker in scene.workers)
    for taken in range(3):
        first.give_back("a") if first.slots else second.give_back("a")
        assert second.take("a")
        assert not first.take("a")
        assert len(first.slots) + len(second.slots) == 4, taken
    while second.slots:
        second.give_back("a")
    assert [second.take("a") for _ in range(5)] == [True] * 4 + [False]


def test_what_takes_the_place_of_all_that_is_counted_has_rows(
    monkeypatch: pytest.MonkeyPatch, make_scene: Any
) -> None:
    monkeypatch.setattr(common_counts, "MAX_ROWS", 2 * 2)
    scene = make_scene(a_config({"a": 1, "b": 1}))
    first, second, _ = scene.workers
    for names in ("cd", "ab", "cd", "ef"):
        scene.reload(a_config(dict.fromkeys(names, 1)))
        for name in names:
            assert first.take(name)
            assert not second.take(name)
            first.give_back(name)


class Waits:
    """A client that waits, and has no turn."""

    def __init__(self, number: int) -> None:
        self.client = bytes((10, 0, 0, number))

    def its_turn(self) -> None:
        raise AssertionError

    def look_soon(self) -> None:
        raise AssertionError

    def displaced(self) -> None:
        raise AssertionError


def test_the_queues_of_a_pool_and_of_the_one_before_it_are_counted_together(make_scene: Any) -> None:
    scene = make_scene(a_config({"a": 1}, queue=10))
    first, second, _ = scene.workers
    assert second.take("a")
    queues = [first.pool.queue]
    clients = [Waits(number) for number in range(3)]
    assert queues[0].join(clients[0])
    scene.reload_without_pool()
    scene.bring_pool()
    queues.append(first.pool.queue)
    assert all(queues[1].join(client) for client in clients[1:])
    assert scene.waiting == 3
    queues[0].leave(clients[0])
    assert scene.waiting == 2
    for client in clients[1:]:
        queues[1].leave(client)
    assert scene.waiting == 0


def test_what_drains_is_counted_and_what_has_ended_is_not(make_scene: Any) -> None:
    scene = make_scene(a_config({"a": 2}))
    old = scene.workers[1]
    assert old.take("a")
    successor = scene.starts(1, 1)
    assert successor.take("a")
    assert not scene.workers[0].take("a")
    scene.ends(old)
    assert scene.workers[0].take("a")


def test_connections_to_a_backend_that_was_removed_count_where_it_comes_back(make_scene: Any) -> None:
    both = a_config({"a": 2, "b": 1})
    scene = make_scene(both)
    old, second, _ = scene.workers
    assert old.take("a")
    assert old.take("a")
    scene.reload(a_config({"b": 1}))
    # It drains from now on, and gets no other configuration.
    successor = scene.starts(0, 1)
    scene.counts.prepare(both)
    for worker in scene.workers[1:]:
        worker.become(both)
    scene.counts.commit(both)
    assert not second.take("a")
    old.give_back("a")
    assert successor.take("a")
    assert not second.take("a")


def test_rows_of_a_change_that_is_given_up_are_free_for_others(
    monkeypatch: pytest.MonkeyPatch, make_scene: Any
) -> None:
    monkeypatch.setattr(common_counts, "MAX_ROWS", 3)
    scene = make_scene(a_config({"a": 1, "b": None}))
    first, second, _ = scene.workers
    scene.counts.prepare(a_config({"a": 1, "b": 5}))
    scene.counts.abandon(scene.config)
    scene.reload(a_config({"a": 1, "b": None, "c": 1, "d": 1}))
    assert all(first.take("b") for _ in range(3))
    assert second.take("c")
    assert second.take("d")


def test_any_number_of_backends_is_made_known(make_scene: Any) -> None:
    limits = {f"backend-{'x' * 60}-{number}": 1 for number in range(2000)}
    backends = [
        BackendConfig(address=f"10.0.{n // 250}.{1 + n % 250}:80", name=name, max_connections=1)
        for n, name in enumerate(limits)
    ]
    config = Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:80", pool="web")},
        pools={"web": PoolConfig(backends=tuple(backends))},
    )
    first, second, _ = make_scene(config).workers
    assert first.largest < MAX_MESSAGE
    assert all(first.take(name) for name in list(limits)[::100])
    assert not any(second.take(name) for name in list(limits)[::100])


def test_a_process_that_ends_before_it_was_greeted_changes_nothing(make_scene: Any) -> None:
    config = a_config({"a": 1})
    scene = make_scene(config)
    scene.counts.has_ended(Worker(config, 0, number=1))
    assert scene.workers[0].take("a")
    assert not scene.workers[1].take("a")


def test_without_descriptors_the_start_fails_and_says_why() -> None:
    with (
        no_descriptor_free(),
        pytest.raises(TcpbalanceError, match="3 of them cannot count together: too many"),
    ):
        SupervisorCounts(WORKERS)


@given(st.lists(st.text(max_size=200), max_size=50))
def test_pieces_have_space_in_a_message_and_nothing_is_left_out(items: list[str]) -> None:
    made = list(pieces([item * 200] for item in items))
    assert [item for piece, _ in made for item in piece] == [[item * 200] for item in items]
    assert [follow for _, follow in made] == [True] * (len(made) - 1) + [False] * bool(made)


BOTH = st.fixed_dictionaries({"a": st.sampled_from([None, 1, 2, 4]), "b": st.sampled_from([None, 1, 3])})
ONE = st.dictionaries(st.sampled_from("ab"), st.sampled_from([None, 1, 3]), min_size=1, max_size=1)

DEEDS = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 5), st.sampled_from("ab")),
    st.tuples(st.just("give back"), st.integers(0, 5), st.sampled_from("ab")),
    st.tuples(st.just("reload"), st.one_of(BOTH, ONE).map(a_config), st.just("")),
    st.tuples(st.just("gone and back"), st.booleans(), st.just("")),
    st.tuples(st.just("end"), st.integers(0, 5), st.just("")),
)


@given(st.lists(DEEDS, max_size=40))
def test_over_any_reloads_and_ends_no_limit_is_exceeded_and_none_is_lost(deeds: list[Any]) -> None:
    scene = Scene(a_config({"a": 2, "b": None}))
    try:
        for deed, number, name in deeds:
            backends = scene.config.pools["web"].backends
            limits = {backend.name: backend.max_connections for backend in backends}
            if deed == "reload":
                scene.reload(number)
            elif deed == "gone and back":
                scene.go_and_come_back(is_refused_first=number)
            elif deed == "end":
                scene.kill(number)
            elif deed == "take" and name in limits:
                before = sum(slot.backend.name == name for it in scene.workers for slot in it.slots)
                limit = limits[name]
                taken = scene.workers[number % len(scene.workers)].take(name)
                assert taken == (limit is None or before < limit)
            elif deed == "give back":
                scene.give_back(number, name)
    finally:
        scene.close()
