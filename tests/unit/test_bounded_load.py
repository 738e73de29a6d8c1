"""No backend far above its share, whatever the policy would like."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from support.pools import AsWritten, a_pool, names, some_backends
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.policies.weighted_random import WeightedRandom
from tcpbalance.pool.pool import Pool

WANTED = b"\xc0\0\2\1"


def open_one(pool: Pool) -> Backend:
    backend = next(pool.selection.choices(WANTED))
    pool.take(backend, WANTED)
    return backend


def most(backend: Backend, pool: Pool, bound: Fraction) -> int:
    """How many it may have of those that all backends have."""
    active = sum(other.active for other in pool.backends)
    weight = sum(other.weight for other in pool.backends)
    return ceil(bound * active * backend.weight / weight)


@given(
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    quarters=st.integers(4, 12),
    factory=st.sampled_from([AsWritten, WeightedRandom]),
)
def test_none_is_ever_above_the_bound(weights: list[int], quarters: int, factory: PolicyFactory) -> None:
    bound = Fraction(quarters, 4)
    pool = a_pool(some_backends(*weights), balance=factory, bounded_load=float(bound))
    for _ in range(60):
        backend = open_one(pool)
        assert backend.active <= most(backend, pool, bound)


def test_one_hot_client_spills_over_to_the_others() -> None:
    pool = a_pool(some_backends(1, 1, 1, 1), balance=SourceHash, bounded_load=1.25)
    for _ in range(100):
        open_one(pool)
    assert max(backend.active for backend in pool.backends) == 32
    unbounded = a_pool(some_backends(1, 1, 1, 1), balance=SourceHash)
    for _ in range(100):
        open_one(unbounded)
    assert max(backend.active for backend in unbounded.backends) == 100


def test_the_crowded_serve_when_nothing_else_is_left() -> None:
    pool = a_pool(some_backends(1, 1, 1), balance=AsWritten, bounded_load=1.0)
    pool.backends[0].active = 5
    assert names(list(pool.selection.choices(None))) == "bca"


def test_one_that_rests_does_not_widen_the_share_of_the_others() -> None:
    pool = a_pool(some_backends(1, 1, 1), balance=AsWritten, bounded_load=1.0)
    pool.take(pool.backends[2], None).failed(0.001, "refused")
    pool.backends[2].active = 50
    pool.backends[0].active = 3
    assert names(list(pool.selection.choices(None))) == "bac"


def test_the_crowded_too_must_be_up_when_they_are_asked_for() -> None:
    pool = a_pool(some_backends(1, 1), balance=AsWritten, bounded_load=1.0)
    pool.backends[0].active = 5
    asked = pool.selection.choices(None)
    assert next(asked).name == "b"
    pool.mark_down(pool.backends[0], "refused")
    assert names(list(asked)) == ""


def test_the_crowded_serve_before_the_backups() -> None:
    backends = some_backends(1, 1, 1)
    backends[2].backup = True
    backends[0].active = 5
    pool = a_pool(backends, balance=AsWritten, bounded_load=1.0)
    assert names(list(pool.selection.choices(None))) == "bac"


def test_the_share_is_that_of_those_which_can_serve() -> None:
    pool = a_pool(some_backends(1, 1, 1, 1), balance=AsWritten, bounded_load=1.0)
    for backend in pool.backends[2:]:
        pool.mark_down(backend, "refused")
        backend.active = 50
    pool.backends[0].active = 3
    pool.backends[1].active = 4
    assert names(list(pool.selection.choices(None))) == "ab"
    pool.backends[1].active = 2
    assert names(list(pool.selection.choices(None))) == "ba"
