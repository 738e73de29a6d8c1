"""The shares of backends in the connections of a pool, and what is beyond them."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.pools import some_backends
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.shares import Load, Surplus, surplus


def loads(*active: int, weights: tuple[int, ...] = (), limits: tuple[int | None, ...] = ()) -> list[Load]:
    """Give backends called a, b, c and so on, with their connections."""
    backends = some_backends(*(weights or (1,) * len(active)))
    for backend, limit in zip(backends, limits, strict=False):
        backend.max_connections = limit
    return [Load(backend, count) for backend, count in zip(backends, active, strict=True)]


def named(found: Surplus) -> tuple[dict[str, int], int]:
    return {backend.name: count for backend, count in found.by_backend.items()}, found.closable


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ((40, 0), ({"a": 20}, 20)),
        ((41, 0), ({"a": 20}, 20)),
        ((20, 20), ({}, 0)),
        ((21, 20), ({}, 0)),
        ((21, 19), ({"a": 1}, 1)),
        ((4, 4, 2), ({}, 0)),
        ((30, 30, 0), ({"a": 10, "b": 10}, 20)),
        ((1, 0, 0), ({}, 0)),
        ((2, 0, 0), ({"a": 1}, 1)),
        ((7,), ({}, 0)),
        ((), ({}, 0)),
    ],
    ids=str,
)
def test_equal_weights(active: tuple[int, ...], expected: tuple[dict[str, int], int]) -> None:
    assert named(surplus([loads(*active)], 0)) == expected


def test_shares_are_by_weight() -> None:
    assert named(surplus([loads(20, 20, weights=(1, 3))], 0)) == ({"a": 10}, 10)
    assert named(surplus([loads(10, 30, weights=(1, 3))], 0)) == ({}, 0)


def test_what_one_has_no_capacity_for_is_for_the_others() -> None:
    assert named(surplus([loads(10, 50, 0, limits=(10,))], 0)) == ({"b": 25}, 25)
    assert named(surplus([loads(10, 25, 25, limits=(10,))], 0)) == ({}, 0)


def test_where_none_has_capacity_nothing_is_closed() -> None:
    """Their limits were lowered: a client whose connection is closed could go nowhere."""
    assert named(surplus([loads(10, 5, limits=(5, 5))], 0)) == ({"a": 5}, 0)
    assert named(surplus([loads(10, 3, limits=(5, 5))], 0)) == ({"a": 5}, 2)


def test_a_backup_has_no_share_while_primaries_have_capacity() -> None:
    primaries, (_, backup) = loads(10, 0), loads(0, 6)
    assert named(surplus([primaries, [backup]], 0)) == ({"a": 2, "b": 6}, 8)
    primaries = loads(4, 4, limits=(4, 4))
    assert named(surplus([primaries, [backup]], 0)) == ({}, 0)
    assert named(surplus([[], [Load(backup.backend, 9)]], 0)) == ({}, 0)


def test_in_slow_start_a_backend_takes_less_and_keeps_what_it_has() -> None:
    a, b = some_backends(1, 1)
    assert named(surplus([[Load(a, 22), Load(b, 0, part=0.1)]], 0)) == ({"a": 2}, 2)
    assert named(surplus([[Load(a, 20), Load(b, 2, part=0.1)]], 0)) == ({}, 0)
    assert named(surplus([[Load(a, 11), Load(b, 11, part=0.1)]], 0)) == ({}, 0)


def test_one_that_gets_new_clients_takes_some() -> None:
    a, b = some_backends(1, 1)
    with pytest.raises(AssertionError, match="takes some"):
        surplus([[Load(a, 22), Load(b, 0, part=0.0)]], 0)


def test_clients_that_are_to_come_count() -> None:
    assert named(surplus([loads(30, 0)], 10)) == ({"a": 10}, 10)
    assert named(surplus([loads(20, 0)], 20)) == ({}, 0)


PRIMARIES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 40))), max_size=5
)


def made(tier: list[tuple[int, int, int | None]], first: int) -> list[Load]:
    return [
        Load(Backend(f"10.0.0.{number}:80", weight=weight, max_connections=limit), active)
        for number, (active, weight, limit) in enumerate(tier, first)
    ]


@given(PRIMARIES, PRIMARIES, st.integers(0, 20))
def test_closing_one_after_the_other_ends_with_all_at_their_shares(
    primaries: list[tuple[int, int, int | None]], backups: list[tuple[int, int, int | None]], away: int
) -> None:
    """Each client comes to the backend that has most left to its share, as by least connections."""
    tiers = [made(primaries, 1), made(backups, 100)]
    active = {load.backend: load.active for tier in tiers for load in tier}
    total = sum(active.values())
    first = surplus(tiers, away)
    for _ in range(first.closable):
        tiers = [[Load(load.backend, active[load.backend]) for load in tier] for tier in tiers]
        found = surplus(tiers, away)
        assert found.closable
        source = next(iter(found.by_backend))
        active[source] -= 1
        tiers = [[Load(load.backend, active[load.backend]) for load in tier] for tier in tiers]
        after = surplus(tiers, away + 1)
        assert source not in after.by_backend or after.by_backend[source] == found.by_backend[source] - 1
        active[_next(tiers)] += 1
    tiers = [[Load(load.backend, active[load.backend]) for load in tier] for tier in tiers]
    assert surplus(tiers, away).closable == 0
    assert sum(active.values()) == total


def _next(tiers: list[list[Load]]) -> Backend:
    for tier in tiers:
        free = [
            load
            for load in tier
            if load.backend.max_connections is None or load.active < load.backend.max_connections
        ]
        if free:
            return min(free, key=lambda load: (load.active + 1) / load.backend.weight).backend
    raise AssertionError("a connection was closed for which there is no capacity")


@given(PRIMARIES, st.integers(0, 20))
def test_none_is_closed_below_the_share(tier: list[tuple[int, int, int | None]], away: int) -> None:
    made_tier = made(tier, 1)
    found = surplus([made_tier], away)
    total = away + sum(load.active for load in made_tier)
    weights = sum(load.backend.weight for load in made_tier)
    for load in made_tier:
        least = total * load.backend.weight / weights
        if load.backend.max_connections is not None:
            least = min(least, load.backend.max_connections)
        assert load.active - found.by_backend.get(load.backend, 0) >= min(load.active, ceil(least - 1e-9))
