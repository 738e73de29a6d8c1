"""Which sessions are closed so that their clients come to other backends: how many, how fast, until when."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from support.pools import a_pool, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.services.rebalancer import AFTER_FAILURE, CALM, CHECKED_A_LOOK, LISTED_FOR, PAUSE, Rebalancer

IDLE_FOR = 5.0


class FakeSession:
    """A session of which a test says how long it has been idle.

    :ivar busy: whether something is always under way.
    :ivar refused: whether its client could not come back.
    :ivar lingers: whether its connection to the backend stays active after its end is decided.
    """

    def __init__(self, stage: Stage, number: int, delay: float) -> None:
        self._stage = stage
        self.number = number
        self.delay = delay
        self._quiet_since = stage.clock.seconds()
        self.busy = False
        self.lingers = False
        self.refused = False
        self.reason: EndReason | None = None
        self.over = False
        client = number.to_bytes(4, "big")
        backend, _ = stage.pool.selection.choose(client)
        assert backend is not None
        self._slot = stage.pool.take(backend, client)
        self._slot.connected(0.001)

    @property
    def served_by(self) -> Backend:
        return self._slot.backend

    @property
    def idle(self) -> float:
        """Seconds for which nothing has been under way."""
        return 0.0 if self.busy else self._stage.clock.seconds() - self._quiet_since

    def can_move(self, idle_for: float) -> bool:
        return self.reason is None and self.idle >= idle_for and not self._slot.is_bound

    def can_return(self) -> bool:
        return not self.refused

    def end(self, reason: EndReason) -> None:
        assert self.reason is None
        self.reason = reason
        self._stage.ended.append((self._stage.clock.seconds(), self))
        if not self.lingers:
            self.leave()

    def leave(self) -> None:
        """Its connections are closed, and its client comes back later."""
        self.over = True
        self._slot.release()
        self._stage.sessions.remove(self)
        if self.delay >= 0:
            self._stage.clock.callLater(self.delay, self._stage.connect, self.number, self.delay)


class Stage:
    """A pool with sessions, and what rebalances it.

    :ivar ended: the sessions that were closed, each with the time.
    """

    def __init__(self, *weights: int, rate: str = "5/s", **pool: Any) -> None:
        self.clock = Clock()
        self.pool = a_pool(some_backends(*weights), self.clock, **{"balance": "least_connections", **pool})
        self.sessions: list[FakeSession] = []
        self.ended: list[tuple[float, FakeSession]] = []
        self.snapshots = 0
        self.config = RebalanceConfig(rate=rate, idle_for=IDLE_FOR)
        clock: Any = self.clock
        self.rebalancer = Rebalancer(self.pool, self._open_sessions, clock, self.clock.seconds, Random(1))

    def _open_sessions(self) -> Any:
        self.snapshots += 1
        return list(self.sessions)

    def connect(self, number: int, delay: float = 0.1) -> FakeSession:
        session = FakeSession(self, number, delay)
        self.sessions.append(session)
        return session

    def crowd(self, count: int, delay: float = 0.1) -> None:
        for number in range(count):
            self.connect(number, delay)

    def scale_out(self, *weights: int) -> None:
        """Have further backends in the pool."""
        present = len(self.pool.backends)
        self.pool.replace([*self.pool.backends, *some_backends(*[1] * present, *weights)[present:]])

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    @property
    def active(self) -> list[int]:
        return [backend.active for backend in self.pool.backends]


def test_idle_sessions_spread_over_a_new_backend_and_then_stay() -> None:
    stage = Stage(1)
    stage.crowd(40)
    stage.rebalancer.start(stage.config)
    stage.advance(10)
    assert not stage.ended
    stage.scale_out(1)
    began = stage.clock.seconds()
    stage.advance(IDLE_FOR + 6)
    assert stage.active == [20, 20]
    assert len(stage.ended) == 20
    assert {session.reason for _, session in stage.ended} == {EndReason.REBALANCED}
    times = [at - began for at, _ in stage.ended]
    assert times[0] >= IDLE_FOR, "not because of a surplus that may be gone soon"
    assert 3 <= times[-1] - times[0] <= 5, "5 in a second"
    assert all(sum(at <= time < at + 1 for time in times) <= 5 + 2 for at in times)
    stage.advance(100)
    assert len(stage.ended) == 20


@pytest.mark.parametrize("balance", ["round_robin", "random", "power_of_two_choices", "least_connections"])
@pytest.mark.parametrize("delay", [0.0, 0.3, 2.0])
def test_every_policy_that_counts_comes_to_an_end(balance: str, delay: float) -> None:
    stage = Stage(1, 2, balance=balance, rate="20/s")
    stage.crowd(60, delay)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(100)
    assert all(count <= share + 1 for count, share in zip(stage.active, (15, 30, 15), strict=True))
    ended = len(stage.ended)
    stage.advance(20)
    assert len(stage.ended) == ended


def test_no_more_are_closed_than_the_surplus_while_clients_wait_before_they_come_back() -> None:
    stage = Stage(1)
    stage.crowd(40, delay=50.0)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(40)
    assert (stage.active, len(stage.ended)) == ([20, 0], 20)
    stage.advance(60)
    assert (stage.active, len(stage.ended)) == ([20, 20], 20)


@pytest.mark.parametrize("delay", [0.1, 5.0, 20.0])
def test_short_connections_are_not_taken_for_clients_that_have_come_back(delay: float) -> None:
    stage = Stage(1, 1, 1, rate="20/s")
    stage.crowd(400, delay)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    for _ in range(600):
        backend, _ = stage.pool.selection.choose(None)
        assert backend is not None
        stage.clock.callLater(0.35, stage.pool.take(backend, None).release)
        stage.advance(0.1)
    assert 90 <= len(stage.ended) <= 110
    assert max(stage.active) <= 105


def test_sessions_that_take_time_to_close_count_as_gone() -> None:
    stage = Stage(1)
    stage.crowd(40)
    for session in stage.sessions:
        session.lingers = True
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(30)
    assert len(stage.ended) == 20
    for _, session in stage.ended:
        session.leave()
    stage.advance(30)
    assert (stage.active, len(stage.ended)) == ([20, 20], 20)


def test_busy_sessions_stay() -> None:
    stage = Stage(1)
    stage.crowd(40)
    for session in stage.sessions[:35]:
        session.busy = True
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert stage.active == [35, 5]
    for session in stage.sessions:
        session.busy = False
    stage.advance(60)
    assert stage.active == [20, 20]


def test_sessions_whose_clients_could_not_come_back_stay() -> None:
    stage = Stage(1)
    stage.crowd(40)
    for session in stage.sessions[:35]:
        session.refused = True
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert stage.active == [35, 5]


def test_sessions_bound_by_affinity_stay() -> None:
    stage = Stage(1, affinity=AffinityConfig(ttl=10, max_entries=30))
    stage.crowd(40, delay=-1)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert stage.active == [30, 0], "ten clients were forgotten, because no more than thirty are remembered"
    assert {session.number for _, session in stage.ended} == set(range(10))


def test_backends_that_drain_or_are_down_keep_their_sessions() -> None:
    stage = Stage(1, 1, 1)
    stage.crowd(60)
    a, b, _ = stage.pool.backends
    stage.pool.set_admin_state(a, AdminState.DRAIN)
    stage.pool.mark_down(b, "refused")
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert stage.active == [20, 20, 10, 10]


def test_nothing_is_closed_in_a_panic() -> None:
    stage = Stage(1, 1, panic_threshold=0.9)
    stage.crowd(40)
    stage.scale_out(1)
    with capturedLogs():
        stage.pool.mark_down(stage.pool.backends[0], "refused")
        stage.rebalancer.start(stage.config)
        stage.advance(60)
    assert stage.active == [20, 20, 0]


def test_in_slow_start_sessions_come_little_by_little() -> None:
    stage = Stage(1, slow_start=100.0, rate="50/s")
    stage.crowd(100)
    stage.advance(100)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(50)
    assert 20 <= stage.active[1] <= 34, "half the weight: at most a third of the sessions"
    stage.advance(100)
    assert stage.active == [50, 50]


def test_sessions_that_are_not_the_pools_are_left_alone() -> None:
    stage, other = Stage(1), Stage(1)
    stage.crowd(40)
    other.crowd(40)
    stage.sessions += other.sessions
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert (stage.active, other.active) == ([20, 20], [40])


def test_other_settings_count_from_the_next_look_on() -> None:
    stage = Stage(1, rate="1/h")
    stage.crowd(40)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(100)
    assert len(stage.ended) == 1
    stage.rebalancer.start(RebalanceConfig(rate="5/s"))
    stage.rebalancer.start(RebalanceConfig(rate="5/s"))
    stage.advance(10)
    assert stage.active == [20, 20]


def test_once_stopped_it_looks_no_more() -> None:
    stage = Stage(1)
    stage.crowd(40)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(IDLE_FOR + 2)
    stage.rebalancer.stop()
    stage.rebalancer.stop()
    stage.advance(IDLE_FOR + 2)
    assert 0 < len(stage.ended) < 20
    assert not stage.clock.getDelayedCalls()
    stage.rebalancer.start(stage.config)
    stage.advance(20)
    assert stage.active == [20, 20]


def test_sessions_that_take_time_to_close_count_as_gone_after_a_stop_too() -> None:
    stage = Stage(1)
    stage.crowd(40)
    for session in stage.sessions:
        session.lingers = True
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(IDLE_FOR + 6)
    assert len(stage.ended) == 20
    stage.ended[0][1].leave()
    stage.rebalancer.stop()
    assert len(stage.rebalancer._leaving) == 19, "those that have ended are not held while it does nothing"
    stage.rebalancer.start(stage.config)
    stage.advance(30)
    assert len(stage.ended) == 20


def test_a_surplus_that_comes_and_goes_is_none() -> None:
    """As where most connections are short."""
    stage = Stage(1, 1)
    stage.crowd(40)
    a, _ = stage.pool.backends
    stage.rebalancer.start(stage.config)
    for _ in range(10):
        short = [stage.pool.take(a, None) for _ in range(6)]
        stage.advance(IDLE_FOR - 2)
        for slot in short:
            slot.release()
        stage.advance(2)
    assert not stage.ended


def test_a_few_above_the_share_are_tolerated() -> None:
    """Clients that come and go leave no backend with its share exactly."""
    stage = Stage(1, 1)
    stage.crowd(200)
    a, _ = stage.pool.backends
    stage.rebalancer.start(stage.config)
    for _ in range(10):
        stage.pool.take(a, None)
    stage.advance(60)
    assert not stage.ended
    for _ in range(5):
        stage.pool.take(a, None)
    stage.advance(60)
    assert stage.active == [108, 107], "once it has begun, the whole surplus is closed"


def test_one_above_the_share_is_tolerated_in_a_small_pool() -> None:
    stage = Stage(1, 1, 1)
    stage.crowd(3)
    a, *_ = stage.pool.backends
    stage.pool.take(a, None)
    stage.pool.take(a, None)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    assert (stage.active, len(stage.ended)) == ([3, 1, 1], 0)
    stage.pool.take(a, None)
    stage.advance(60)
    assert (max(stage.active), len(stage.ended)) == (3, 1)


def test_it_looks_on_while_the_rate_allows_no_more() -> None:
    """A surplus that has come again meanwhile has not lasted."""
    stage = Stage(1, 1, rate="6/m")
    stage.crowd(40, delay=0.0)
    a, _ = stage.pool.backends
    stage.rebalancer.start(stage.config)
    short = [stage.pool.take(a, None) for _ in range(6)]
    stage.advance(IDLE_FOR + 1)
    assert len(stage.ended) == 1
    for slot in short:
        slot.release()
    stage.advance(8)
    for _ in range(6):
        stage.pool.take(a, None)
    stage.advance(IDLE_FOR - 1)
    assert len(stage.ended) == 1
    stage.advance(2)
    assert len(stage.ended) == 2


def test_shares_change_with_weights() -> None:
    stage = Stage(1, 1)
    stage.crowd(40)
    stage.rebalancer.start(stage.config)
    stage.advance(10)
    assert stage.active == [20, 20]
    stage.pool.replace(some_backends(1, 3))
    stage.advance(20)
    assert stage.active == [10, 30]


def test_one_look_examines_a_bounded_number() -> None:
    stage = Stage(1)
    stage.crowd(CHECKED_A_LOOK * 3 + 10)
    asked: Counter[float] = Counter()
    for session in stage.sessions:
        session.busy = True

    class Asked(FakeSession):
        def can_move(self, idle_for: float) -> bool:
            asked[stage.clock.seconds()] += 1
            return super().can_move(idle_for)

    for session in stage.sessions:
        session.__class__ = Asked
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    while not asked:
        stage.clock.advance(PAUSE)
    stage.clock.pump([PAUSE] * 3)
    assert list(asked.values()) == [CHECKED_A_LOOK] * 3 + [10]
    stage.clock.pump([PAUSE] * (1 + round(CALM / PAUSE)))
    times = list(asked)
    assert times[4] - times[3] > CALM - PAUSE / 2, "all were seen, so it waits before it begins anew"
    assert stage.snapshots == 2


@pytest.mark.parametrize("count", [CHECKED_A_LOOK, CHECKED_A_LOOK + 10])
def test_it_wakes_up_seldom_while_there_is_nothing_to_do(count: int) -> None:
    stage = Stage(1)
    stage.crowd(count)
    for session in stage.sessions:
        session.busy = True
    looks = 0
    surplus = stage.pool.selection.surplus

    def counted(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return surplus(*args)

    stage.pool.selection.surplus = counted  # type: ignore[assignment,method-assign]
    stage.rebalancer.start(stage.config)
    stage.advance(10)
    assert 9 <= looks <= 11
    stage.scale_out(1)
    stage.advance(IDLE_FOR + 10)
    assert looks <= 11 + 2 * (IDLE_FOR + 11), "none of them is idle"


def test_sessions_that_have_ended_are_not_held_for_long() -> None:
    stage = Stage(1, rate="1/s")
    stage.crowd(500)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(IDLE_FOR + 2)
    assert stage.ended
    before = stage.snapshots
    stage.advance(2 * LISTED_FOR)
    assert before + 1 <= stage.snapshots <= before + 3
    assert len(stage.rebalancer._unseen) < 500


def test_all_have_their_turn_where_one_list_is_too_long() -> None:
    stage = Stage(1)
    stage.crowd(40)
    firsts = set()
    for _ in range(100):
        stage.rebalancer._list_sessions(0.0)
        assert len({*stage.rebalancer._unseen}) == 40
        firsts.add(stage.rebalancer._unseen[-1])
    assert len(firsts) > 20


def test_it_is_in_the_log_when_it_begins_and_when_it_is_over() -> None:
    stage = Stage(1)
    stage.crowd(40)
    stage.scale_out(1)
    with capturedLogs() as logged:
        stage.rebalancer.start(stage.config)
        stage.advance(IDLE_FOR + 1)
        stage.advance(100)
    assert [formatEvent(event) for event in logged] == [
        "pool web: 20 connections above the shares of their backends, idle ones are closed, 5/s at most",
        "pool web: rebalancing is over, 20 connections were closed",
    ]


def test_it_can_be_stopped_by_what_hears_of_an_end() -> None:
    stage = Stage(1)
    stage.crowd(40)

    class Last(FakeSession):
        def end(self, reason: EndReason) -> None:
            super().end(reason)
            stage.rebalancer.stop()

    for session in stage.sessions:
        session.__class__ = Last
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    stage.advance(30)
    assert len(stage.ended) == 1
    assert not stage.clock.getDelayedCalls()


def test_a_quick_rate_is_kept() -> None:
    stage = Stage(1, rate="400/s")
    stage.crowd(2000)
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    while not stage.ended:
        stage.clock.advance(0.01)
    for _ in range(100):
        stage.clock.advance(0.01)
    assert 380 <= len(stage.ended) <= 400 * 1.25 + 1


def test_a_session_that_cannot_be_closed_does_not_end_the_loop() -> None:
    stage = Stage(1)
    stage.crowd(40)

    class Broken(FakeSession):
        def end(self, reason: EndReason) -> None:
            raise LookupError("broken")

    stage.sessions[-1].__class__ = Broken
    stage.scale_out(1)
    stage.rebalancer.start(stage.config)
    with capturedLogs() as logged:
        stage.advance(AFTER_FAILURE + 20)
    assert stage.active in ([20, 20], [21, 19])
    assert sum(event["log_level"].name == "critical" for event in logged) == 1


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    """Nothing is closed that is bound or busy, or that leaves a backend with less than its share, and it
    comes to an end."""
    weights = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    bound = data.draw(st.booleans())
    affinity = {"affinity": AffinityConfig(max_entries=data.draw(st.integers(1, 30)))} if bound else {}
    balance = data.draw(st.sampled_from(["round_robin", "least_connections", "random"]))
    stage = Stage(*weights, rate="50/s", balance=balance, **affinity)
    stage.crowd(data.draw(st.integers(0, 50)), data.draw(st.sampled_from([0.0, 0.5, 5.0])))
    ended: list[FakeSession] = []
    total = len(stage.sessions)

    class Watched(FakeSession):
        def end(self, reason: EndReason) -> None:
            backend = self.served_by
            serving = [b for b in stage.pool.backends if b.available]
            idle = sum(b.active for b in stage.pool.backends if not b.available)
            share = (total - idle) * backend.weight / sum(b.weight for b in serving)
            assert backend.available
            assert backend.active > ceil(share)
            assert self.idle >= IDLE_FOR
            assert not self._slot.is_bound
            ended.append(self)
            super().end(reason)

    def connect(number: int, delay: float = 0.1) -> FakeSession:
        session = Watched(stage, number, delay)
        stage.sessions.append(session)
        return session

    stage.connect = connect  # type: ignore[method-assign]
    for session in stage.sessions:
        session.__class__ = Watched
        session.busy = data.draw(st.booleans())
        session._quiet_since -= data.draw(st.sampled_from([0.0, 4.9, 5.0, 100.0]))
    stage.scale_out(*data.draw(st.lists(st.integers(1, 3), max_size=3)))
    if len(stage.pool.backends) > 1 and data.draw(st.booleans()):
        stage.pool.set_admin_state(stage.pool.backends[0], AdminState.DRAIN)
    stage.rebalancer.start(stage.config)
    stage.advance(60)
    before = len(ended)
    stage.advance(20)
    assert len(ended) == before or balance != "least_connections", "others take longer"
