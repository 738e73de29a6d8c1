"""What `tcpbalance top` makes of two looks: rates, medians, the order and the filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tcpbalance.cli.snapshots import Snapshot
from tcpbalance.cli.top_table import COLUMNS, TopTable, median_connect_time


def backend(name: str, state: str = "up", weight: int = 1, **counters: int) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "cause": "refused" if state == "down" else "",
        "weight": weight,
        "backup": name == "c",
        "max_connections": 100 if name == "a" else None,
        "counters": counters,
    }


def look(at: float, *backends: Mapping[str, Any], status: Mapping[str, Any] = {}) -> Snapshot:
    return Snapshot(status, (), [{"name": "web", "backends": backends, "counters": {"queue_active": 4}}], at)


def table(*looks: Snapshot) -> TopTable:
    made = TopTable()
    for it in looks:
        made.add(it)
    return made


def names(shown: TopTable) -> list[str]:
    return [row.name for row in shown.rows()]


THREE = (
    backend("a", connections_active=3, connect_failures=7),
    backend("b", "down", 5, connections_active=9),
    backend("c", "draining", 2),
)


def test_a_row_has_all_there_is_to_know() -> None:
    first, second, third = table(look(1, *THREE)).rows()
    assert [cell.text for cell in first.cells()] == ["web", "a", "up", "1", "3/100", "-", "7", "-", "4"]
    assert [cell.text for cell in second.cells()][2:5] == ["down: refused", "5", "9"]
    assert third.cells()[3].text == "2 backup"
    assert len(first.cells()) == len(COLUMNS)


def test_rates_are_those_of_the_last_seconds() -> None:
    counted = {0: 0, 1: 100, 2: 110, 8: 116}
    shown = TopTable()
    rates = []
    for at, count in counted.items():
        shown.add(look(at, backend("a", connections_total=count)))
        rates.append(shown.rows()[0].rate)
    assert rates == [None, 100, 55, 1.0]
    shown.add(look(9, backend("a", connections_total=0)))
    assert shown.rows()[0].rate is None


@pytest.mark.parametrize(
    ("now", "before", "median"),
    [
        ({}, {}, None),
        ({"connect_time.0.001": 4}, None, None),
        ({"connect_time.0.001": 4}, {"connect_time.0.001": 4}, None),
        ({"connect_time.0.001": 4}, {"connect_time.0.001": 5}, None),
        ({"connect_time.0.001": 4}, {}, 0.0005),
        ({"connect_time.0.005": 4}, {}, 0.003),
        ({"connect_time.0.001": 1, "connect_time.0.1": 3, "connect_time_us": 99}, {}, 0.05),
        ({"connect_time.inf": 3, "connect_time.0.001": 1}, {}, 5.0),
    ],
)
def test_the_median_is_estimated_from_counts(
    now: dict[str, int], before: dict[str, int] | None, median: float | None
) -> None:
    assert median_connect_time(now, before) == pytest.approx(median)


def test_numbers_are_sorted_from_the_greatest_and_names_from_the_first() -> None:
    shown = table(look(1, *THREE))
    titles = [column.title for column in COLUMNS]
    assert names(shown) == ["a", "b", "c"]
    shown.sort_by(titles.index("OPEN"))
    assert names(shown) == ["b", "a", "c"]
    assert "OPEN▼" in [cell.text for cell in shown.titles()]
    shown.sort_by(titles.index("OPEN"))
    assert names(shown) == ["c", "a", "b"]
    assert "OPEN▲" in [cell.text for cell in shown.titles()]
    shown.sort_by(titles.index("BACKEND"))
    assert names(shown) == ["a", "b", "c"]
    shown.sort_by(titles.index("STATE"))
    assert names(shown) == ["b", "c", "a"]
    shown.sort_by(None)
    assert names(shown) == ["a", "b", "c"]
    shown.sort_by(None)
    assert names(shown) == ["c", "b", "a"]


def test_every_column_can_be_sorted_by() -> None:
    shown = table(look(1, *THREE))
    for place in range(len(COLUMNS)):
        shown.sort_by(place)
        assert sorted(names(shown)) == ["a", "b", "c"]


def test_a_filter_finds_parts_of_names_and_states() -> None:
    shown = table(look(1, *THREE))
    for text, found in {"DRAIN": ["c"], "web/": ["a", "b", "c"], "web/b": ["b"], "x": []}.items():
        shown.filter = text
        assert names(shown) == found
    assert shown.summary() == "1 of 3 up, 12 open, - conn/s"


def test_a_token_that_may_only_look_is_known() -> None:
    assert not table(look(1)).is_read_only
    assert not table(look(1, status={"access": "full"})).is_read_only
    assert table(look(1, status={"access": "read_only"})).is_read_only
