"""Fewest connections for the weight."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from support.pools import names, some_backends, some_tools
from tcpbalance.pool.policies.least_connections import LeastConnections

states = st.lists(st.tuples(st.integers(1, 256), st.integers(0, 5)), min_size=1, max_size=8)


def test_an_idle_pool_is_round_robin_by_weight() -> None:
    policy = LeastConnections(some_backends(5, 1, 1), some_tools())
    assert names([next(policy.candidates(None)) for _ in range(7)]) == "aabacaa"


def test_connections_count_by_weight() -> None:
    backends = some_backends(1, 2, 4)
    policy = LeastConnections(backends, some_tools())
    for backend, active in zip(backends, (2, 3, 5), strict=True):
        backend.active = active
    assert names(list(policy.candidates(None))) == "cba"


def test_an_idle_light_one_goes_before_a_busy_heavy_one() -> None:
    backends = some_backends(256, 1)
    policy = LeastConnections(backends, some_tools())
    backends[0].active = 1
    assert names(list(policy.candidates(None))) == "ba"


def test_kept_connections_end_up_by_weight() -> None:
    backends = some_backends(5, 3, 2)
    policy = LeastConnections(backends, some_tools())
    for _ in range(40):
        next(policy.candidates(None)).active += 1
    assert [backend.active for backend in backends] == [20, 12, 8]


def test_the_later_candidates_are_ordered_when_they_are_needed() -> None:
    backends = some_backends(1, 1, 1)
    policy = LeastConnections(backends, some_tools())
    backends[1].active, backends[2].active = 1, 2
    candidates = policy.candidates(None)
    assert next(candidates) is backends[0]
    backends[1].active = 3
    assert names(list(candidates)) == "cb"


@given(states)
def test_the_order_is_that_of_the_load(state: list[tuple[int, int]]) -> None:
    backends = some_backends(*(weight for weight, _ in state))
    policy = LeastConnections(backends, some_tools())
    for backend, (_, active) in zip(backends, state, strict=True):
        backend.active = active
    loads = [Fraction(backend.active, backend.weight) for backend in policy.candidates(None)]
    assert loads == sorted(loads)
