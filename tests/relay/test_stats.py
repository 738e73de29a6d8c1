"""Counters: which of them an event changes, and that all others stay as they are."""

from __future__ import annotations

import gc
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs

from support.admissions import lists
from support.bulk_thresholds import bulk_comes_early
from support.scene import ONE, RETRY_ON_RESET, TWO, CopyingScene, Scene
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.preread_settings import PrereadSettings

Changes = dict[str, int]
Play = Callable[[], object]

CLIENT_COMES = {"frontend.connections_total": 1, "frontend.connections_active": 1}
IS_SERVED = {"connect_attempts": 1, "connections_total": 1, "connections_active": 1}
HAS_FAILED = {"connect_attempts": 1, "connect_failures": 1, "cooldowns": 1}
ENDS = {"frontend.connections_active": -1}
NOTHING: Changes = {}


def at(where: str, **changes: int) -> Changes:
    """Changes at a backend, the pool or the frontend."""
    return {f"{where}.{name}": change for name, change in changes.items()}


def ended(word: str, *places: str) -> Changes:
    return {f"{place}.ended.{word}": 1 for place in places}


def counters(scene: Any) -> Changes:
    """All there are, of the first backend as ``one``, of the second as ``two``."""
    one, *others = scene.pool.backends
    parts = {"frontend": scene.frontend.stats, "pool": scene.pool.stats, "one": one}
    parts |= {"two": others[0]} if others else {}
    return {f"{part}.{name}": count for part, of in parts.items() for name, count in of.snapshot().items()}


def changes(scene: Any, event: Play) -> Changes:
    before = counters(scene)
    event()
    after = counters(scene)
    assert before.keys() <= after.keys()
    differences = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: difference for name, difference in differences.items() if difference}


DURATIONS = [
    ("frontend", "session_time", "ended."),
    ("pool", "connect_time", "connections_total"),
    ("one", "connect_time", "connections_total"),
    ("two", "connect_time", "connections_total"),
    ("pool", "queue_time", ""),
]
"""Durations of what part there are, and the counter that each of them comes with, if there is one."""


def without_durations(found: Changes) -> Changes:
    return {name: count for name, count in found.items() if "_time" not in name}


def of_all(found: Changes, start: str) -> int:
    """The sum of the counters whose names begin so."""
    return sum(count for name, count in found.items() if name.startswith(start))


def noted(found: Changes, kind: str) -> int:
    """How many durations of a kind there were."""
    return of_all(found, f"{kind}.")


def denies(**how: Any) -> Callable[[Any], AdmissionControl]:
    return lambda clock: AdmissionControl(lists(["198.51.100.0/24"], **how), LimitsConfig(), clock)


def of(host: int) -> IPv4Address:
    return IPv4Address("TCP", f"198.51.100.{host}", 4000)


def then(*steps: Play) -> Play:
    return lambda: [step() for step in steps]


# What clients and backends do


def comes(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    return scene, then(scene.connect, scene.run), {**CLIENT_COMES, **at("one", **IS_SERVED)}


def is_answered_and_leaves(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    client, backend = scene.joined(early=b"question")
    backend.send(b"the answer")
    scene.run()
    change = {**ENDS, **ended("client_closed", "frontend", "one"), "one.connections_active": -1}
    for place in ("frontend", "one"):
        change |= at(place, bytes_in=8, bytes_out=10)
    return scene, then(client.finish, scene.run, backend.finish, scene.run), change


def uploads_directly_and_is_reset(make: Any) -> tuple[Any, Play, Changes]:
    """More bytes than are kept, so that they pass from socket to socket where they can."""
    scene = make()
    client, backend = scene.joined()
    for peer, data in ((client, bytes(100_000)), (backend, b"1"), (client, b"22")):
        peer.send(data)
        scene.run()
    change = {**ENDS, **ended("backend_reset", "frontend", "one"), "one.connections_active": -1}
    for place in ("frontend", "one"):
        change |= at(place, bytes_in=100_002, bytes_out=1)
    return scene, then(backend.reset, scene.run), change


def is_refused(make: Any) -> tuple[Any, Play, Changes]:
    scene = make(admission=denies())
    return scene, scene.turned_away, {"frontend.refused.denied": 1}


def would_be_refused(make: Any) -> tuple[Any, Play, Changes]:
    scene = make(admission=denies(dry_run=True))
    change = {**CLIENT_COMES, **at("one", **IS_SERVED), "frontend.would_refuse.denied": 1}
    return scene, then(scene.connect, scene.run), change


def would_wait(make: Any) -> tuple[Any, Play, Changes]:
    scene = make(settings={"connections": 1, "dry_run": True})
    scene.joined()
    change = {**CLIENT_COMES, **at("one", **IS_SERVED), "frontend.would_limit.connections": 1}
    return scene, then(scene.connect, scene.run), change


def is_silent_in_the_preread(make: Any) -> tuple[Any, Play, Changes]:
    networks = NetworkSet([ip_network("198.51.100.0/24")])
    scene = make(preread=lambda _: PrereadSettings(networks, timeout=2.0))
    scene.connect(early=b"PROXY")
    scene.run()
    change = {**ENDS, **ended("preread_timeout", "frontend"), "frontend.bytes_in": 5}
    return scene, lambda: scene.advance(4), change


# What dialling does


def is_served_by_another(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "refuses", TWO: "accepts"})
    change = {
        **CLIENT_COMES,
        **at("one", **HAS_FAILED),
        **at("two", **IS_SERVED, retries=1, redispatches=1),
    }
    return scene, then(scene.connect, scene.run), change


def is_served_by_the_same_later(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "refuses"})
    scene.connect()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    return scene, lambda: scene.advance(3), at("one", **IS_SERVED, retries=1)


