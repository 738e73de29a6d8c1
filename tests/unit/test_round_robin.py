"""Smooth weighted round robin, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from support.pools import names, some_backends, some_tools
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.turns import SmoothTurns

weights = st.lists(st.integers(1, 256), min_size=1, max_size=7)
small_weights = st.lists(st.integers(1, 9), min_size=2, max_size=6)


def pick(policy: RoundRobin, down: Collection[Backend] = ()) -> Backend:
    """As a pool does: the first candidate that is up."""
    return next(backend for backend in policy.candidates(None) if backend not in down)


def picks(policy: RoundRobin, count: int, down: Collection[Backend] = ()) -> list[Backend]:
    return [pick(policy, down) for _ in range(count)]


def as_weighted(backends: Sequence[Backend], down: Collection[Backend] = ()) -> Counter[Backend]:
    return Counter({backend: backend.weight for backend in backends if backend not in down})


def test_equal_weights_are_plain_turns() -> None:
    policy = RoundRobin(some_backends(1, 1, 1), some_tools())
    assert names(picks(policy, 7)) == "abcabca"


def test_the_order_of_unequal_weights_is_that_of_nginx() -> None:
    policy = RoundRobin(some_backends(5, 1, 1), some_tools())
    assert names(picks(policy, 7)) == "aabacaa"


def test_the_turns_go_on_with_one_down_as_if_it_were_not_there() -> None:
    backends = some_backends(1, 1, 1)
    policy = RoundRobin(backends, some_tools())
    assert names(picks(policy, 6, down=backends[:1])) == "bcbcbc"


@given(weights)
def test_each_cycle_is_exact(some_weights: list[int]) -> None:
    backends = some_backends(*some_weights)
    policy = RoundRobin(backends, some_tools())
    for _ in range(2):
        assert Counter(picks(policy, sum(some_weights))) == as_weighted(backends)


@given(small_weights, st.data())
def test_each_cycle_is_exact_among_the_rest_when_some_are_down(
    some_weights: list[int], data: st.DataObject
) -> None:
    backends = some_backends(*some_weights)
    policy = RoundRobin(backends, some_tools())
    picks(policy, data.draw(st.integers(0, sum(some_weights)), label="picks before"))
    down = data.draw(st.sets(st.sampled_from(backends), max_size=len(backends) - 1), label="down")
    expected = as_weighted(backends, down)
    settling = picks(policy, 10 * sum(some_weights), down)
    for backend, weight in expected.items():
        share = len(settling) * weight / expected.total()
        assert abs(settling.count(backend) - share) <= len(backends)
    assert Counter(picks(policy, expected.total(), down)) == expected


@given(small_weights, st.data())
def test_one_that_returns_gets_no_burst(some_weights: list[int], data: st.DataObject) -> None:
    backends = some_backends(*some_weights)
    policy = RoundRobin(backends, some_tools())
    away = data.draw(st.sampled_from(backends))
    picks(policy, data.draw(st.integers(0, 200)), down=[away])
    given_back = 0
    for count in range(1, 2 * sum(some_weights)):
        given_back += pick(policy) is away
        assert given_back - count * away.weight / sum(some_weights) < 2


def test_one_that_was_passed_over_has_its_turn_soon() -> None:
    policy = RoundRobin(some_backends(1, 1, 1), some_tools())
    candidates = policy.candidates(None)
    assert names([next(candidates), next(candidates)]) == "ab"
    assert names(picks(policy, 3)) == "cab"


def test_with_all_passed_over_nothing_has_changed() -> None:
    backends = some_backends(3, 2, 1)
    turns = SmoothTurns(backends)
    assert names([next(turns.among(range(3))) for _ in range(4)]) == "abac"
    assert names(list(turns.among(range(3)))) == "bac"
    assert names([next(turns.among(range(3))) for _ in range(2)]) == "ba"


class Walks:
    """Connections that ask for candidates, give up or come back later, in any order."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.turns = SmoothTurns(backends)
        self.members = range(len(backends))
        self.under_way: list[Iterator[Backend]] = []

    def step(self, choice: int) -> None:
        """Start a walk, or go on with one of those under way."""
        chosen = choice % (len(self.under_way) + 1)
        if chosen == len(self.under_way):
            self.under_way.append(self.turns.among(self.members))
        if next(self.under_way[chosen], None) is None:
            del self.under_way[chosen]


@given(weights, st.lists(st.integers(0, 20), max_size=60))
def test_interleaved_walks_keep_the_sum_of_what_was_gained_at_zero(
    some_weights: list[int], choices: list[int]
) -> None:
    walks = Walks(some_backends(*some_weights))
    for choice in choices:
        walks.step(choice)
        assert sum(walks.turns._current) == 0


@given(weights, st.lists(st.integers(0, 20), max_size=60))
def test_walks_that_passed_all_over_leave_no_trace(some_weights: list[int], choices: list[int]) -> None:
    walks = Walks(some_backends(*some_weights))
    for choice in choices:
        walks.step(choice)
    for walk in walks.under_way:
        list(walk)
    assert walks.turns._current == [0] * len(some_weights)


@given(small_weights, st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_the_first_apart_and_then_the_others_are_the_candidates(
    weights: list[int], passed_over: list[int]
) -> None:
    """Whichever way each connection asks, and however many candidates it passes over."""
    one, other = (
        RoundRobin(some_backends(*weights), some_tools()),
        RoundRobin(some_backends(*weights), some_tools()),
    )
    for count in passed_over:
        candidates = one.candidates(None)
        first = other.first(None)
        others = other.others(None, first)
        expected = list(islice(candidates, count + 1))
        assert names(expected) == names([first, *islice(others, count)])
