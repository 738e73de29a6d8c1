"""Power of two choices and peak EWMA under load."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from random import Random
from statistics import pstdev

from twisted.internet.task import Clock

from support.pools import some_backends, some_tools
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.weighted_random import WeightedRandom


def loads_over_time(
    factory: PolicyFactory, speeds: tuple[float, ...], arrivals: int = 4000
) -> list[list[int]]:
    """Let connections come at even pace and last as their backend's speed says; record who has how many.

    :param speeds: of each backend, how long its connections last on average, in pauses between arrivals.
    """
    backends = some_backends(*[1] * len(speeds))
    lasting = dict(zip(backends, speeds, strict=True))
    policy = factory(backends, PolicyTools(Clock().seconds, Random(7)))
    rng = Random(8)
    ends: list[tuple[float, int, Backend]] = []
    record = []
    for now in range(arrivals):
        while ends and ends[0][0] <= now:
            heappop(ends)[2].active -= 1
        backend = next(policy.candidates(None))
        backend.active += 1
        heappush(ends, (now + rng.expovariate(1 / lasting[backend]), now, backend))
        record.append([backend.active for backend in backends])
    return record[arrivals // 4 :]


def imbalance(record: list[list[int]]) -> float:
    return sum(max(loads) - min(loads) for loads in record) / len(record)


def test_two_choices_balance_better_than_chance_under_unequal_backends() -> None:
    speeds = (40.0, 40.0, 80.0, 160.0, 320.0)
    rng = imbalance(loads_over_time(WeightedRandom, speeds))
    two_choices = imbalance(loads_over_time(PowerOfTwoChoices, speeds))
    assert two_choices < rng / 4


def test_two_choices_balance_better_than_chance_under_equal_backends() -> None:
    speeds = (100.0,) * 10
    rng = imbalance(loads_over_time(WeightedRandom, speeds))
    two_choices = imbalance(loads_over_time(PowerOfTwoChoices, speeds))
    assert two_choices < rng / 2


def test_two_choices_compare_by_weight() -> None:
    backends = some_backends(1, 4)
    policy = PowerOfTwoChoices(backends, some_tools())
    backends[0].active, backends[1].active = 2, 7
    assert all(next(policy.candidates(None)) is backends[1] for _ in range(50))
    backends[1].active = 9
    assert all(next(policy.candidates(None)) is backends[0] for _ in range(50))


def test_kept_connections_end_up_by_weight() -> None:
    backends = some_backends(1, 2, 4, 8)
    policy = PowerOfTwoChoices(backends, some_tools())
    for _ in range(3000):
        next(policy.candidates(None)).active += 1
    assert pstdev(backend.active / backend.weight for backend in backends) < 5


def ewma_pool(*connect_times: float | None) -> tuple[list[Backend], PeakEwmaPolicy]:
    """Backends measured at second 0 (None: never), and the policy over them."""
    backends = some_backends(*[1] * len(connect_times))
    for backend, seconds in zip(backends, connect_times, strict=True):
        if seconds is not None:
            backend.connect_time.observe(seconds, 0.0)
    return backends, PeakEwmaPolicy(backends, some_tools())


def test_the_one_that_connects_sooner_goes_first() -> None:
    backends, policy = ewma_pool(0.020, 0.005)
    assert all(next(policy.candidates(None)) is backends[1] for _ in range(50))


def test_until_its_load_makes_up_for_it() -> None:
    backends, policy = ewma_pool(0.020, 0.005)
    for _ in range(50):
        next(policy.candidates(None)).active += 1
    assert abs(backends[1].active - 4 * backends[0].active) <= 4


def test_connections_count_by_weight() -> None:
    backends, policy = ewma_pool(0.005, 0.005)
    heavy = PeakEwmaPolicy(
        [Backend("192.0.2.9:80", weight=3), Backend("192.0.2.10:80", weight=1)], some_tools()
    )
    assert policy._cost(backends[0]) == policy._cost(backends[1])
    by_weight = heavy._draw._backends
    for backend, active in zip(by_weight, (6, 2), strict=True):
        backend.connect_time.observe(0.005, 0.0)
        backend.active = active
    assert heavy._cost(by_weight[0]) == heavy._cost(by_weight[1])


def test_one_never_measured_is_tried_by_one_and_not_by_all() -> None:
    backends, policy = ewma_pool(0.005, None)
    first = Counter[Backend]()
    for _ in range(20):
        chosen = next(policy.candidates(None))
        chosen.active += 1
        first[chosen] += 1
    assert first[backends[1]] == 1


def test_at_the_start_all_are_tried() -> None:
    backends, policy = ewma_pool(None, None, None, None)
    for _ in range(40):
        next(policy.candidates(None)).active += 1
    assert min(backend.active for backend in backends) >= 5


def test_one_idle_for_long_that_hangs_gets_a_few_and_not_all() -> None:
    clock = Clock()
    backends = some_backends(1, 1)
    policy = PeakEwmaPolicy(backends, some_tools(clock))
    hanging, working = backends
    hanging.connect_time.observe(0.005, clock.seconds())
    clock.advance(600.0)
    working.connect_time.observe(0.001, clock.seconds())
    for _ in range(100):
        chosen = next(policy.candidates(None))
        if chosen is hanging:
            hanging.active += 1
    assert 1 <= hanging.active <= 10