def is_served_by_none(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "refuses"}, retries=0)
    change = {
        "frontend.connections_total": 1,
        **ended("connect_failed", "frontend", "pool"),
        **at("one", **HAS_FAILED),
    }
    return scene, then(scene.connect, scene.run), change


def has_no_backend(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    scene.pool.mark_down(scene.pool.backends[0], "checked")
    change = {"frontend.connections_total": 1, **ended("no_backend", "frontend", "pool")}
    return scene, then(scene.connect, scene.run), change


def lacks_a_descriptor(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "lacks_descriptor"})
    change = {
        "frontend.connections_total": 1,
        **ended("out_of_descriptors", "frontend", "pool"),
        **at("one", connect_attempts=1, local_failures=1),
    }
    return scene, then(scene.connect, scene.run), change


def is_reset_before_an_answer(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "resets_at_once", TWO: "accepts"}, **RETRY_ON_RESET)
    change = {
        **CLIENT_COMES,
        **at("one", connect_attempts=1, connections_total=1, resets_before_answer=1, cooldowns=1),
        **at("two", **IS_SERVED, retries=1, redispatches=1),
    }
    return scene, then(scene.connect, scene.run), change


def gives_up_a_dial(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "hangs"})
    client = scene.connect()
    scene.run()
    change = {**ENDS, **ended("client_reset", "frontend", "pool"), "one.connections_active": -1}
    return scene, then(client.reset, scene.run), change


# What the queue does


def queueing(make: Any, clients: int, **pool: Any) -> Any:
    """A backend that has all it may have, and others that wait."""
    scene = make([ONE], members=[Backend(ONE, max_connections=1)], queue=2, queue_timeout=5.0, **pool)
    for _ in range(clients):
        scene.connect(address=of(1))
        scene.run()
    return scene


def queues(make: Any) -> tuple[Any, Play, Changes]:
    scene = queueing(make, 1)
    return scene, then(scene.connect, scene.run), {**CLIENT_COMES, "pool.queue_total": 1}


def finds_the_queue_full(make: Any) -> tuple[Any, Play, Changes]:
    scene = queueing(make, 3)
    change = {
        "frontend.connections_total": 1,
        "pool.queue_overflows": 1,
        **ended("queue_full", "frontend", "pool"),
    }
    return scene, then(lambda: scene.connect(address=of(1)), scene.run), change


def displaces_another(make: Any) -> tuple[Any, Play, Changes]:
    scene = queueing(make, 3)
    change = {
        "frontend.connections_total": 1,
        "pool.queue_total": 1,
        "pool.queue_displacements": 1,
        **ended("queue_full", "frontend", "pool"),
    }
    return scene, then(lambda: scene.connect(address=of(2)), scene.run), change


def waits_in_vain(make: Any) -> tuple[Any, Play, Changes]:
    scene = queueing(make, 2)
    change = {**ENDS, "pool.queue_timeouts": 1, **ended("queue_timeout", "frontend", "pool")}
    return scene, lambda: scene.advance(7), change


def comes_to_its_turn(make: Any) -> tuple[Any, Play, Changes]:
    scene = queueing(make, 2)
    change = {
        **ENDS,
        **ended("client_reset", "frontend", "one"),
        **at("one", connect_attempts=1, connections_total=1),
        "pool.queue_time": 1,
    }
    return scene, then(scene.clients[0].reset, scene.run), change


# What becomes of backends


