"""A backend that has just come gets little, then more."""

from __future__ import annotations

from collections import Counter

import pytest
from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.policies.weighted_random import WeightedRandom
from tcpbalance.pool.pool import Pool

ANNE = b"\xc0\0\2\1"
ALL = [RoundRobin, LeastConnections, PowerOfTwoChoices, PeakEwmaPolicy, WeightedRandom]


def shares(pool: Pool, connections: int = 2000) -> dict[str, float]:
    """What part of some connections, all of which last, each backend gets."""
    counts: Counter[str] = Counter()
    slots = []
    for _ in range(connections):
        backend = next(pool.selection.choices(None))
        counts[backend.name] += 1
        slot = pool.take(backend, None)
        slot.connected(0.001)
        slots.append(slot)
    for slot in slots:
        slot.release()
    return {backend.name: counts[backend.name] / connections for backend in pool.backends}


def warm_pool(policy: PolicyFactory, clock: Clock) -> Pool:
    """Four backends that have been there for long."""
    pool = a_pool(some_backends(1, 1, 1, 1), clock, balance=policy, slow_start=30.0)
    clock.advance(31)
    return pool


@pytest.mark.parametrize("policy", ALL)
def test_its_share_rises_under_every_policy(policy: PolicyFactory) -> None:
    clock = Clock()
    pool = warm_pool(policy, clock)
    newcomer = pool.backends[3]
    pool.mark_down(newcomer, "refused")
    clock.advance(1)
    pool.mark_up(newcomer)
    seen = []
    for _ in range(4):
        seen.append(shares(pool)["d"])
        clock.advance(10)
    assert 0 < seen[0] < 0.06
    assert seen == sorted(seen)
    assert 0.2 < seen[3] < 0.3


@pytest.mark.parametrize("policy", ALL)
def test_nobody_is_spared_where_all_have_come_together(policy: PolicyFactory) -> None:
    pool = a_pool(some_backends(1, 1), balance=policy, slow_start=30.0)
    assert 0.45 < shares(pool)["a"] < 0.55


@pytest.mark.parametrize("policy", ALL)
def test_who_is_alone_gets_all(policy: PolicyFactory) -> None:
    clock = Clock()
    pool = warm_pool(policy, clock)
    for backend in pool.backends:
        pool.mark_down(backend, "refused")
    pool.mark_up(pool.backends[0])
    assert shares(pool, 20)["a"] == 1.0


def test_weights_count() -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1, 2), clock, slow_start=30.0)
    clock.advance(31)
    pool.mark_down(pool.backends[2], "refused")
    pool.mark_up(pool.backends[2])
    clock.advance(15)
    assert 0.3 < shares(pool)["c"] < 0.36  # half of 2, of 3 in all


def test_backups_and_those_that_are_full_do_not_count() -> None:
    clock = Clock()
    backends = some_backends(1, 1, 10, 10)
    backends[2].backup = True
    pool = a_pool(backends, clock, slow_start=30.0)
    clock.advance(31)
    backends[3].max_connections = backends[3].active = 1
    pool.mark_down(backends[1], "refused")
    pool.mark_up(backends[1])
    clock.advance(29)
    assert 0.4 < shares(pool)["b"] < 0.51


def is_held_back(pool: Pool, backend: Backend) -> bool:
    """Whether a backend is held back; three others are there."""
    return backend not in [next(pool.selection.choices(None)) for _ in range(4)]


def test_it_begins_for_one_that_is_ready_again() -> None:
    clock = Clock()
    pool = warm_pool(RoundRobin, clock)
    backend = pool.backends[0]
    pool.set_admin_state(backend, AdminState.DRAIN)
    clock.advance(1)
    pool.set_admin_state(backend, AdminState.READY)
    assert is_held_back(pool, backend)


def test_it_does_not_begin_anew_for_one_that_has_been_there() -> None:
    clock = Clock()
    pool = warm_pool(RoundRobin, clock)
    backend = pool.backends[0]
    pool.mark_up(backend)
    pool.set_admin_state(backend, AdminState.READY)
    assert not is_held_back(pool, backend)


def test_clients_at_home_come_all_the_same() -> None:
    clock = Clock()
    affinity = AffinityConfig(ttl=600.0, max_entries=100)
    pool = a_pool(some_backends(1, 1), clock, slow_start=30.0, affinity=affinity)
    clock.advance(31)
    home = pool.backends[1]
    pool.take(home, ANNE).connected(0.001)
    pool.mark_down(home, "refused")
    pool.mark_up(home)
    assert all(next(pool.selection.choices(ANNE)) is home for _ in range(50))


@pytest.mark.parametrize("balance", ["source_hash", SourceHash])
def test_the_source_hash_has_no_use_for_it(balance: str | PolicyFactory) -> None:
    with pytest.raises(SettingError, match='slow_start has no effect with balance = "source_hash"'):
        a_pool(some_backends(1), balance=balance, slow_start=30.0)


@pytest.mark.parametrize("duration", [0, -1, float("inf"), float("nan")])
def test_durations_that_make_no_sense(duration: float) -> None:
    with pytest.raises(SettingError, match=r"^pool web: slow_start must be (longer than 0s|a duration)"):
        a_pool(some_backends(1), slow_start=duration)
