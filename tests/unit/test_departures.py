"""Clients that are expected to connect anew."""

from __future__ import annotations

from tcpbalance.pool.departures import COMES_BACK_WITHIN, Departures


def test_each_new_connection_is_one_that_has_come_back() -> None:
    departures = Departures()
    assert departures.count(0.0, 100) == 0
    for _ in range(3):
        departures.add(0.0)
    assert departures.count(1.0, 100) == 3
    assert departures.count(1.0, 102) == 1
    assert departures.count(1.0, 110) == 0
    departures.add(2.0)
    assert departures.count(2.0, 110) == 1, "earlier connections are not of this client"


def test_after_some_time_a_client_is_not_expected_any_more() -> None:
    departures = Departures()
    departures.add(0.0)
    departures.add(5.0)
    assert departures.count(COMES_BACK_WITHIN - 0.1, 0) == 2
    assert departures.count(COMES_BACK_WITHIN, 0) == 1
    assert departures.count(COMES_BACK_WITHIN + 5, 0) == 0


def test_where_a_backend_is_removed_its_connections_are_not_counted_any_more() -> None:
    departures = Departures()
    departures.count(0.0, 100)
    departures.add(0.0)
    assert departures.count(1.0, 40) == 1
    assert departures.count(1.0, 41) == 0
