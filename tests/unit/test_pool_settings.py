"""A pool takes over the settings of another of its name: what is known of backends and clients stays."""

from __future__ import annotations

from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.configurations import random_config
from support.pools import AsWritten, a_pool, choices, described, facts, some_backends
from tcpbalance import Pool
from tcpbalance.build import build_pool, describe_pool
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig, HealthConfig, PoolConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool.backend import Backend, BackendSettings
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.description import PoolDescription
from tcpbalance.pool.recorded_affinity import RecordedAffinity

ANNE, BOB = b"\xc0\0\2\1", b"\xc0\0\2\2"


def become(pool: Pool, weights: tuple[int, ...] = (1, 1), **settings: Any) -> None:
    """Make a pool like one of these backends and settings."""
    pool.prepare_as(described(some_backends(*weights), **settings))()


def test_nothing_changes_before_the_commit() -> None:
    pool = a_pool(some_backends(1, 1))
    commit = pool.prepare_as(described(some_backends(5), connect_timeout=1.0, retries=7))
    assert (choices(pool), pool.connect_timeout, pool.retries) == ("ab", 3.0, 2)
    commit()
    assert (choices(pool), pool.connect_timeout, pool.retries) == ("a", 1.0, 7)


def test_backends_stay_the_objects_that_they_are() -> None:
    pool = a_pool(some_backends(1, 1))
    a, _ = pool.backends
    slot = pool.take(a, None)
    a.stats.retries = 1
    become(pool, (3, 1, 1), balance="least_connections")
    assert pool.backends[0] is a
    assert (a.weight, a.active, a.stats.retries) == (3, 1, 1)
    slot.release()
    assert a.active == 0


def test_an_equal_one_publishes_no_change_and_keeps_its_tables() -> None:
    pool = a_pool(some_backends(1, 2))
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    members = pool._members
    become(pool, (1, 2), connect_timeout=1.0)
    assert changes == []
    assert pool._members is members


def test_only_backends_whose_settings_change_are_written_to() -> None:
    pool = a_pool(some_backends(1, 1, 1))
    written: list[str] = []
    settings: Any = Backend.settings

    def note(backend: Backend, new: BackendSettings) -> None:
        written.append(backend.name)
        settings.fset(backend, new)

    with patch.object(Backend, "settings", settings.setter(note)):
        become(pool, (1, 2, 1))
    assert set(written) == {"b"}
    assert [backend.weight for backend in pool.backends] == [1, 2, 1]


def test_a_policy_that_cannot_be_made_leaves_all_as_it_was() -> None:
    def broken(*_: object) -> Any:
        raise ValueError("no")

    pool = a_pool(some_backends(1))
    with pytest.raises(SettingError, match=r"policy .*broken cannot be made"):
        pool.prepare_as(described(some_backends(1), balance=broken))
    assert choices(pool) == "a"


def test_a_policy_is_made_once() -> None:
    made: list[int] = []

    def counted(backends: Any, tools: Any) -> Any:
        made.append(len(backends))
        return AsWritten(backends, tools)

    pool = a_pool(some_backends(1))
    pool.prepare_as(described(some_backends(1, 1), balance=counted))()
    assert made == [2]
    assert choices(pool) == "ab"


def test_two_backends_of_one_name_are_refused() -> None:
    pool = a_pool(some_backends(1))
    twice = [*some_backends(1), *some_backends(1)]
    with pytest.raises(SettingError, match="different names"):
        pool.prepare_as(described(twice))
    assert choices(pool) == "a"


def test_clients_are_remembered_under_another_ttl() -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, affinity=AffinityConfig(ttl=100))
    slot = pool.take(pool.backends[1], ANNE)
    slot.connected(0.001)
    become(pool, affinity=AffinityConfig(ttl=10))
    assert choices(pool, ANNE) == "ba"
    slot.release()
    clock.advance(11)
    assert choices(pool, ANNE) == "ab"


def test_fewer_clients_are_remembered_at_once() -> None:
    pool = a_pool(some_backends(1, 1), affinity=AffinityConfig())
    for client in (ANNE, BOB):
        pool.take(pool.backends[1], client).connected(0.001)
    become(pool, affinity=AffinityConfig(max_entries=1))
    assert (choices(pool, ANNE)[0], choices(pool, BOB)[0]) == ("a", "b")


@pytest.mark.parametrize("after", [None, AffinityConfig(ipv4_prefix=24)], ids=["none", "another prefix"])
def test_clients_that_are_distinguished_in_another_way_are_forgotten(after: AffinityConfig | None) -> None:
    pool = a_pool(some_backends(1, 1), affinity=AffinityConfig())
    slot = pool.take(pool.backends[1], ANNE)
    slot.connected(0.001)
    become(pool, affinity=after)
    assert choices(pool, ANNE) == "ab"
    slot.release()
    slot = pool.take(pool.backends[1], ANNE)
    slot.connected(0.001)
    assert choices(pool, ANNE) == ("ab" if after is None else "ba")


