"""Which backends are outliers, and for how long they are ejected."""

from __future__ import annotations

from statistics import median_low
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.pools import some_backends
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.tcp_info import NOTICEABLE
from tcpbalance.pool.host_stats import SAMPLES, ConnectTimes
from tcpbalance.pool.members import Members
from tcpbalance.pool.outlier import ENOUGH, OutlierDetection


def detection(count: int = 3, clock: Clock | None = None, **rules: Any) -> OutlierDetection:
    config = OutlierConfig(**rules)
    backends = tuple(some_backends(*[1] * count))
    members = Members(backends, max_ejected=max(1, int(config.max_ejected * count)))
    return OutlierDetection(config, members, (clock or Clock()).seconds)


def members(made: OutlierDetection) -> list:  # type: ignore[type-arg]
    return list(made.members.backends)


# Failures


def test_failures_in_a_row_make_an_outlier() -> None:
    made = detection(consecutive_failures=3)
    one, other, _ = members(made)
    assert [made.failed(one), made.failed(one), made.failed(other), made.failed(one)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_first_byte_ends_the_row() -> None:
    made = detection(consecutive_failures=2)
    one, *_ = members(made)
    assert not made.failed(one)
    made.answered(one)
    assert not made.failed(one)
    assert made.failed(one)


def test_a_connection_alone_does_not_end_the_row() -> None:
    """One that accepts and breaks off would never be found."""
    made = detection(consecutive_failures=2)
    one, *_ = members(made)
    made.failed(one)
    made.connected(one, 0.001, NOTICEABLE)
    assert made.failed(one)


# Slow ones


def test_connections_far_above_the_usual_make_an_outlier() -> None:
    made = detection(consecutive_failures=3, slow_factor=5)
    slow, *others = members(made)
    for _ in range(ENOUGH):
        for backend in (slow, *others):
            assert not made.connected(backend, 0.01, NOTICEABLE)
    assert made.median_connect_time() == 0.01
    assert [made.connected(slow, 0.2, NOTICEABLE) for _ in range(3)] == [False, False, True]
    assert not made.connected(others[0], 0.01, NOTICEABLE)


def test_nobody_is_slow_where_all_become_slow_together() -> None:
    made = detection(consecutive_failures=3, slow_factor=5)
    for backend in members(made) * ENOUGH:
        made.connected(backend, 0.01, NOTICEABLE)
    one, *others = members(made)
    burst = [made.connected(backend, 0.2, NOTICEABLE) for backend in [*others, one] * 6]
    assert not any(burst[len(others) :])


def test_one_that_may_not_serve_is_no_measure() -> None:
    """Its connect times are of another time, and stay as they are for as long as it is down."""
    made = detection(consecutive_failures=1, slow_factor=5)
    slow, quick, gone = members(made)
    for _ in range(ENOUGH):
        made.connected(slow, 0.01, NOTICEABLE)
        made.connected(quick, 0.01, NOTICEABLE)
        made.connected(gone, 0.2, NOTICEABLE)
    for _ in range(SAMPLES):
        made.connected(slow, 0.2, NOTICEABLE)
    assert not made.connected(slow, 0.2, NOTICEABLE), "as slow as most"
    gone.available = False
    assert made.connected(slow, 0.2, NOTICEABLE)


def test_one_quick_connection_ends_the_row_of_slow_ones() -> None:
    made = detection(consecutive_failures=2, slow_factor=5)
    slow, *others = members(made)
    for backend in (slow, *others) * ENOUGH:
        made.connected(backend, 0.01, NOTICEABLE)
    assert not made.connected(slow, 0.2, NOTICEABLE)
    assert not made.connected(slow, 0.05, NOTICEABLE)
    assert not made.connected(slow, 0.2, NOTICEABLE)
    assert made.connected(slow, 0.2, NOTICEABLE)


def test_of_two_the_quicker_one_is_usual() -> None:
    made = detection(2, consecutive_failures=1, slow_factor=5)
    slow, quick = members(made)
    for _ in range(SAMPLES):
        made.connected(slow, 0.01, NOTICEABLE)
        made.connected(quick, 0.01, NOTICEABLE)
    for _ in range(SAMPLES):
        made.connected(slow, 0.2, NOTICEABLE)
    assert made.median_connect_time() == 0.01
    assert made.connected(slow, 0.2, NOTICEABLE)


def test_without_enough_to_compare_with_nobody_is_slow() -> None:
    made = detection(2, consecutive_failures=1, slow_factor=5)
    slow, quick = members(made)
    for _ in range(ENOUGH - 1):
        assert not made.connected(quick, 0.01, NOTICEABLE)
        assert not made.connected(slow, 0.2, NOTICEABLE)
    assert made.median_connect_time() is None
    made.connected(quick, 0.01, NOTICEABLE)
    assert made.connected(slow, 0.2, NOTICEABLE)


def test_what_cannot_be_noticed_is_not_slow() -> None:
    made = detection(2, consecutive_failures=1, slow_factor=5)
    slow, quick = members(made)
    for _ in range(ENOUGH):
        made.connected(quick, NOTICEABLE / 100, NOTICEABLE)
        made.connected(slow, NOTICEABLE / 100, NOTICEABLE)
    assert not made.connected(slow, NOTICEABLE, NOTICEABLE)
    assert made.connected(slow, NOTICEABLE * 1.1, NOTICEABLE)


def test_without_a_factor_nobody_is_slow() -> None:
    made = detection(consecutive_failures=1)
    slow, *others = members(made)
    for backend in (slow, *others) * SAMPLES:
        made.connected(backend, 0.001, NOTICEABLE)
    assert not made.connected(slow, 100.0, NOTICEABLE)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_the_median_is_that_of_the_last_ones(times: list[float]) -> None:
    known = ConnectTimes()
    for seconds in times:
        known.add(seconds)
    assert known.median == median_low(times[-SAMPLES:])
    assert known.latest == times[-1]
    assert known.count == min(len(times), SAMPLES)


# Terms


def test_ejections_double_up_to_ten_times_the_first() -> None:
    clock = Clock()
    made = detection(clock=clock, eject_for=30)
    one, *_ = members(made)
    terms = []
    for _ in range(6):
        terms.append(made.eject(one))
        clock.advance(terms[-1])
        assert made.ejection_expired(one)
        made.readmitted(one)
    assert terms == [30, 60, 120, 240, 300, 300]


def test_good_time_halves_the_next() -> None:
    clock = Clock()
    made = detection(clock=clock, eject_for=30)
    one, *_ = members(made)

    def ejected_and_back(late: float = 0.0) -> float:
        seconds = made.eject(one)
        clock.advance(seconds + late)
        made.readmitted(one)
        return seconds

    assert [ejected_and_back() for _ in range(3)] == [30, 60, 120]
    clock.advance(29)
    assert ejected_and_back(late=600) == 240
    clock.advance(60)
    assert ejected_and_back() == 75  # it would have been 300
    clock.advance(10_000_000)
    assert ejected_and_back() == 30


def test_it_is_not_over_before_its_time() -> None:
    clock = Clock()
    made = detection(clock=clock, eject_for=30)
    one, *_ = members(made)
    made.eject(one)
    one.ejected = True
    clock.advance(29.9)
    assert not made.ejection_expired(one)
    assert made.next_expiry() == 30
    clock.advance(0.2)
    assert made.ejection_expired(one)


@pytest.mark.parametrize(
    ("count", "fraction", "most"),
    [(1, 1.0, 1), (2, 0.5, 1), (3, 0.5, 1), (4, 0.5, 2), (10, 0.01, 1), (10, 1.0, 10)],
)
def test_only_so_many_may_be_ejected(count: int, fraction: float, most: int) -> None:
    made = detection(count, max_ejected=fraction)
    for backend in members(made)[:most]:
        assert not made.is_full()
        backend.ejected = True
    assert made.is_full()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"consecutive_failures": 0}, "consecutive_failures must be at least 1, got 0"),
        ({"eject_for": 0}, "eject_for must be longer than 0s, got 0s"),
        ({"max_ejected": 0}, "max_ejected must be 1% to 100%, got 0%"),
        ({"max_ejected": 1.1}, "max_ejected must be 1% to 100%, got 110%"),
        ({"slow_factor": 0.9}, "slow_factor must be at least 1"),
        ({"slow_factor": float("nan")}, "slow_factor must be a number, got nan"),
    ],
)
def test_rules_that_make_no_sense(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        OutlierConfig(**rules)
