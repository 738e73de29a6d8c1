"""Medians are of what was measured, and know of how many turns."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.results import Median, Outcome, medians


def outcomes(*values: float | None, contestant: str = "haproxy") -> list[Outcome]:
    """Give a turn for each value; None is one that failed."""
    return [
        Outcome(turn, "requests", contestant, {}, "refused")
        if value is None
        else Outcome(turn, "requests", contestant, {"requests_rate": value})
        for turn, value in enumerate(values, 1)
    ]


def test_the_median_is_the_middle_one() -> None:
    assert medians(outcomes(5.0, 900.0, 1.0)) == {"requests_rate": {"haproxy": Median(5.0, 3)}}


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert medians(outcomes(1.0, 2.0, 4.0, 900.0))["requests_rate"]["haproxy"] == Median(3.0, 4)


def test_a_turn_that_failed_does_not_count() -> None:
    assert medians(outcomes(1.0, None, 3.0))["requests_rate"]["haproxy"] == Median(2.0, 2)


def test_who_has_no_figure_has_no_median() -> None:
    found = medians([*outcomes(1.0), *outcomes(None, None, contestant="nginx")])
    assert found == {"requests_rate": {"haproxy": Median(1.0, 1)}}
