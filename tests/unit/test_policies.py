"""What holds for every policy."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.pools import some_backends, some_tools
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.weighted_random import WeightedRandom

POLICIES: list[PolicyFactory] = [
    RoundRobin,
    LeastConnections,
    PowerOfTwoChoices,
    PeakEwmaPolicy,
    WeightedRandom,
]
"""Those that are built at once; source hash, whose table takes a while, has the same tests of its own."""

states = st.lists(
    st.tuples(st.integers(1, 256), st.integers(0, 50), st.booleans()), min_size=1, max_size=12
)  # weight, active, ever measured


@pytest.mark.parametrize("factory", POLICIES)
@given(state=states, seed=st.integers(), rounds=st.integers(1, 3))
def test_it_yields_each_backend_once_and_all_in_the_end(
    factory: PolicyFactory, state: list[tuple[int, int, bool]], seed: int, rounds: int
) -> None:
    backends = some_backends(*(weight for weight, _, _ in state))
    policy = factory(backends, PolicyTools(Clock().seconds, Random(seed)))
    for backend, (_, active, measured) in zip(backends, state, strict=True):
        backend.active = active
        if measured:
            backend.connect_time.observe(0.01, 0.0)
    for _ in range(rounds):
        assert Counter(policy.candidates(b"\x0a\0\0\1")) == Counter(backends)


@pytest.mark.parametrize("factory", POLICIES)
def test_it_never_looks_at_health_or_fullness(factory: PolicyFactory) -> None:
    backends = some_backends(1, 1, 1)
    for backend in backends:
        backend.up = False
        backend.max_connections = 1
        backend.active = 1
    assert set(factory(backends, some_tools()).candidates(None)) == set(backends)


@pytest.mark.parametrize("factory", POLICIES)
def test_an_idle_pool_is_shared_by_weight(factory: PolicyFactory) -> None:
    backends = some_backends(4, 2, 1, 1)
    policy = factory(backends, some_tools())
    for backend in backends:
        backend.connect_time.observe(0.001, 0.0)
    shares = Counter(next(policy.candidates(None)) for _ in range(8000))
    for backend in backends:
        assert shares[backend] == pytest.approx(1000 * backend.weight, rel=0.1)
