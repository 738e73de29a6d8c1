"""Limits on requests keep to what they say, over several workers and reloads, and say it beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from support.worker_loads import SharedWorkers
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.counted import requests_key
from tcpbalance.config.quantities import Rate
from tcpbalance.http.request_limits import RequestLimits
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.workers.shared_counts import can_count

WORKERS = 3
CLIENTS = [bytes((198, 51, 100, host)) for host in (1, 2)]

needs_counts = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
limits_of_any_kind = st.builds(
    LimitsConfig,
    max_requests=st.none() | st.integers(1, 4),
    requests_per_client=st.none() | st.integers(1, 5).map(Rate),
    dry_run=st.just(False),
)


@pytest.fixture
def make_shared() -> Iterator[Callable[[int | None], SharedWorkers]]:
    made: list[SharedWorkers] = []

    def make(limit: int | None) -> SharedWorkers:
        made.append(SharedWorkers(WORKERS, {requests_key("web"): limit}))
        return made[-1]

    yield make
    for shared in made:
        shared.close()


def limits_in(shared: SharedWorkers, column: int, **limits: Any) -> RequestLimits:
    worker = shared.workers[column]
    return RequestLimits(LimitsConfig(**limits), worker.reactor.seconds, worker.load.requests("web"))


@given(
    limits=limits_of_any_kind,
    events=st.lists(st.tuples(st.sampled_from(["begin", "end", "wait"]), st.sampled_from([*CLIENTS, None]))),
)
def test_what_it_says_is_what_it_does(limits: LimitsConfig, events: list[tuple[str, bytes | None]]) -> None:
    clock = Clock()
    bounds, under_way = RequestLimits(limits, clock.seconds), 0
    for event, client in events:
        if event == "wait":
            clock.advance(0.25)
        elif event == "end":
            if under_way:
                under_way -= 1
                bounds.end()
        else:
            said = bounds.ask(client)
            assert bounds.ask(client) == said
            refusal = bounds.begin(client)
            assert refusal is said.refusal
            under_way += refusal is None
            if said.rate is not None:
                assert (said.rate.left > 0) is (said.next_in == 0)
        assert bounds.count() == under_way <= (limits.max_requests or under_way)


@given(pauses=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]), max_size=40), burst=st.integers(1, 5))
def test_in_any_time_a_client_has_no_more_than_burst_and_rate(pauses: list[float], burst: int) -> None:
    clock = Clock()
    bounds = RequestLimits(
        LimitsConfig(requests_per_client=Rate(2), request_burst_per_client=burst), clock.seconds
    )
    served: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        if bounds.begin(CLIENTS[0]) is None:
            served.append(clock.seconds())
            bounds.end()
    for first in range(len(served)):
        for last in range(first, len(served)):
            seconds = served[last] - served[first] + 2**-22
            assert last - first + 1 <= burst + 2 * seconds


@needs_counts
def test_two_workers_have_one_maximum(make_shared: Callable[[int | None], SharedWorkers]) -> None:
    shared = make_shared(2)
    one, other = (limits_in(shared, column, max_requests=2) for column in (0, 1))
    assert [each.begin(None) for each in (one, other)] == [None, None]
    assert [each.begin(None) for each in (one, other)] == [EndReason.MAX_REQUESTS] * 2
    other.end()
    assert one.begin(None) is None
    assert shared.total(requests_key("web")) == 2


@needs_counts
def test_beyond_the_rate_none_is_counted(make_shared: Callable[[int | None], SharedWorkers]) -> None:
    shared = make_shared(None)
    bounds = limits_in(shared, 0, max_requests=5, requests_per_client=Rate(1))
    for _ in range(3):
        bounds.begin(CLIENTS[0])
    assert shared.total(requests_key("web")) == bounds.count() == 1


@needs_counts
def test_a_dry_run_counts_those_beyond(make_shared: Callable[[int | None], SharedWorkers]) -> None:
    shared = make_shared(None)
    one, other = (limits_in(shared, column, max_requests=1, dry_run=True) for column in (0, 1))
    assert (one.begin(None), one.last_would_refuse) == (None, None)
    assert (other.ask(None).would_refuse, other.ask(None).refusal) == (EndReason.MAX_REQUESTS, None)
    assert (other.begin(None), other.last_would_refuse) == (None, EndReason.MAX_REQUESTS)
    assert shared.total(requests_key("web")) == 2


@needs_counts
def test_those_that_began_before_the_count_was_known_are_in_it(
    make_shared: Callable[[int | None], SharedWorkers],
) -> None:
    shared = make_shared(2)
    load = shared.workers[0].load
    load.forget([requests_key("web")])
    load.look_again()
    bounds = limits_in(shared, 0, max_requests=2)
    bounds.begin(None)
    load.learn(shared.rows.items())
    load.look_again()
    assert shared.total(requests_key("web")) == 1
    assert [bounds.begin(None) is None for _ in range(2)] == [True, False]


@needs_counts
class RequestsOfWorkers(RuleBasedStateMachine):
    """Requests begin and end in several workers, which are killed and replaced."""

    @initialize(limit=st.integers(1, 4))
    def build(self, limit: int) -> None:
        self.limit = limit
        self.shared = SharedWorkers(WORKERS, {requests_key("web"): limit})
        self.limits = [limits_in(self.shared, column, max_requests=limit) for column in range(WORKERS)]
        self.under_way: Counter[int] = Counter()

    @rule(column=st.integers(0, WORKERS - 1))
    def begins(self, column: int) -> None:
        has_place = self.under_way.total() < self.limit
        assert (self.limits[column].ask(None).refusal is None) is has_place
        is_refused = self.limits[column].begin(None) is not None
        assert is_refused is not has_place
        self.under_way[column] += has_place

    @rule(column=st.integers(0, WORKERS - 1))
    def ends(self, column: int) -> None:
        if self.under_way[column]:
            self.under_way[column] -= 1
            self.limits[column].end()

    @rule(column=st.integers(0, WORKERS - 1))
    def killed(self, column: int) -> None:
        self.shared.replace(column)
        self.limits[column] = limits_in(self.shared, column, max_requests=self.limit)
        self.under_way[column] = 0

    @invariant()
    def all_are_counted(self) -> None:
        if hasattr(self, "shared"):
            assert self.shared.total(requests_key("web")) == self.under_way.total() <= self.limit

    def teardown(self) -> None:
        if hasattr(self, "shared"):
            self.shared.close()


TestRequestsOfWorkers = RequestsOfWorkers.TestCase
TestRequestsOfWorkers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