def goes_down(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    (backend,) = scene.pool.backends
    twice = then(*[lambda: scene.pool.mark_down(backend, "checked")] * 2)
    return scene, twice, {"one.down_transitions": 1}


def comes_up(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    (backend,) = scene.pool.backends
    scene.pool.mark_down(backend, "checked")
    return scene, then(*[lambda: scene.pool.mark_up(backend)] * 2), {"one.up_transitions": 1}


def awaits_a_check(make: Any) -> tuple[Any, Play, Changes]:
    scene = make()
    (backend,) = scene.pool.backends
    return scene, lambda: scene.pool.status.await_check(backend, "no address"), {"one.down_transitions": 1}


def is_ejected(make: Any) -> tuple[Any, Play, Changes]:
    scene = make({ONE: "refuses", TWO: "accepts"}, outlier=OutlierConfig(consecutive_failures=1))
    change = {
        **CLIENT_COMES,
        **at("one", connect_attempts=1, connect_failures=1, ejections=1),
        **at("two", **IS_SERVED, retries=1, redispatches=1),
    }
    return scene, then(scene.connect, scene.run), change


def gets_another_weight(make: Any) -> tuple[Any, Play, Changes]:
    """A backend of the same name and address stays the same."""
    scene = make()
    scene.joined()
    return scene, lambda: scene.pool.replace([Backend(ONE, weight=7)]), NOTHING


EVENTS = [
    comes,
    is_answered_and_leaves,
    uploads_directly_and_is_reset,
    is_refused,
    would_be_refused,
    would_wait,
    is_silent_in_the_preread,
    is_served_by_another,
    is_served_by_the_same_later,
    is_served_by_none,
    has_no_backend,
    lacks_a_descriptor,
    is_reset_before_an_answer,
    gives_up_a_dial,
    queues,
    finds_the_queue_full,
    displaces_another,
    waits_in_vain,
    comes_to_its_turn,
    goes_down,
    comes_up,
    awaits_a_check,
    is_ejected,
    gets_another_weight,
]


@pytest.mark.parametrize("prepare", EVENTS, ids=lambda prepare: prepare.__name__)
def test_an_event_changes_these_counters_and_no_others(make_scene: Any, prepare: Any) -> None:
    with capturedLogs():
        scene, event, expected = prepare(make_scene)
        found = changes(scene, event)
        assert without_durations(found) == without_durations(expected)
        for part, kind, counter in DURATIONS:
            number = of_all(expected, f"{part}.{counter}") if counter else expected.get(f"{part}.{kind}", 0)
            assert noted(found, f"{part}.{kind}") == number


def test_a_pool_keeps_what_removed_backends_have_counted(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO])
    clients = [scene.connect(early=b"question") for _ in range(2)]
    scene.run()
    before = scene.pool.snapshot()
    removed = scene.pool.backends[0]
    scene.pool.replace([scene.pool.backends[1]])
    assert scene.pool.snapshot() == before
    clients[0].reset()
    scene.run()
    after = scene.pool.snapshot()
    assert (after["connections_active"], after["connections_total"], after["bytes_in"]) == (1, 2, 8)
    # It does not count twice when it comes back, and its counts stay when it is forgotten.
    scene.pool.replace([scene.pool.backends[0], removed])
    assert scene.pool.snapshot() == after
    scene.pool.replace([scene.pool.backends[0]])
    forgotten = ref(removed)
    del removed, clients
    gc.collect()
    assert forgotten() is None
    for _ in range(2):
        assert scene.pool.snapshot() == after
        scene.pool.replace([scene.pool.backends[0], Backend("10.0.0.9:80")])


def test_a_removed_backend_that_comes_back_with_connections_goes_on_counting(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO])
    for _ in range(2):
        scene.connect()
    scene.run()
    backends = scene.pool.backends
    before = scene.pool.snapshot()
    scene.pool.replace(backends[1:])
    scene.pool.replace(backends)
    assert scene.pool.snapshot() == before
    assert backends[0].snapshot()["connections_total"] == 1


# Sums

STEPS = st.lists(
    st.sampled_from(["comes", "comes", "finishes", "resets", "answers", "down", "up", "replaced", "time"]),
    max_size=30,
)


def _can_send(peer: Any) -> bool:
    return not peer.finished and not peer.on_connection_error and peer.saw == "open"


def take(scene: Any, step: str, number: int) -> None:
    """Take one step; what it is about is chosen by its number."""
    pool = scene.pool
    backend = pool.backends[number % len(pool.backends)]
    clients = [client for client in scene.clients if _can_send(client)]
    connections = [
        connection for connection in scene.backends[str(backend.address)].connections if _can_send(connection)
    ]
    if step == "comes":
        scene.connect(address=of(number % 3 + 1), early=b"question")
    elif step in {"finishes", "resets"} and clients:
        client = clients[number % len(clients)]
        client.finish() if step == "finishes" else client.reset()
    elif step == "answers" and connections:
        connections[-1].send(b"answer")
        connections[-1].finish()
    elif step == "down":
        pool.mark_down(backend, "checked")
    elif step == "up":
        pool.mark_up(backend)
    elif step == "replaced":
        wanted = [ONE, TWO] if len(pool.backends) == 1 else [(ONE, TWO)[number % 2]]
        pool.replace([Backend(address, max_connections=2) for address in wanted])
    elif step == "time":
        scene.advance(1)
    scene.run()


@pytest.mark.parametrize("kind", [Scene, CopyingScene], ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(
    steps=STEPS,
    behaviours=st.tuples(*[st.sampled_from(["accepts", "accepts", "refuses", "resets_at_once"])] * 2),
)
def test_the_sums_agree(kind: Any, steps: list[str], behaviours: tuple[str, str]) -> None:
    with bulk_comes_early(), capturedLogs():
        scene = kind(
            dict(zip([ONE, TWO], behaviours, strict=True)),
            members=[Backend(address, max_connections=2) for address in (ONE, TWO)],
            queue=2,
            queue_timeout=3.0,
        )
        for number, step in enumerate(steps):
            take(scene, step, number)
            assert scene.disagreeing_counts() == []
        scene.leave()
        assert scene.leftovers() == []
