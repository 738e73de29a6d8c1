"""Pauses between rounds of attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.proxy.backoff import MAX_BACKOFF, backoff


def test_they_double_up_to_a_bound() -> None:
    assert [backoff(times, lambda: 1.0) for times in range(7)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        MAX_BACKOFF,
        MAX_BACKOFF,
    ]


@given(times=st.integers(0, 10**9), rng=st.floats(0, 1))
def test_chance_takes_up_to_half(times: int, rng: float) -> None:
    whole = backoff(times, lambda: 1.0)
    assert whole / 2 <= backoff(times, lambda: rng) <= whole
