"""The first choice apart, as most connections ask for it, is the first of all choices."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool

CLIENTS = st.sampled_from([b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02", None])
EVENTS = st.one_of(
    st.tuples(st.just("connect"), CLIENTS, st.integers(0, 3)),
    st.tuples(st.sampled_from(["down", "up", "drain", "ready", "fail", "release"]), st.integers(0, 2)),
    st.tuples(st.just("pass_time"), st.sampled_from([1.0, 20.0])),
)
POOLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "affinity": {"affinity": AffinityConfig(ttl=10.0)},
    "bounded load": {"bounded_load": 1.2, "balance": "source_hash"},
    "slow start": {"slow_start": 10.0},
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
            backend, others = pool.choose(client)
            chosen = [] if backend is None else [backend]
            if backend is not None and failures:
                others = pool.choices_after(client, backend) if others is None else others
                chosen += islice(others, failures)
        else:
            chosen = list(islice(pool.choices(client), 1 + failures))
        if chosen:
            slot = pool.take(chosen[-1], client)
            slot.connected(0.001)
            self._slots.append(slot)
        return [backend.name for backend in chosen]

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

    def ready(self, number: int) -> None:
        self.pool.set_admin_state(self.pool.backends[number], AdminState.READY)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)


@given(st.sampled_from(list(POOLS)), st.lists(EVENTS, max_size=40))
def test_it_is_the_first_of_all(settings: str, events: list[tuple[Any, ...]]) -> None:
    one, other = Side(POOLS[settings], apart=True), Side(POOLS[settings], apart=False)
    for event, *details in events:
        assert getattr(one, event)(*details) == getattr(other, event)(*details)


def test_the_list_may_become_empty_between_two_choices() -> None:
    pool = Pool("pool", ["10.0.0.1:80", "10.0.0.2:80"])
    choices = pool.choices(None)
    next(choices)
    pool.replace([])
    assert list(choices) == []
    assert pool.choose(None)[0] is None
