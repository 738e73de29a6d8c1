"""Which backends a connection may go to, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from support.pools import AsWritten, a_pool, choices, names, some_backends
from tcpbalance.config.pools import AffinityConfig, HealthConfig
from tcpbalance.errors import Fault, SettingError
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.cooldown import COOLDOWN, SHORT_COOLDOWN
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.pool import Pool

ANNE, BOB = b"\xc0\0\2\1", b"\xc0\0\2\2"


def pool_of(weights: Sequence[int] = (1, 1, 1), clock: Clock | None = None, **settings: Any) -> Pool:
    return a_pool(some_backends(*weights), clock, **{"balance": AsWritten, **settings})


def fill(backend: Backend) -> None:
    backend.max_connections = backend.active = 1


# The policy's order, health and fullness.


def test_the_order_is_the_policys() -> None:
    assert choices(pool_of()) == "abc"


def test_the_default_is_round_robin() -> None:
    pool = Pool("web", some_backends(1, 1), clock=Clock().seconds, rng=Random(1))
    assert names([next(pool.selection.choices(None)) for _ in range(4)]) == "abab"


def test_one_that_is_down_is_passed_over() -> None:
    pool = pool_of()
    assert pool.mark_down(pool.backends[0], "refused")
    assert choices(pool) == "bc"
    assert pool.mark_up(pool.backends[0])
    assert choices(pool) == "abc"


def test_only_flips_are_told_and_the_cause_is_kept() -> None:
    pool = pool_of()
    backend = pool.backends[0]
    assert not pool.mark_up(backend)
    assert pool.mark_down(backend, "refused")
    assert not pool.mark_down(backend, "timed out after 1 s")
    assert (backend.up, backend.cause) == (False, "timed out after 1 s")
    assert pool.mark_up(backend)
    assert (backend.up, backend.cause) == (True, "")


def test_one_that_is_full_is_passed_over() -> None:
    pool = pool_of()
    fill(pool.backends[1])
    assert choices(pool) == "ac"


def test_whether_one_can_serve_is_decided_when_it_is_asked_for() -> None:
    pool = pool_of()
    asked = pool.selection.choices(None)
    assert next(asked).name == "a"
    pool.mark_down(pool.backends[1], "refused")
    assert names(list(asked)) == "c"


def test_with_none_that_can_serve_there_is_no_choice() -> None:
    pool = pool_of()
    for backend in pool.backends:
        pool.mark_down(backend, "refused")
    assert choices(pool) == ""


# Backups.


def test_backups_come_after_all_primaries() -> None:
    backends = some_backends(1, 1, 1)
    backends[0].backup = True
    assert choices(a_pool(backends, balance=AsWritten)) == "bca"


def test_backups_have_turns_of_their_own() -> None:
    backends = some_backends(1, 1, 1, 1)
    backends[0].backup = backends[2].backup = True
    pool = a_pool(backends)
    assert names([next(pool.selection.choices(None)) for _ in range(3)]) == "bdb"
    for backend in (backends[1], backends[3]):
        pool.mark_down(backend, "refused")
    assert names([next(pool.selection.choices(None)) for _ in range(3)]) == "aca"


def test_a_pool_may_be_all_backups() -> None:
    backends = some_backends(1, 1)
    for backend in backends:
        backend.backup = True
    assert choices(a_pool(backends, balance=AsWritten)) == "ab"


# Panic.


def test_below_the_threshold_health_is_ignored() -> None:
    pool = pool_of((1, 1, 1, 1), panic_threshold=0.5)
    down = pool.backends[:3]
    for backend in down[:2]:
        pool.mark_down(backend, "refused")
    assert choices(pool) == "cd"
    with capturedLogs() as events:
        pool.mark_down(down[2], "refused")
        assert choices(pool) == "abcd"
        pool.mark_up(down[2])
        assert choices(pool) == "cd"
    assert [formatEvent(event) for event in events] == [
        "pool web: 1 of 4 backends available, below the panic threshold; health is ignored",
        "pool web: 2 of 4 backends available; health is used again",
    ]


def test_a_panic_that_no_connection_meets_is_not_told() -> None:
    pool = pool_of((1, 1), panic_threshold=1.0)
    with capturedLogs() as events:
        pool.mark_down(pool.backends[0], "not checked yet")
        pool.mark_up(pool.backends[0])
        choices(pool)
    assert events == []


def test_full_ones_stay_out_even_then() -> None:
    pool = pool_of(panic_threshold=1.0)
    pool.mark_down(pool.backends[0], "refused")
    fill(pool.backends[0])
    assert choices(pool) == "bc"


def test_backups_count_in_the_fraction() -> None:
    backends = some_backends(1, 1, 1, 1)
    backends[2].backup = backends[3].backup = True
    pool = a_pool(backends, balance=AsWritten, panic_threshold=0.5)
    for backend in backends[:2]:
        pool.mark_down(backend, "refused")
    assert choices(pool) == "cd"


def test_without_a_threshold_there_is_no_panic() -> None:
    pool = pool_of((1,))
    pool.mark_down(pool.backends[0], "refused")
    assert choices(pool) == ""


# Rest after a failed dial.


def fail(pool: Pool, backend: Backend) -> None:
    slot = pool.take(backend, None)
    slot.failed(0.001, "refused")
    slot.release()


def test_without_health_checks_one_that_failed_rests_and_is_the_last_resort() -> None:
    clock = Clock()
    pool = pool_of(clock=clock)
    fail(pool, pool.backends[0])
    assert choices(pool) == "bca"
    clock.advance(COOLDOWN)
    assert choices(pool) == "abc"


def test_one_that_rests_comes_after_the_backups() -> None:
    backends = some_backends(1, 1)
    backends[1].backup = True
    pool = a_pool(backends, balance=AsWritten)
    fail(pool, backends[0])
    assert choices(pool) == "ba"


def test_a_connection_ends_the_rest() -> None:
    pool = pool_of()
    fail(pool, pool.backends[0])
    pool.take(pool.backends[0], None).connected(0.001)
    assert choices(pool) == "abc"


def test_the_last_resort_too_must_have_room_when_it_is_asked_for() -> None:
    pool = pool_of()
    fail(pool, pool.backends[0])
    asked = pool.selection.choices(None)
    assert names([next(asked), next(asked)]) == "bc"
    fill(pool.backends[0])
    assert names(list(asked)) == ""


def test_with_health_checks_it_rests_for_a_moment() -> None:
    clock = Clock()
    pool = pool_of(clock=clock, health="external")
    fail(pool, pool.backends[0])
    assert choices(pool) == "bca"
    clock.advance(SHORT_COOLDOWN)
    assert choices(pool) == "abc"


def test_where_somebody_who_is_full_may_have_room_soon_the_last_resort_has_to_wait() -> None:
    pool = pool_of(queue=10)
    fail(pool, pool.backends[0])
    for backend in pool.backends[1:]:
        fill(backend)
    assert (choices(pool), pool.selection.is_full()) == ("", True)
    fail(pool, pool.backends[1])
    fail(pool, pool.backends[2])
    assert (choices(pool), pool.selection.is_full()) == ("a", False)


# Slots.


def test_a_slot_counts_from_dialling_to_its_release_once() -> None:
    pool = pool_of()
    backend = pool.backends[0]
    slot = pool.take(backend, None)
    assert (slot.backend, backend.active) == (backend, 1)
    slot.connected(0.001)
    assert backend.active == 1
    slot.release()
    slot.release()
    assert backend.active == 0


def test_what_connecting_took_is_remembered() -> None:
    clock = Clock()
    pool = pool_of(clock=clock)
    pool.take(pool.backends[0], None).connected(0.25)
    assert pool.backends[0].connect_time.value(clock.seconds()) == 0.25


def test_a_failure_costs_at_least_the_connect_timeout() -> None:
    clock = Clock()
    pool = pool_of(clock=clock, connect_timeout=2.0)
    fail(pool, pool.backends[0])
    assert pool.backends[0].connect_time.value(clock.seconds()) == 2.0


# Affinity.


def with_affinity(**settings: Any) -> tuple[Pool, Clock]:
    clock = Clock()
    return pool_of(clock=clock, affinity=AffinityConfig(ttl=60.0, max_entries=100), **settings), clock


def serve(pool: Pool, client: bytes | None, backend: Backend) -> None:
    slot = pool.take(backend, client)
    slot.connected(0.001)
    slot.release()


def test_a_clients_backend_comes_first_and_once() -> None:
    pool, _ = with_affinity()
    serve(pool, ANNE, pool.backends[2])
    assert (choices(pool, ANNE), choices(pool, BOB), choices(pool, None)) == ("cab", "abc", "abc")


def test_home_comes_before_the_stand_in() -> None:
    pool, _ = with_affinity()
    serve(pool, ANNE, pool.backends[2])
    serve(pool, ANNE, pool.backends[1])
    assert choices(pool, ANNE) == "cba"
    pool.mark_down(pool.backends[2], "refused")
    assert choices(pool, ANNE) == "ba"


def test_a_home_that_is_full_is_passed_over_and_not_forgotten() -> None:
    pool, _ = with_affinity()
    home = pool.backends[2]
    serve(pool, ANNE, home)
    home.max_connections = home.active = 1
    assert choices(pool, ANNE) == "ab"
    home.active = 0
    assert choices(pool, ANNE) == "cab"


def test_a_home_that_rests_is_a_last_resort() -> None:
    pool, _ = with_affinity()
    serve(pool, ANNE, pool.backends[2])
    fail(pool, pool.backends[2])
    assert choices(pool, ANNE) == "abc"


def with_backups() -> Pool:
    """A pool with affinity, of the primaries a and b and the backups c and d."""
    clock = Clock()
    backends = some_backends(1, 1, 1, 1)
    backends[2].backup = backends[3].backup = True
    return a_pool(backends, clock, balance=AsWritten, affinity=AffinityConfig(ttl=60.0, max_entries=100))


def test_a_bond_with_a_backup_comes_before_the_other_backups_and_after_all_primaries() -> None:
    pool = with_backups()
    serve(pool, ANNE, pool.backends[3])
    assert choices(pool, ANNE) == "abdc"


def test_a_primary_that_is_back_takes_the_client_from_the_backup() -> None:
    pool = with_backups()
    for primary in pool.backends[:2]:
        pool.mark_down(primary, "refused")
    serve(pool, ANNE, pool.backends[3])
    assert choices(pool, ANNE) == "dc"
    pool.mark_up(pool.backends[1])
    serve(pool, ANNE, pool.backends[1])
    pool.mark_up(pool.backends[0])
    assert choices(pool, ANNE) == "badc"


def test_home_comes_first_although_a_backup_stood_in() -> None:
    pool = with_backups()
    serve(pool, ANNE, pool.backends[1])
    serve(pool, ANNE, pool.backends[3])
    assert choices(pool, ANNE) == "badc"


def test_a_bond_with_a_backup_counts_in_a_pool_of_backups() -> None:
    clock = Clock()
    backends = some_backends(1, 1)
    for backend in backends:
        backend.backup = True
    affinity = AffinityConfig(ttl=60.0, max_entries=100)
    pool = a_pool(backends, clock, balance=AsWritten, affinity=affinity)
    serve(pool, ANNE, pool.backends[1])
    assert choices(pool, ANNE) == "ba"


def test_a_failed_dial_makes_no_bond() -> None:
    pool, _ = with_affinity(health="external")
    slot = pool.take(pool.backends[2], ANNE)
    slot.failed(0.001, "refused")
    slot.release()
    assert choices(pool, ANNE) == "abc"


def test_an_open_connection_holds_the_bond() -> None:
    pool, clock = with_affinity()
    slot = pool.take(pool.backends[2], ANNE)
    slot.connected(0.001)
    clock.advance(3600.0)
    assert choices(pool, ANNE) == "cab"
    slot.release()
    clock.advance(60.0)
    assert choices(pool, ANNE) == "abc"


def test_a_connection_that_comes_after_the_release_makes_no_bond() -> None:
    pool, _ = with_affinity()
    slot = pool.take(pool.backends[2], ANNE)
    slot.release()
    slot.connected(0.001)
    assert choices(pool, ANNE) == "abc"


def test_a_slot_makes_one_bond() -> None:
    pool, clock = with_affinity()
    slot = pool.take(pool.backends[2], ANNE)
    slot.connected(0.001)
    slot.connected(0.001)
    slot.release()
    clock.advance(60.0)
    assert choices(pool, ANNE) == "abc"


def test_a_client_without_address_has_no_affinity() -> None:
    pool, _ = with_affinity()
    serve(pool, None, pool.backends[2])
    assert choices(pool, None) == "abc"


# What is refused.


def test_a_pool_without_backends() -> None:
    with pytest.raises(SettingError, match=r"^pool web: must have at least one backend$") as caught:
        a_pool([])
    assert caught.value.fault is Fault.CONFIGURATION


def test_two_backends_of_one_name() -> None:
    with pytest.raises(SettingError, match=r"^pool web: backends must have different names, got a 2 times$"):
        a_pool(some_backends(1) + some_backends(1))


@pytest.mark.parametrize("bounded_load", [0.9, -1.0, float("nan")])
def test_a_bound_below_one(bounded_load: float) -> None:
    with pytest.raises(SettingError, match=r"^pool web: bounded_load must be (at least 1|a number), got "):
        pool_of(bounded_load=bounded_load)


@pytest.mark.parametrize("panic_threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_fraction(panic_threshold: float) -> None:
    with pytest.raises(SettingError, match=r"^pool web: panic_threshold must be (0% to 100%|a percentage)"):
        pool_of(panic_threshold=panic_threshold)


def test_a_policy_that_cannot_be_made() -> None:
    def careless(backends: Sequence[Backend], tools: PolicyTools) -> AsWritten:
        raise RuntimeError("no map of the world")

    with pytest.raises(
        SettingError, match=r"careless cannot be made: RuntimeError\('no map of the world'\)$"
    ):
        pool_of(balance=careless)


def test_a_policy_that_no_one_knows() -> None:
    with pytest.raises(
        SettingError, match=r"^no balancing policy is called 'roundrobin'; known are: .*round_robin"
    ):
        pool_of(balance="roundrobin")


def test_a_version_of_the_proxy_protocol_that_there_is_not() -> None:
    with pytest.raises(SettingError, match='send_proxy_protocol must be one of "v1" or "v2", got "v3"'):
        pool_of(send_proxy_protocol="v3")


# Health


def test_checks_follow_from_the_health_that_a_pool_is_given() -> None:
    assert not pool_of().checked
    assert pool_of(health="external").checked
    assert pool_of(health=HealthConfig(probe=object())).checked


def test_health_of_another_kind_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^pool web: health must be a HealthConfig, 'external' or "):
        pool_of(health="tcp")
