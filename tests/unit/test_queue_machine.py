"""A pool with a queue under sessions that come, wait, leave, are served, fail and end in any order, while its
backends change."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from support.pools import a_pool
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Slot

anyone = st.integers(0, 10**6)
CLIENTS = (None, *(bytes((192, 0, 2, host)) for host in range(4)))


def is_drained(backend: Backend) -> bool:
    """Whether only those who are at home there may come."""
    return backend.up and backend.admin_state is AdminState.DRAIN


class Session:
    """What wants a slot, and takes the first that the pool offers."""

    def __init__(self, machine: QueueMachine, client: bytes | None) -> None:
        self.machine = machine
        self.client = client
        self.slot: Slot | None = None
        self.turned_away = False

    def look(self) -> None:
        """Take a slot, or wait, or be turned away."""
        pool = self.machine.pool
        backend = next(pool.selection.choices(self.client), None)
        if backend is not None:
            self.slot = pool.take(backend, self.client)
            self.slot.connected(0.001)
        else:
            self.turned_away = not (
                pool.selection.is_full() and pool.queue is not None and pool.queue.join(self)
            )

    def its_turn(self) -> None:
        self.look()
        assert self.slot is not None, "there was said to be room"

    def displaced(self) -> None:
        self.turned_away = True

    def look_soon(self) -> None:
        self.machine.told.append(self)


class QueueMachine(RuleBasedStateMachine):
    """No slot is lost or given twice, no backend has more than it may, nobody waits who could be served, and
    everybody is in one state at a time."""

    @initialize(
        limits=st.lists(st.integers(1, 3), min_size=1, max_size=4),
        most=st.integers(1, 6),
        affine=st.booleans(),
        checked=st.booleans(),
        ejects=st.booleans(),
    )
    def build(self, limits: list[int], most: int, affine: bool, checked: bool, ejects: bool) -> None:
        self.clock = Clock()
        self.sessions: list[Session] = []
        self.gone: list[Slot] = []
        self.told: list[Session] = []
        self.most = most
        self.limits: dict[Backend, int] = {}
        self.pool = a_pool(
            self.backends(dict(enumerate(limits))),
            self.clock,
            queue=most,
            health="external" if checked else None,
            affinity=AffinityConfig(ttl=60.0, max_entries=100) if affine else None,
            outlier=OutlierConfig(consecutive_failures=2) if ejects else None,
        )

        self.note_limits()

    def backends(self, limits: dict[int, int]) -> list[Backend]:
        return [Backend(f"192.0.2.{n}:80", max_connections=limit) for n, limit in limits.items()]

    def note_limits(self) -> None:
        """Remember the highest limit that each backend has had: what is open when it is lowered stays."""
        for backend in self.pool.backends:
            assert backend.max_connections is not None
            self.limits[backend] = max(self.limits.get(backend, 0), backend.max_connections)

    @rule(limits=st.dictionaries(st.integers(0, 5), st.integers(1, 3), max_size=4))
    def gets_others(self, limits: dict[int, int]) -> None:
        self.pool.replace(self.backends(limits))
        self.note_limits()

    def one(self, which: int) -> Backend | None:
        """One of the backends there are now."""
        backends = self.pool.backends
        return backends[which % len(backends)] if backends else None

    def some(self, which: int, **state: Any) -> Session | None:
        """One of the sessions that hold a slot, or do not."""
        found = [session for session in self.sessions if (session.slot is not None) == state["served"]]
        return found[which % len(found)] if found else None

    @rule(client=st.sampled_from(CLIENTS))
    def comes(self, client: bytes | None) -> None:
        session = Session(self, client)
        self.sessions.append(session)
        session.look()
        # Those of the same client may be at home elsewhere now; they find out within a second.
        assert self.pool.queue is not None
        self.pool.queue.serve_anew()

    @rule(which=anyone)
    def leaves_the_queue(self, which: int) -> None:
        session = self.some(which, served=False)
        if session is not None and self.pool.queue is not None:
            self.pool.queue.leave(session)
            session.turned_away = True

    @rule(which=anyone, fails=st.booleans())
    def ends(self, which: int, fails: bool) -> None:
        session = self.some(which, served=True)
        if session is None or session.slot is None:
            return
        slot, session.slot = session.slot, None
        session.turned_away = True
        if fails:
            slot.failed(0.001, "reset")
        else:
            slot.answered()
        slot.release()
        self.gone.append(slot)

    @rule(which=anyone)
    def is_released_again(self, which: int) -> None:
        if self.gone:
            self.gone[which % len(self.gone)].release()

    @rule(which=anyone, up=st.booleans())
    def flips(self, which: int, up: bool) -> None:
        backend = self.one(which)
        if backend is None:
            return
        if up:
            self.pool.mark_up(backend)
        else:
            self.pool.mark_down(backend, "refused")

    @rule(which=anyone)
    def passes_a_check(self, which: int) -> None:
        backend = self.one(which)
        if backend is not None:
            self.pool.passed_a_check(backend)

    @rule(which=anyone, admin_state=st.sampled_from(AdminState))
    def is_ordered(self, which: int, admin_state: AdminState) -> None:
        backend = self.one(which)
        if backend is not None:
            self.pool.set_admin_state(backend, admin_state)

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        assert self.pool.queue is not None
        self.pool.queue.look()  # as those who wait do once a second

    @invariant()
    def nobody_waits_where_the_last_backend_has_gone(self) -> None:
        queue = self.pool.queue
        assert queue is not None
        for session in self.told:
            if session in queue and queue.has_no_backend_for(session):
                queue.leave(session)
                session.turned_away = True
        self.told.clear()
        at_home = [s for s in self.sessions if s in queue and self.pool.selection.sticky_backends(s.client)]
        assert self.pool.selection.has_available() or len(queue) <= len(at_home)

    @invariant()
    def slots_are_counted(self) -> None:
        for backend, limit in self.limits.items():
            held = sum(s.slot is not None and s.slot.backend is backend for s in self.sessions)
            assert backend.active == held <= limit

    @invariant()
    def everybody_is_served_or_waits_or_is_gone(self) -> None:
        queue = self.pool.queue
        assert queue is not None
        self.sessions = [session for session in self.sessions if not session.turned_away]
        waiting = [session for session in self.sessions if session.slot is None]
        assert all(session in queue for session in waiting)
        assert len(queue) == len(waiting) <= self.most

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        for session in self.sessions:
            if session.slot is None and next(self.pool.selection.choices(session.client), None) is not None:
                # There is room, but not at home, where a client waits for its own.
                homes = (
                    self.pool.affinity.lookup(session.client) if self.pool.affinity and session.client else ()
                )
                assert any(home.full and (home.available or is_drained(home)) for home in homes)

    @invariant()
    def somebody_stays(self) -> None:
        up = [b for b in self.pool.backends if b.up and b.admin_state is AdminState.READY]
        assert not up or any(backend.available for backend in up)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=50)
