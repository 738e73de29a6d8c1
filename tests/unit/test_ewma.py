"""The average that jumps to peaks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.pool.ewma import TAU, PeakEwma


def test_nothing_observed_is_nothing() -> None:
    ewma = PeakEwma()
    assert (ewma.measured, ewma.value(100.0)) == (False, 0.0)


def test_the_first_observation_is_the_value() -> None:
    ewma = PeakEwma()
    ewma.observe(0.25, 100.0)
    assert (ewma.measured, ewma.value(100.0)) == (True, 0.25)


def test_a_peak_counts_at_once_and_whole() -> None:
    ewma = PeakEwma()
    ewma.observe(0.01, 100.0)
    ewma.observe(3.0, 100.5)
    assert ewma.value(100.5) == 3.0


def test_good_news_counts_by_the_time_that_passed() -> None:
    ewma = PeakEwma()
    ewma.observe(1.0, 100.0)
    ewma.observe(0.0, 100.0)
    assert ewma.value(100.0) == 1.0
    ewma.observe(0.5, 100.0 + TAU)
    assert ewma.value(100.0 + TAU) == pytest.approx(math.exp(-1) + 0.5 * (1 - math.exp(-1)))


def test_it_decays_while_nothing_is_observed() -> None:
    ewma = PeakEwma()
    ewma.observe(1.0, 100.0)
    assert ewma.value(100.0 + 2 * TAU) == pytest.approx(math.exp(-2))


@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=1),
)
def test_it_never_leaves_the_range_of_what_was_observed(steps: list[tuple[float, float]]) -> None:
    ewma, now = PeakEwma(), 0.0
    for seconds, pause in steps:
        now += pause
        ewma.observe(seconds, now)
        observed = [seconds for seconds, _ in steps]
        assert seconds <= ewma.value(now) * (1 + 1e-9) + 1e-300
        assert ewma.value(now) <= max(observed)
