"""What several processes have counted is added up; what one has counted stays when it has ended."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance import Backend, FrontendFactory, Pool
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.open_bytes import by_backend
from tcpbalance.control.report import (
    EVERYTHING,
    OF_STATUS,
    PROCESS,
    STATE_NOW,
    CountersKey,
    Entry,
    Report,
    Scope,
    add_status,
    backend_key,
    entries_of,
    past_of,
    process_entry,
    report_items,
    report_of,
    sum_of,
)
from tcpbalance.overload.loop_lag import SAMPLED_EVERY, LoopLag

COUNTERS = st.dictionaries(
    st.sampled_from(["connections_total", "bytes_in", *STATE_NOW]), st.integers(0, 1 << 40)
)
KEYS = st.sampled_from(
    [
        ("frontend", "a"),
        ("pool", "x"),
        ("pool", "y"),
        ("backend", "x", "a", "u:1"),
        ("backend", "x", "b", "u:2"),
    ]
)
REPORTS = st.dictionaries(KEYS, COUNTERS).map(lambda report: list(report.items()))

FRONT = ("frontend", "front")


class Stage:
    """A frontend, and two pools with two backends each."""

    def __init__(self) -> None:
        reactor: Any = Clock()
        self.pools = [self._pool(name) for name in ("web", "api")]
        self.factories = {"front": FrontendFactory(reactor, self.pools[0], name="front")}
        self.registries = [factory.registry for factory in self.factories.values()]

    @staticmethod
    def _pool(name: str) -> Pool:
        return Pool(name, [Backend("127.0.0.1:80", name="a"), Backend("127.0.0.1:81", name="b")])

    def report(self, scope: Scope = EVERYTHING) -> Report:
        return dict(at_once(report_of(scope, self.factories, self.pools, self.registries)))

    def keys(self, scope: Scope) -> set[CountersKey]:
        return set(self.report(scope))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_report_has_all_counters_of_a_process(stage: Stage) -> None:
    pool = stage.pools[0]
    stage.factories["front"].stats.connections_total = 3
    pool.backends[1].stats.connect_attempts = 2
    pool.stats.queue_total = 4
    found = stage.report()
    assert found[FRONT]["connections_total"] == 3
    assert found["pool", "web"]["queue_total"] == 4
    assert found[backend_key(pool, pool.backends[1])]["connect_attempts"] == 2
    assert found["backend", "web", "a", "127.0.0.1:80"]["connect_attempts"] == 0


def test_a_process_says_what_it_takes() -> None:
    clock = Clock()
    lag = LoopLag(clock, clock.seconds)
    lag.start()
    clock.advance(SAMPLED_EVERY + 0.003)
    (kind, name), takes = process_entry(lag)
    assert (kind, name) == (PROCESS, str(takes["pid"]))
    assert 0 < takes["descriptors"] <= takes["max_descriptors"]
    assert (takes["worst_loop_lag_us"], takes["loop_lag.0.005"], takes["loop_lag_us"]) == (3000, 1, 3000)


def test_a_report_has_what_is_asked_for(stage: Stage) -> None:
    assert stage.keys(Scope(frontends=(), pools=())) == set()
    assert stage.keys(Scope(frontends=("front",), pools=())) == {FRONT}
    web = {("pool", "web"), ("backend", "web", "a", "127.0.0.1:80"), ("backend", "web", "b", "127.0.0.1:81")}
    assert stage.keys(Scope(frontends=(), pools=("web",))) == web
    one = Scope(frontends=(), pools=("web",), backend="b")
    assert stage.keys(one) == {("backend", "web", "b", "127.0.0.1:81")}


def test_only_sessions_of_the_backends_that_are_asked_for_are_kept(stage: Stage) -> None:
    (a, b), other = stage.pools[0].backends, stage.pools[1].backends[0]
    sessions = [SimpleNamespace(served_by=served_by) for served_by in (a, b, other, None, a)]
    registry: Any = SimpleNamespace(sessions=sessions)
    found = at_once(by_backend([registry], {a, other}))
    assert {backend: len(its) for backend, its in found.items()} == {a: 2, other: 1}


@pytest.mark.parametrize(
    "scope",
    [
        EVERYTHING,
        Scope(frontends=("front",), pools=()),
        Scope(frontends=(), pools=("web", "none")),
        Scope(frontends=(), pools=("web",), backend="b", processes=False),
    ],
)
def test_a_scope_knows_what_reports_of_it_have(stage: Stage, scope: Scope) -> None:
    assert {key for key in stage.keys(EVERYTHING) if scope.has(key)} == stage.keys(scope)
    sent = Scope.read(json.loads(json.dumps(scope.content)))
    assert stage.keys(sent) == stage.keys(scope)


def test_the_sum_of_nothing_is_nothing() -> None:
    assert at_once(sum_of([])) == {}


@given(st.lists(REPORTS, max_size=3), st.lists(REPORTS, max_size=3))
def test_it_does_not_matter_in_which_parts_reports_are_added_up(
    some: list[list[Entry]], others: list[list[Entry]]
) -> None:
    parts = [at_once(sum_of(some)).items(), at_once(sum_of(others)).items()]
    assert at_once(sum_of(parts)) == at_once(sum_of([*some, *others]))


@given(REPORTS)
def test_entries_are_read_as_they_are_written(found: list[Entry]) -> None:
    items = json.loads(json.dumps([*report_items(found)]))
    assert entries_of(items) == found
    assert [list(counters) for _, counters in entries_of(items)] == [list(counters) for _, counters in found]


def test_names_are_written_once_for_all_that_have_them() -> None:
    entries: list[Entry] = [(("frontend", str(number)), {"bytes_in": number}) for number in range(3)]
    assert json.dumps([*report_items(entries)]).count("bytes_in") == 1


def test_the_changes_of_status_are_those_that_reports_of_workers_lack(stage: Stage) -> None:
    stage.pools[1].backends[0].stats.ejections = 3
    counted = {"bytes_in": 7}
    report: Report = {("backend", "api", "a", "127.0.0.1:80"): counted}
    at_once(add_status(report, Scope(pools=("api",)), stage.pools))
    changes = {"ejections": 3, "up_transitions": 0, "down_transitions": 0}
    assert report == {
        ("backend", "api", "a", "127.0.0.1:80"): {"bytes_in": 7, **changes},
        ("backend", "api", "b", "127.0.0.1:81"): dict.fromkeys(OF_STATUS, 0),
    }
    assert counted == {"bytes_in": 7}, "it is the worker's"


def test_adding_up_changes_no_report() -> None:
    first: list[Entry] = [(FRONT, {"bytes_in": 1})]
    assert at_once(sum_of([first, first, first])) == {FRONT: {"bytes_in": 3}}
    assert first == [(FRONT, {"bytes_in": 1})]


@given(REPORTS)
def test_what_a_process_has_counted_stays_and_its_state_does_not(found: list[Entry]) -> None:
    past = dict(past_of(dict(found)))
    assert past == {
        key: {name: count for name, count in counters.items() if name not in STATE_NOW}
        for key, counters in found
    }
