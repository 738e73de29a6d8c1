"""Outlier detection under connections that fail, answer and are slow, and time that passes, in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.outlier import MAX_GROWTH

anyone = st.integers(0, 10**6)
EJECT_FOR = 30.0


class OutlierMachine(RuleBasedStateMachine):
    """Never too many are out, never all, and each comes back in its time, no sooner and no later."""

    @initialize(
        count=st.integers(1, 5),
        failures=st.integers(1, 3),
        max_ejected=st.sampled_from([0.01, 0.5, 1.0]),
        checked=st.booleans(),
    )
    def build(self, count: int, failures: int, max_ejected: float, checked: bool) -> None:
        self.clock = Clock()
        self.most = max(1, int(max_ejected * count))
        self.checked = checked
        self.since: dict[Backend, float] = {}
        self.pool = a_pool(
            some_backends(*[1] * count),
            self.clock,
            health="external" if checked else None,
            outlier=OutlierConfig(
                consecutive_failures=failures, eject_for=EJECT_FOR, max_ejected=max_ejected, slow_factor=2.0
            ),
        )

    def some(self, which: int) -> Backend:
        return self.pool.backends[which % len(self.pool.backends)]

    def note(self) -> None:
        """Remember since when each is out; who has come back was out for long enough."""
        now = self.clock.seconds()
        for backend in self.pool.backends:
            if backend.ejected:
                self.since.setdefault(backend, now)
            elif backend in self.since:
                assert now - self.since.pop(backend) >= EJECT_FOR

    @rule(which=anyone, seconds=st.sampled_from([0.001, 0.01, 1.0]), answers=st.booleans())
    def connects(self, which: int, seconds: float, answers: bool) -> None:
        slot = self.pool.take(self.some(which), None)
        slot.connected(seconds)
        if answers:
            slot.answered()
        slot.release()
        self.note()

    @rule(which=anyone, times=st.integers(1, 3))
    def fails(self, which: int, times: int) -> None:
        for _ in range(times):
            slot = self.pool.take(self.some(which), None)
            slot.failed(0.001, "reset")
            slot.release()
        self.note()

    @rule(which=anyone, up=st.booleans())
    def flips(self, which: int, up: bool) -> None:
        if up:
            self.pool.mark_up(self.some(which))
        else:
            self.pool.mark_down(self.some(which), "refused")

    @rule(which=anyone, admin_state=st.sampled_from(AdminState))
    def is_ordered(self, which: int, admin_state: AdminState) -> None:
        self.pool.set_admin_state(self.some(which), admin_state)

    @rule(seconds=st.sampled_from([1.0, EJECT_FOR, MAX_GROWTH * EJECT_FOR]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        next(self.pool.selection.choices(None), None)
        self.note()

    @rule()
    def all_come_back_in_the_end(self) -> None:
        self.clock.advance(MAX_GROWTH * EJECT_FOR)
        next(self.pool.selection.choices(None), None)
        if self.checked:
            for backend in self.pool.backends:
                self.pool.passed_a_check(backend)
        assert not any(backend.ejected for backend in self.pool.backends)
        self.note()

    @invariant()
    def not_too_many_are_out(self) -> None:
        assert sum(backend.ejected for backend in self.pool.backends) <= self.most

    @invariant()
    def somebody_stays(self) -> None:
        able = [b for b in self.pool.backends if b.up and b.admin_state is AdminState.READY]
        assert any(backend.available for backend in able) == bool(able)
        offered = set(self.pool.selection.choices(None))
        assert offered == {backend for backend in self.pool.backends if backend.available}


TestOutlierMachine = OutlierMachine.TestCase
TestOutlierMachine.settings = settings(max_examples=60, stateful_step_count=40)
