"""Several pools share clients by weight; another weight moves no more clients than it has to."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.net.addresses import packed
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools

POOLS = {name: Pool(name, ["10.0.0.1:80"]) for name in ("stable", "canary", "beta")}
_RNG = random.Random(1)
CLIENTS = [_RNG.randbytes(4) for _ in range(20_000)]
WEIGHTS = st.integers(0, 10_000)


def shared(**weights: int) -> WeightedPools:
    return WeightedPools({POOLS[name]: weight for name, weight in weights.items()})


def of_all(pools: WeightedPools) -> list[str]:
    return [pools.of_token(client).name for client in CLIENTS]


@pytest.mark.parametrize(
    "weights",
    [
        {"stable": 95, "canary": 5},
        {"stable": 1, "canary": 1},
        {"stable": 9_990, "canary": 10},
        {"stable": 50, "canary": 30, "beta": 20},
    ],
)
def test_each_pool_has_its_share(weights: dict[str, int]) -> None:
    counts, total = Counter(of_all(shared(**weights))), sum(weights.values())
    for name, weight in weights.items():
        expected = len(CLIENTS) * weight / total
        # Four standard deviations of a binomial distribution.
        assert abs(counts[name] - expected) < 4 * (expected * (1 - weight / total)) ** 0.5 + 1


def test_a_weight_of_nothing_is_nothing() -> None:
    assert Counter(of_all(shared(stable=1, canary=0))) == {"stable": len(CLIENTS)}


@given(stable=WEIGHTS, canary=WEIGHTS, beta=WEIGHTS, more=st.integers(1, 10_000))
def test_more_weight_for_one_moves_clients_to_that_one_alone(
    stable: int, canary: int, beta: int, more: int
) -> None:
    if not stable + canary + beta:
        return
    before = shared(stable=stable, canary=canary, beta=beta)
    after = shared(stable=stable, canary=canary + more, beta=beta)
    for client in CLIENTS[:200]:
        was, becomes = before.of_token(client), after.of_token(client)
        assert becomes in (was, POOLS["canary"])


@given(st.dictionaries(st.sampled_from(sorted(POOLS)), st.integers(1, 100), min_size=2), st.integers(2, 50))
def test_the_order_and_the_scale_of_weights_mean_nothing(weights: dict[str, int], scale: int) -> None:
    one = shared(**weights)
    other = shared(**{name: scale * weight for name, weight in reversed(weights.items())})
    assert all(one.of_token(client) is other.of_token(client) for client in CLIENTS[:200])


def test_the_choice_is_the_same_for_ever() -> None:
    pools, rng = shared(stable=50, canary=50), random.Random(1)
    clients = [packed(f"192.0.2.{number}") for number in range(12)]
    assert "".join(pools.of_client(client, rng).name[0] for client in clients) == "cscsscsccccc"


def test_hosts_of_one_network_of_ipv6_are_one_client() -> None:
    pools, rng = shared(stable=50, canary=50), random.Random(1)
    hosts = [packed(f"2001:db8::{number:x}") for number in range(1, 50)]
    assert len({pools.of_client(host, rng) for host in hosts}) == 1


def test_requests_from_no_address_are_drawn() -> None:
    pools, rng = shared(stable=95, canary=5), random.Random(1)
    counts = Counter(pools.of_client(None, rng).name for _ in range(2_000))
    assert 60 < counts["canary"] < 140
