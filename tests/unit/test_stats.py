"""Counters, apart from what is counted."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.admission.refusal import Refusal
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import (
    MAX_CAUSES,
    REQUEST_COUNTERS,
    SESSION_BOUNDS,
    BackendStats,
    Counts,
    Durations,
    FrontendStats,
    PoolStats,
    SessionStats,
    add_up,
    count_cause,
)

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "counters.md").read_text()

KINDS = [FrontendStats, PoolStats, BackendStats]


@pytest.mark.parametrize("kind", KINDS)
def test_all_begin_at_0(kind: type[SessionStats]) -> None:
    assert set(kind().snapshot().values()) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_has_every_counter_and_stays_as_it_was(kind: type[SessionStats]) -> None:
    stats = kind()
    before = stats.snapshot()
    expected = dict(before)
    for number, field in enumerate(attrs.fields(kind), 1):
        counts = getattr(stats, field.name)
        if isinstance(counts, list):
            counts[2] += number
            expected[f"{field.name}.2xx"] = number
        elif isinstance(counts, Durations):
            for _ in range(number):
                counts.note(0.25)
            bound = next(bound for bound in counts.bounds if bound >= 0.25)
            expected[f"{field.name}.{bound:g}"] = number
            expected[f"{field.name}_us"] = 250_000 * number
        elif isinstance(counts, Counts):
            counts[EndReason.SHUTDOWN] += number
            expected[f"{field.name}.shutdown"] = number
        else:
            setattr(stats, field.name, number)
            expected[field.name] = number
    if isinstance(stats, FrontendStats):
        expected["connections_active"] = stats.connections_total - 1
        expected["requests_active"] = stats.requests_total - stats.requests_ended.total()
    assert stats.snapshot() == expected
    assert set(before.values()) == {0}


def test_ends_count_by_their_reason() -> None:
    stats = BackendStats()
    for reason in (EndReason.SHUTDOWN, EndReason.IDLE_TIMEOUT, EndReason.SHUTDOWN):
        stats.ended[reason] += 1
    assert stats.ended == {EndReason.SHUTDOWN: 2, EndReason.IDLE_TIMEOUT: 1}
    assert stats.ended.total() == 3


def test_what_was_never_counted_is_0_and_stays_out() -> None:
    counts = Counts()
    assert counts[EndReason.SHUTDOWN] == counts.total() == 0
    assert counts == {}


def test_responses_count_by_the_class_of_their_status() -> None:
    stats = FrontendStats()
    for status in (200, 204, 404, 101, 503, 999, 0):
        stats.responses[status // 100] += 1
    found = {name: count for name, count in stats.snapshot().items() if name.startswith("responses")}
    assert found == {
        "responses.1xx": 1,
        "responses.2xx": 2,
        "responses.4xx": 1,
        "responses.5xx": 1,
        "responses.9xx": 1,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_nothing_of_requests_before_the_first(kind: type[SessionStats]) -> None:
    stats = kind()
    found = {name.partition(".")[0] for name in stats.snapshot()}
    assert found.isdisjoint({*REQUEST_COUNTERS, "requests_active"})
    for name in {field.name for field in attrs.fields(kind)} & REQUEST_COUNTERS:
        if isinstance(getattr(stats, name), int):
            setattr(stats, name, 1)
            assert stats.snapshot()[name] == 1


def test_requests_that_have_not_ended_are_under_way() -> None:
    stats = FrontendStats()
    stats.requests_total = 3
    stats.requests_ended[EndReason.ANSWERED] += 2
    assert stats.snapshot()["requests_active"] == stats.requests_active == 1


def test_each_counter_of_requests_is_one() -> None:
    assert {field.name for kind in KINDS for field in attrs.fields(kind)} >= REQUEST_COUNTERS


def test_counters_of_one_name_are_added() -> None:
    assert add_up([{"a": 1, "b": 2}, {}, {"b": 3, "c": 4}]) == {"a": 1, "b": 5, "c": 4}
    assert add_up([]) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_has_every_counter(kind: type[SessionStats]) -> None:
    """The table of each kind is made from the class."""
    assert f"```{{counters}} {kind.__name__}\n```" in PAGE
    assert all(field.metadata["doc"] for field in attrs.fields(kind))


def test_the_reference_has_the_labels() -> None:
    refusals, limits = re.findall(r"labels of `(?:refused|would_limit)`(.*?)(?:;|\.\n)", PAGE, re.DOTALL)
    assert {refusal.word for refusal in Refusal} <= set(re.findall(r"`(\w+)`", refusals))
    assert {limit.word for limit in DryRunLimit} == set(re.findall(r"`(\w+)`", limits))


@given(st.lists(st.floats(0, 1e5)))
def test_each_duration_counts_up_to_its_bound(seconds: list[float]) -> None:
    durations = Durations(SESSION_BOUNDS)
    for each in seconds:
        durations.note(each)
    found = durations.snapshot("t")
    total = 0
    for bound in SESSION_BOUNDS:
        total += found[f"t.{bound:g}"]
        assert total == sum(each <= bound for each in seconds)
    assert total + found["t.inf"] == len(seconds)
    assert found["t_us"] == round(sum(seconds) * 1e6)


def test_handshakes_count_by_their_version() -> None:
    stats = FrontendStats()
    for version, resumed in (("TLSv1.3", True), ("TLSv1.3", False), ("TLSv1.2", False)):
        stats.note_handshake(version, resumed)
    found = stats.snapshot()
    assert (found["tls_handshakes.1.3"], found["tls_handshakes.1.2"]) == (2, 1)
    assert found["tls_resumptions"] == 1


def test_causes_of_failed_handshakes_are_bounded() -> None:
    stats = FrontendStats()
    failures = stats.tls_handshake_failures
    for number in range(MAX_CAUSES + 5):
        count_cause(failures, f"cause {number}")
    count_cause(failures, "cause 0")
    counted = {k: n for k, n in stats.snapshot().items() if k.startswith("tls_handshake_failures.")}
    assert len(counted) == MAX_CAUSES + 1
    assert counted["tls_handshake_failures.cause 0"] == 2
    assert counted["tls_handshake_failures.other"] == 5
    assert failures.total() == MAX_CAUSES + 6
