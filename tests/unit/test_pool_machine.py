"""A pool under connections that come, fail, are retried and end in any order, while its backends change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from support.pools import a_pool
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.weighted_random import WeightedRandom
from tcpbalance.pool.pool import Slot

anyone = st.integers(0, 10**6)
CLIENTS = (None, *(bytes((192, 0, 2, host)) for host in range(5)))


SETTINGS = st.tuples(st.integers(1, 256), st.none() | st.integers(1, 3), st.booleans())
"""Weight, limit and rank of a backend."""


class Dialling:
    """A connection that is looking for its backend."""

    def __init__(self, choices: Iterator[Backend], client: bytes | None, is_request: bool) -> None:
        self.choices = choices
        self.is_request = is_request
        self.client = client
        self.slot: Slot | None = None
        self.tried: list[Backend] = []


class PoolMachine(RuleBasedStateMachine):
    """Slots and active connections agree, limits hold, and no connection is offered one backend twice, or a
    backup before a primary."""

    policies: ClassVar[list[PolicyFactory]] = [
        RoundRobin,
        LeastConnections,
        PowerOfTwoChoices,
        PeakEwmaPolicy,
        WeightedRandom,
    ]

    @initialize(
        policy=st.sampled_from(policies),
        backends=st.lists(SETTINGS, min_size=1, max_size=5),
        affine=st.booleans(),
        bounded_load=st.none() | st.just(1.25),
        panic_threshold=st.sampled_from([0.0, 0.5]),
        checked=st.booleans(),
    )
    def build(
        self,
        policy: PolicyFactory,
        backends: list[tuple[int, int | None, bool]],
        affine: bool,
        bounded_load: float | None,
        panic_threshold: float,
        checked: bool,
    ) -> None:
        self.clock = Clock()
        self.dialling: list[Dialling] = []
        self.open: list[Slot] = []
        self.ended: list[Slot] = []
        self.panic_threshold = panic_threshold
        self.limits: dict[Backend, int | None] = {}
        self.pool = a_pool(
            self.backends(dict(enumerate(backends))),
            self.clock,
            balance=policy,
            # The pool refuses it with this one.
            bounded_load=None if policy is PeakEwmaPolicy else bounded_load,
            panic_threshold=panic_threshold,
            affinity=AffinityConfig(ttl=60.0, max_entries=3) if affine else None,
            health="external" if checked else None,
        )

        self.note_limits()

    def backends(self, settings: dict[int, tuple[int, int | None, bool]]) -> list[Backend]:
        return [
            Backend(f"192.0.2.{number}:80", weight=weight, max_connections=limit, backup=backup)
            for number, (weight, limit, backup) in settings.items()
        ]

    def note_limits(self) -> None:
        """Remember the highest limit that each backend has had: what is open when it is lowered stays."""
        for backend in self.pool.backends:
            had, has = self.limits.get(backend, 0), backend.max_connections
            self.limits[backend] = None if had is None or has is None else max(had, has)

    @rule(settings=st.dictionaries(st.integers(0, 6), SETTINGS, max_size=5))
    def gets_others(self, settings: dict[int, tuple[int, int | None, bool]]) -> None:
        before = {backend.key: backend for backend in self.pool.backends}
        self.pool.replace(self.backends(settings))
        assert [backend.settings[:3] for backend in self.pool.backends] == [*settings.values()]
        for backend in self.pool.backends:
            assert before.get(backend.key, backend) is backend
        for tier in self.pool._members.tiers:
            assert tier.members <= set(self.pool.backends)
        self.note_limits()

    def can_serve(self, backend: Backend) -> bool:
        up = sum(other.up for other in self.pool.backends)
        panic = up < self.panic_threshold * len(self.pool.backends)
        room = backend.max_connections is None or backend.active < backend.max_connections
        return room and (backend.up or panic)

    def try_next(self, dialling: Dialling) -> None:
        backend = next(dialling.choices, None)
        if backend is None:
            # One that was full when it was its turn, and no longer is, is not asked again: so only at first.
            assert dialling.tried or not any(map(self.can_serve, self.pool.backends))
            return
        assert self.can_serve(backend)
        assert backend in self.pool.backends
        assert backend not in dialling.tried
        dialling.tried.append(backend)
        take = self.pool.take_for_request if dialling.is_request else self.pool.take
        dialling.slot = take(backend, dialling.client)
        self.dialling.append(dialling)

    @rule(client=st.sampled_from(CLIENTS), is_request=st.booleans())
    def arrives(self, client: bytes | None, is_request: bool) -> None:
        self.try_next(Dialling(self.pool.selection.choices(client), client, is_request))

    @rule(which=anyone, seconds=st.sampled_from([None, 0.0, 0.001, 2.0]), has_body=st.booleans())
    def connects(self, which: int, seconds: float | None, has_body: bool) -> None:
        if self.dialling:
            dialling = self.dialling.pop(which % len(self.dialling))
            slot = dialling.slot
            assert slot is not None
            if seconds is None and dialling.is_request:
                slot.reused()
            else:
                slot.connected(seconds or 0.0)
            if dialling.is_request and has_body:
                slot.request_unfinished()
            self.open.append(slot)

    @rule(which=anyone)
    def is_sent(self, which: int) -> None:
        if self.open:
            self.open[which % len(self.open)].request_sent()

    @rule(which=anyone, status=st.sampled_from([200, 502]))
    def responds(self, which: int, status: int) -> None:
        if self.open:
            self.open[which % len(self.open)].responded(status)

    @rule(which=anyone, seconds=st.sampled_from([0.0, 0.001, 3.0]))
    def fails(self, which: int, seconds: float) -> None:
        if self.dialling:
            dialling = self.dialling.pop(which % len(self.dialling))
            assert dialling.slot is not None
            dialling.slot.failed(seconds, "refused")
            dialling.slot.release()
            self.ended.append(dialling.slot)
            self.try_next(dialling)

    @rule(which=anyone)
    def ends(self, which: int) -> None:
        if self.open:
            slot = self.open.pop(which % len(self.open))
            slot.release()
            self.ended.append(slot)

    @rule(which=anyone)
    def is_released_again(self, which: int) -> None:
        if self.ended:
            self.ended[which % len(self.ended)].release()

    @rule(which=anyone, up=st.booleans())
    def flips(self, which: int, up: bool) -> None:
        if not self.pool.backends:
            return
        backend = self.pool.backends[which % len(self.pool.backends)]
        was_up = backend.up
        told = self.pool.mark_up(backend) if up else self.pool.mark_down(backend, "refused")
        assert told == (was_up != up)

    @rule(seconds=st.sampled_from([1.0, 10.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def looks_at_all(self) -> None:
        able = {backend for backend in self.pool.backends if self.can_serve(backend)}
        now = self.clock.seconds()
        for client in CLIENTS:
            offered = list(self.pool.selection.choices(client))
            assert len(offered) == len(set(offered))
            assert set(offered) == able
            backups = [backend.backup for backend in offered if backend.cooldown_until <= now]
            assert backups == sorted(backups)  # which has the primaries first

    @invariant()
    def active_connections_are_the_slots_held(self) -> None:
        held = [*self.open, *(dialling.slot for dialling in self.dialling if dialling.slot)]
        for backend, limit in self.limits.items():
            assert backend.active == sum(slot.backend is backend for slot in held)
            assert limit is None or backend.active <= limit
            assert backend.removed is (backend not in self.pool.backends)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=40)
