"""Policies that go wrong, and who serves then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from support.pools import names, some_backends, some_tools
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, Policy, PolicyFactory, PolicyTools
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.tier import PolicyFailureLog, Tier

POLICY = "pool web: policy odd"


def policy_of(candidates: Callable[[Sequence[Backend]], Any]) -> PolicyFactory:
    """A policy whose ``candidates`` is *candidates* of the backends, whatever that gives."""

    class Some:
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            self.backends = backends

        def candidates(self, client: bytes | None) -> Any:
            return candidates(self.backends)

    return Some


def raising_after(count: int) -> PolicyFactory:
    def candidates(backends: Sequence[Backend]) -> Iterator[Backend]:
        yield from backends[:count]
        raise RuntimeError("out of ideas")

    return policy_of(candidates)


def tier(balance: PolicyFactory, clock: Clock | None = None) -> Tier:
    tools = some_tools(clock)
    return Tier(balance, some_backends(1, 1, 1), tools, PolicyFailureLog(POLICY, tools.clock, None))


def warnings(events: Iterable[LogEvent]) -> list[str]:
    return [text for text in map(formatEvent, events) if text]


def previewing(preview: Callable[[Sequence[Backend]], Any]) -> PolicyFactory:
    """A policy whose ``preview`` is *preview* of the backends, whatever that gives."""

    class Some(RoundRobin):
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            super().__init__(backends, tools)
            self.backends = backends

        def preview(self, client: bytes | None) -> Any:
            return preview(self.backends)

    return Some


def failing(backends: Sequence[Backend]) -> Any:
    raise RuntimeError("out of ideas")


@pytest.mark.parametrize(
    "preview",
    [
        failing,
        lambda _: None,
        lambda backends: OrderPreview([*some_backends(1), *backends], True, "x"),
        lambda backends: OrderPreview([*backends, backends[0]], True, "x"),
        lambda _: OrderPreview([Weird()], True, "x"),  # type: ignore[list-item]  # such as it may be
    ],
)
def test_a_preview_that_goes_wrong_says_nothing_of_the_order(preview: Any) -> None:
    its = tier(previewing(preview))
    with capturedLogs() as events:
        found = [its.preview(None) for _ in range(2)]
    assert found == 2 * [OrderPreview(its.backends, False, "a policy that has failed to say what it will do")]
    (line,) = warnings(events)
    assert line.startswith(f"{POLICY} failed; explain does not know its order")
    with capturedLogs() as events:
        assert set(its.candidates(None)) == its.members
    assert warnings(events) == []


class Weird:
    def __hash__(self) -> int:
        raise RuntimeError("no hash")


MISBEHAVING: dict[str, PolicyFactory] = {
    "raises at once": raising_after(0),
    "raises in the middle": raising_after(1),
    "yields the backends of others": policy_of(lambda _: some_backends(1)),
    "yields what is no backend": policy_of(lambda _: ["192.0.2.1:80"]),
    "yields what has no hash": policy_of(lambda backends: [backends[0], Weird()]),
    "repeats itself without end": policy_of(lambda backends: cycle(backends[:2])),
    "gives nothing to walk": policy_of(lambda _: None),
}


@pytest.mark.parametrize("balance", MISBEHAVING.values(), ids=list(MISBEHAVING))
def test_round_robin_serves_and_the_policy_is_named(balance: PolicyFactory) -> None:
    odd = tier(balance)
    with capturedLogs() as events:
        assert set(odd.candidates(None)) == set(odd.backends)
    assert len(events) == 1
    assert warnings(events)[0].startswith("pool web: policy odd failed; round robin serves instead")


def test_what_it_yielded_before_it_failed_comes_first() -> None:
    odd = tier(raising_after(2))
    with capturedLogs():
        candidates = odd.candidates(None)
        assert names([next(candidates), next(candidates)]) == "ab"
        assert "c" in names(list(candidates))


def test_round_robin_keeps_its_turns_meanwhile() -> None:
    odd = tier(raising_after(0))
    with capturedLogs():
        assert names([next(odd.candidates(None)) for _ in range(6)]) == "abcabc"


def test_it_is_reported_once_a_minute_with_how_often() -> None:
    clock = Clock()
    odd = tier(raising_after(0), clock)
    with capturedLogs() as events:
        for _ in range(50):
            next(odd.candidates(None))
        clock.advance(59)
        next(odd.candidates(None))
        clock.advance(1)
        next(odd.candidates(None))
    assert [event["times"] for event in events] == [1, 51]
    assert all("out of ideas" in event["log_failure"].getErrorMessage() for event in events)


def test_failures_held_back_are_reported_though_nobody_asks_any_more() -> None:
    clock = Clock()
    tools = some_tools(clock)
    failures = PolicyFailureLog(POLICY, tools.clock, clock)
    odd = Tier(raising_after(0), some_backends(1, 1), tools, failures)
    with capturedLogs() as events:
        for _ in range(50):
            next(odd.candidates(None))
        clock.advance(60)
        next(odd.candidates(None))
        failures.flush()
    assert [event["times"] for event in events] == [1, 49, 1]
    assert clock.getDelayedCalls() == []


def test_a_policy_may_leave_backends_out() -> None:
    one = tier(policy_of(lambda backends: backends[1:2]))
    with capturedLogs() as events:
        assert names(list(one.candidates(None))) == "b"
    assert events == []


def test_it_is_asked_for_no_more_than_is_needed() -> None:
    def candidates(backends: Sequence[Backend]) -> Iterator[Backend]:
        yield backends[0]
        pytest.fail("went on although the first candidate was taken")

    lazy: Policy = tier(policy_of(candidates))
    assert next(lazy.candidates(None)).name == "a"


def test_its_generator_is_closed_with_the_tiers() -> None:
    ended: list[str] = []

    def candidates(backends: Sequence[Backend]) -> Iterator[Backend]:
        try:
            yield from backends
        finally:
            ended.append("closed")

    asked = tier(policy_of(candidates)).candidates(None)
    next(asked)
    asked.close()
    assert ended == ["closed"]


def raising_at_the_end(backends: Sequence[Backend]) -> Iterator[Backend]:
    try:
        yield from backends
    finally:
        raise RuntimeError("cannot let go")


def test_one_that_raises_when_it_is_closed_is_reported_like_any_other() -> None:
    clock = Clock()
    odd = tier(policy_of(raising_at_the_end), clock)
    with capturedLogs() as events:
        for _ in range(3):
            asked = odd.candidates(None)
            next(asked)
            asked.close()
    assert [event["times"] for event in events] == [1]
    assert events[0]["log_failure"].getErrorMessage() == "cannot let go"


def test_one_that_does_not_let_itself_be_closed_is_reported() -> None:
    def candidates(backends: Sequence[Backend]) -> Iterator[Backend]:
        try:
            yield backends[0]
        finally:
            yield backends[1]

    asked = tier(policy_of(candidates)).candidates(None)
    with capturedLogs() as events:
        next(asked)
        asked.close()
    assert [event["log_failure"].type for event in events] == [RuntimeError]


def test_one_that_was_found_out_is_closed_before_round_robin_takes_over() -> None:
    ended: list[str] = []

    def candidates(backends: Sequence[Backend]) -> Iterator[Any]:
        try:
            yield "192.0.2.1:80"
        finally:
            ended.append("closed")

    with capturedLogs() as events:
        asked = tier(policy_of(candidates)).candidates(None)
        next(asked)
    assert (ended, len(events)) == (["closed"], 1)


# Policies whose first candidate can be had apart


def quick(first: Callable[[Sequence[Backend]], Any], others: Callable[[Sequence[Backend]], Any]) -> Tier:
    """A tier of a policy that gives *first* and *others* of the backends, and all as candidates."""

    class Quick:
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            self._backends = backends

        def candidates(self, client: bytes | None) -> Iterator[Backend]:
            return iter(self._backends)

        def first(self, client: bytes | None) -> Any:
            return first(self._backends)

        def others(self, client: bytes | None, first: Backend) -> Any:
            return others(self._backends)

    return tier(Quick)


def raise_error(backends: Sequence[Backend]) -> Any:
    raise RuntimeError("out of ideas")


def test_its_first_and_the_others_come_in_its_order() -> None:
    odd = quick(lambda backends: backends[1], lambda backends: iter([backends[2], backends[0]]))
    first = odd.first(None)
    assert first is odd.backends[1]
    with capturedLogs() as events:
        assert names(list(odd.candidates(None, first))) == "bca"
    assert events == []


@pytest.mark.parametrize(
    "first",
    [
        raise_error,
        lambda _: some_backends(1)[0],
        lambda _: "192.0.2.1:80",
        lambda _: None,
        lambda _: Weird(),
    ],
    ids=["raises", "a backend of others", "no backend", "None", "what has no hash"],
)
def test_a_first_that_is_none_of_its_own_is_not_given(first: Callable[[Sequence[Backend]], Any]) -> None:
    odd = quick(first, iter)
    with capturedLogs() as events:
        assert odd.first(None) is None
    assert warnings(events)[0].startswith("pool web: policy odd failed")
    assert names(list(odd.candidates(None))) == "abc"


@pytest.mark.parametrize("name", ["first", "others"])
def test_a_policy_that_has_only_one_of_both_is_not_quick(name: str) -> None:
    half = type("Half", (RoundRobin,), {name: None})
    assert tier(half).first(None) is None


MISBEHAVING_OTHERS: dict[str, Callable[[Sequence[Backend]], Any]] = {
    "raise": raise_error,
    "are of others": lambda _: iter(some_backends(1)),
    "have the first among them": lambda backends: iter([*backends[1:], backends[0]]),
    "are nothing to walk": lambda _: None,
}


@pytest.mark.parametrize("others", MISBEHAVING_OTHERS.values(), ids=list(MISBEHAVING_OTHERS))
def test_round_robin_serves_when_the_others_are_wrong(others: Callable[[Sequence[Backend]], Any]) -> None:
    odd = quick(lambda backends: backends[0], others)
    with capturedLogs() as events:
        assert set(odd.candidates(None, odd.first(None))) == set(odd.backends)
    assert len(events) == 1
    assert warnings(events)[0].startswith("pool web: policy odd failed; round robin serves instead")


def test_a_first_that_another_policy_has_given_is_nothing_to_one_without() -> None:
    plain = tier(policy_of(iter))
    with capturedLogs() as events:
        assert names(list(plain.candidates(None, plain.backends[2]))) == "abc"
    assert events == []


def test_a_first_of_another_list_is_not_yielded() -> None:
    odd = quick(lambda backends: backends[0], raise_error)
    with capturedLogs() as events:
        assert names(list(odd.candidates(None, some_backends(1)[0]))) == "abc"
    assert events == []
