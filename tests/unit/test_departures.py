"""Clients that are expected to connect anew."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.pool.departures import COMES_BACK_WITHIN, Departures


def after_closing(closed: int, opened: int) -> Departures:
    """Give some where so many of the open connections were closed at time 0."""
    departures = Departures()
    assert departures.count(0.0, opened) == 0
    for _ in range(closed):
        departures.add(0.0)
    assert departures.count(0.0, opened - closed) == closed
    return departures


def test_each_connection_more_is_one_that_has_come_back() -> None:
    departures = after_closing(3, opened=100)
    assert departures.count(1.0, 99) == 1
    assert departures.count(1.0, 107) == 0
    departures.add(2.0)
    assert departures.count(2.0, 106) == 1, "earlier connections are not of this client"
    assert departures.count(2.0, 107) == 0


@given(st.lists(st.integers(0, 10), max_size=30))
def test_short_connections_that_come_and_go_beside_them_do_not_add_up(short: list[int]) -> None:
    departures = after_closing(20, opened=100)
    for count, peak in zip(short, accumulate(short, max), strict=True):
        assert departures.count(1.0, 80 + count) == 20 - peak


def test_after_some_time_a_client_is_not_expected_any_more() -> None:
    departures = after_closing(1, opened=10)
    departures.add(5.0)
    assert departures.count(COMES_BACK_WITHIN - 0.1, 8) == 2
    assert departures.count(COMES_BACK_WITHIN, 8) == 1
    assert departures.count(COMES_BACK_WITHIN, 9) == 0
    departures = after_closing(2, opened=10)
    assert departures.count(COMES_BACK_WITHIN, 8) == 0


def test_while_others_leave_they_are_expected_for_their_time() -> None:
    """As where a backend is removed."""
    departures = after_closing(2, opened=100)
    assert departures.count(1.0, 40) == 2
    assert departures.count(COMES_BACK_WITHIN, 40) == 0
    departures.add(COMES_BACK_WITHIN)
    assert departures.count(COMES_BACK_WITHIN, 39) == 1
    assert departures.count(COMES_BACK_WITHIN, 40) == 0
