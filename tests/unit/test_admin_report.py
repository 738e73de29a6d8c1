"""What several processes have counted is added up; what one has counted stays when it has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance import Backend, FrontendFactory, Pool
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import (
    EVERYTHING,
    PROCESS,
    STATE_NOW,
    CountersKey,
    Entry,
    Report,
    Scope,
    backend_key,
    past_of,
    report_of,
    sum_of,
)

COUNTERS = st.dictionaries(
    st.sampled_from(["connections_total", "bytes_in", *STATE_NOW]), st.integers(0, 1 << 40)
)
KEYS = st.sampled_from(
    [("frontend", "a"), ("pool", "x"), ("pool", "y"), ("backend", "x", "a", "u:1"), ("backend", "x", "b", "u:2")]
)
REPORTS = st.dictionaries(KEYS, COUNTERS).map(lambda report: list(report.items()))

FRONT = ("frontend", "front")


class Stage:
    """A frontend, and two pools with two backends each."""

    def __init__(self) -> None:
        reactor: Any = Clock()
        self.pools = [self._pool(name) for name in ("web", "api")]
        self.factories = {"front": FrontendFactory(reactor, self.pools[0], name="front")}

    @staticmethod
    def _pool(name: str) -> Pool:
        return Pool(name, [Backend("127.0.0.1:80", name="a"), Backend("127.0.0.1:81", name="b")])

    def report(self, scope: Scope = EVERYTHING) -> Report:
        return dict(at_once(report_of(scope, self.factories, self.pools)))

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
    (process,) = [takes for key, takes in found.items() if key[0] == PROCESS]
    assert process["pid"] > 0
    assert 0 < process["descriptors"] <= process["max_descriptors"]


def test_a_report_has_what_is_asked_for(stage: Stage) -> None:
    nothing = Scope(frontends=(), pools=(), processes=False)
    assert stage.keys(nothing) == set()
    assert [key[0] for key in stage.keys(Scope(frontends=(), pools=()))] == [PROCESS]
    assert stage.keys(Scope(frontends=("front",), pools=(), processes=False)) == {FRONT}
    web = {("pool", "web"), ("backend", "web", "a", "127.0.0.1:80"), ("backend", "web", "b", "127.0.0.1:81")}
    assert stage.keys(Scope(frontends=(), pools=("web",), processes=False)) == web
    one = Scope(frontends=(), pools=("web",), backend="b", processes=False)
    assert stage.keys(one) == {("backend", "web", "b", "127.0.0.1:81")}


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
    everything = {key for key in stage.keys(EVERYTHING) if key[0] != PROCESS}
    there = {key for key in stage.keys(scope) if key[0] != PROCESS}
    assert {key for key in everything if scope.has(key)} == there
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


def test_adding_up_changes_no_report() -> None:
    first: list[Entry] = [(FRONT, {"bytes_in": 1})]
    assert at_once(sum_of([first, first, first])) == {FRONT: {"bytes_in": 3}}
    assert first == [(FRONT, {"bytes_in": 1})]


@given(REPORTS)
def test_what_a_process_has_counted_stays_and_its_state_does_not(found: list[Entry]) -> None:
    past = dict(past_of({**dict(found), (PROCESS, "1"): {"pid": 1}}))
    assert past == {
        key: {name: count for name, count in counters.items() if name not in STATE_NOW}
        for key, counters in found
    }


def test_long_work_lets_the_reactor_go_on() -> None:
    clock = Clock()

    def pieces() -> Any:
        for _ in range(3):
            yield
        return 2

    done = in_pieces(clock, pieces())
    clock.pump([0] * 5)
    assert done.result == 2
