"""The first choice apart, as most connections ask for it, is the first of all choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.quantities import Duration
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool

CLIENTS = st.sampled_from([b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02", None])
CONNECTS = st.tuples(st.just("connect"), CLIENTS, st.sampled_from([0, 0, 0, 1, 3]))
EVENTS = st.one_of(
    CONNECTS,
    CONNECTS,
    st.tuples(
        st.sampled_from(["down", "up", "drain", "maintain", "ready", "fail", "release"]), st.integers(0, 2)
    ),
    st.tuples(st.just("pass_time"), st.sampled_from([1.0, 20.0])),
)
A, B = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
POOLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "affinity": {"affinity": AffinityConfig(ttl=10.0)},
    "bounded load": {"bounded_load": 1.2, "balance": RoundRobin},
    "bounded load of a hash": {"bounded_load": 1.2, "balance": "source_hash"},
    "slow start": {"slow_start": 10.0},
    "ejection": {"outlier": OutlierConfig(consecutive_failures=1, eject_for=Duration(15))},
    "least connections": {"balance": "least_connections"},
    "affinity and slow start": {"affinity": AffinityConfig(ttl=10.0), "slow_start": 10.0},
}


class Side:
    """A pool of three primaries, one of them with a limit, and a backup; and what connections do to it.

    :param apart: whether the first choice is asked for apart.
    """

    def __init__(self, settings: dict[str, Any], apart: bool) -> None:
        self._apart = apart
        self._clock = Clock()
        backends = [
            Backend("10.0.0.1:80", weight=2),
            Backend("10.0.0.2:80", max_connections=1),
            Backend("10.0.0.3:80"),
            Backend("10.0.0.4:80", backup=True),
        ]
        self.pool = Pool("pool", backends, clock=self._clock.seconds, rng=Random(1), **settings)
        self._slots: list[Any] = []

    def connect(self, client: bytes | None, failures: int) -> list[str]:
        """Choose, pass over so many, and take what comes then; give all names."""
        pool = self.pool
        if self._apart:
            backend, others = pool.selection.choose(client)
            chosen = [] if backend is None else [backend]
            if backend is not None and failures:
                others = pool.selection.choices_after(client, backend) if others is None else others
                chosen += islice(others, failures)
        else:
            chosen = list(islice(pool.selection.choices(client), 1 + failures))
        if chosen:
            slot = pool.take(chosen[-1], client)
            slot.connected(0.001)
            self._slots.append(slot)
        return [backend.name for backend in chosen]

    def state(self) -> list[tuple[int, bool]]:
        """How many connections each backend has, and whether it is available."""
        return [(backend.active, backend.available) for backend in self.pool.backends]

    def release(self, number: int) -> None:
        if self._slots:
            self._slots.pop(number % len(self._slots)).release()

    def fail(self, number: int) -> None:
        slot = self.pool.take(self.pool.backends[number], None)
        slot.failed(0.001, "refused")
        slot.release()

    def down(self, number: int) -> None:
        self.pool.mark_down(self.pool.backends[number], "refused")

    def up(self, number: int) -> None:
        self.pool.mark_up(self.pool.backends[number])

    def drain(self, number: int) -> None:
        self.pool.set_admin_state(self.pool.backends[number], AdminState.DRAIN)

    def maintain(self, number: int) -> None:
        self.pool.set_admin_state(self.pool.backends[number], AdminState.MAINTENANCE)

    def ready(self, number: int) -> None:
        self.pool.set_admin_state(self.pool.backends[number], AdminState.READY)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)


@given(
    st.sampled_from(list(POOLS)), st.lists(EVENTS, max_size=40) | st.lists(EVENTS, min_size=5, max_size=20)
)
@example("plain", [("connect", None, 0)] * 8)  # The second is full.
@example("plain", [("connect", None, 0), ("fail", 2), *[("connect", None, 0)] * 4])
@example("plain", [("maintain", 0), *[("connect", None, 0)] * 4])
@example("affinity", [("connect", A, 0), ("drain", 0), ("connect", A, 0)])
@example("affinity", [("connect", A, 0), ("maintain", 0), ("connect", A, 0), ("connect", B, 0)])
@example("affinity", [("connect", A, 0), ("fail", 0), ("connect", A, 0), ("connect", A, 1)])
@example("affinity", [("connect", None, 0), ("connect", A, 0), ("connect", A, 0), ("connect", A, 2)])
@example("affinity", [("connect", A, 3), ("connect", A, 1)])  # The backup is the sticky backend.
@example(
    "bounded load", [("drain", 0), *[("connect", None, 0)] * 6, ("ready", 0), *[("connect", None, 0)] * 4]
)
@example("slow start", [("pass_time", 20.0), ("down", 0), ("up", 0), *[("connect", None, 0)] * 8])
@example("ejection", [("fail", 0), ("connect", None, 0), ("pass_time", 20.0), *[("connect", None, 0)] * 3])
def test_it_is_the_first_of_all(settings: str, events: list[tuple[Any, ...]]) -> None:
    one, other = Side(POOLS[settings], apart=True), Side(POOLS[settings], apart=False)
    for event, *details in events:
        chosen = getattr(one, event)(*details)
        assert chosen == getattr(other, event)(*details)
        assert chosen is None or len(chosen) == len(set(chosen))
        assert one.state() == other.state()


def test_the_list_may_become_empty_between_two_choices() -> None:
    pool = Pool("pool", ["10.0.0.1:80", "10.0.0.2:80"])
    choices = pool.selection.choices(None)
    next(choices)
    pool.replace([])
    assert list(choices) == []
    assert pool.selection.choose(None)[0] is None


@pytest.mark.parametrize("failures", [0, 1])
def test_a_backend_that_is_named_twice_is_given_once(failures: int) -> None:
    """By a policy that fails, and by round robin after it."""

    class Failing:
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            self._backends = backends

        def candidates(self, client: bytes | None) -> Iterator[Backend]:
            yield from self._backends[:failures]
            raise RuntimeError("out of ideas")

    pool = Pool("pool", ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], balance=Failing)
    with capturedLogs():
        names = [backend.name for backend in pool.selection.choices(None)]
    assert sorted(names) == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]


def test_what_is_chosen_after_the_list_was_replaced_is_of_the_new_one() -> None:
    pool = Pool("pool", ["10.0.0.1:80", "10.0.0.2:80"])
    backend, _ = pool.selection.choose(None)
    assert backend is not None
    pool.replace(["10.0.0.3:80", "10.0.0.4:80"])
    names = [after.name for after in pool.selection.choices_after(None, backend)]
    assert names == ["10.0.0.3:80", "10.0.0.4:80"]