@pytest.mark.parametrize("before", [None, "one"])
@pytest.mark.parametrize("after", [None, "two"])
def test_clients_are_remembered_in_another_file_or_none(before: str | None, after: str | None) -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, affinity=AffinityConfig(ttl=10, state_file=before))
    slot = pool.take(pool.backends[1], ANNE)
    slot.connected(0.001)
    become(pool, affinity=AffinityConfig(ttl=10, state_file=after, max_entries=1))
    assert pool.affinity is not None
    assert pool.affinity.config.state_file == after
    assert isinstance(pool.affinity, RecordedAffinity) == (after is not None)
    assert choices(pool, ANNE) == "ba"
    slot.release()
    clock.advance(9)
    assert choices(pool, ANNE) == "ba"
    clock.advance(1)
    assert choices(pool, ANNE) == "ab"
    pool.take(pool.backends[1], BOB).connected(0.001)
    assert len(pool.affinity) == 1


def test_ejected_backends_come_back_where_none_is_ejected_any_more() -> None:
    pool = a_pool(some_backends(1, 1), outlier=OutlierConfig(consecutive_failures=1))
    slot = pool.take(pool.backends[0], None)
    slot.failed(0.1, "refused")
    assert choices(pool) == "b"
    become(pool)
    assert choices(pool) == "ab"
    pool.take(pool.backends[0], None).answered()
    slot = pool.take(pool.backends[0], None)
    slot.failed(0.1, "refused")
    assert not pool.backends[0].ejected


def test_connections_that_are_open_count_towards_an_ejection_that_is_new() -> None:
    pool = a_pool(some_backends(1, 1))
    slot = pool.take(pool.backends[0], None)
    become(pool, outlier=OutlierConfig(consecutive_failures=1))
    slot.failed(0.1, "refused")
    assert pool.backends[0].ejected
    become(pool, outlier=OutlierConfig(consecutive_failures=2))
    assert pool.backends[0].ejected


def test_all_are_up_where_they_are_checked_no_more() -> None:
    pool = a_pool(some_backends(1, 1), health=HealthConfig(check="tcp", probe=object()))
    pool.mark_up(pool.backends[0])
    pool.mark_down(pool.backends[1], "refused")
    assert choices(pool) == "a"
    become(pool)
    assert choices(pool) == "ab"
    assert pool.backends[1].cause == ""


def test_backends_stay_as_they_stand_where_checks_are_new_but_new_ones_wait_for_theirs() -> None:
    pool = a_pool(some_backends(1, 1))
    become(pool, (1, 1, 1), health=HealthConfig(check="tcp", probe=object()))
    assert choices(pool) == "ab"
    assert [backend.awaits_check for backend in pool.backends] == [False, False, True]


class Waiting:
    """One that waits in the queue."""

    def __init__(self, client: bytes | None = None) -> None:
        self.client = client
        self.turns = 0

    def its_turn(self) -> None:
        self.turns += 1

    def displaced(self) -> None:
        pytest.fail("displaced")

    def look_soon(self) -> None:
        """It will."""


def one_at_a_time() -> list[Backend]:
    backends = some_backends(1)
    backends[0].max_connections = 1
    return backends


def full_pool(**settings: Any) -> Pool:
    return a_pool(one_at_a_time(), **settings)


def full(**settings: Any) -> PoolDescription:
    return described(one_at_a_time(), **settings)


def test_those_that_wait_keep_their_places_in_a_queue_of_another_length() -> None:
    pool = full_pool(queue=2)
    slot = pool.take(pool.backends[0], None)
    queue = pool.queue
    assert queue is not None
    first, second = Waiting(ANNE), Waiting(BOB)
    assert (queue.join(first), queue.join(second)) == (True, True)
    pool.prepare_as(full(queue=1))()
    assert pool.queue is queue
    assert not queue.join(Waiting(b"\xc0\0\2\3"))
    slot.release()
    assert (first.turns, second.turns) == (1, 1)


def test_those_that_wait_in_a_queue_that_is_given_up_are_served_when_they_look() -> None:
    pool = full_pool(queue=2)
    slot = pool.take(pool.backends[0], None)
    queue = pool.queue
    assert queue is not None
    waiting = Waiting()
    queue.join(waiting)
    pool.prepare_as(full())()
    assert pool.queue is None
    slot.release()
    queue.look()
    assert waiting.turns == 1


def test_slots_that_are_held_serve_a_queue_that_is_new() -> None:
    pool = full_pool()
    slot = pool.take(pool.backends[0], None)
    pool.prepare_as(full(queue=2))()
    assert pool.queue is not None
    waiting = Waiting()
    pool.queue.join(waiting)
    slot.release()
    assert waiting.turns == 1


def test_slow_start_that_is_given_up_holds_no_backend_back() -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, slow_start=100.0)
    clock.advance(200)
    pool.mark_down(pool.backends[1], "refused")
    pool.mark_up(pool.backends[1])
    assert times_first(pool, "b") < 4
    become(pool)
    assert times_first(pool, "b") > 4
    become(pool, slow_start=1.0)
    assert times_first(pool, "b") > 4


def times_first(pool: Pool, name: str) -> int:
    """How often a backend is the first choice for ten connections."""
    return [next(pool.selection.choices(None)).name for _ in range(10)].count(name)


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_sequence_ends_like_a_fresh_start_with_the_last(seeds: list[int]) -> None:
    configs: list[PoolConfig] = [random_config(Random(seed)).pools["red"] for seed in seeds]
    pool = build_pool("red", configs[0])
    mark(pool)
    for config in configs[1:]:
        pool.prepare_as(describe_pool("red", config, None))()
        mark(pool)
    fresh = build_pool("red", configs[-1])
    mark(fresh)
    assert facts(pool) == facts(fresh)


def mark(pool: Pool) -> None:
    """Let every check pass."""
    for backend in pool.backends:
        pool.mark_up(backend)
