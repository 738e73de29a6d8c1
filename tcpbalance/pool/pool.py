"""The backends behind one name: which of them a connection may go to, in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Self
from weakref import ref

from twisted.internet.interfaces import IReactorTime

from tcpbalance.config.cookies import AffinityCookieConfig
from tcpbalance.config.http import PoolHttpConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import BY_COOKIE, RESET_BEFORE_ANSWER, AffinityConfig, HealthConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import AdminState, Backend, BackendLike, BackendSettings
from tcpbalance.pool.changes import OnChange, PoolChange, Subscribers
from tcpbalance.pool.connection_queue import ConnectionQueue
from tcpbalance.pool.cookie_affinity import CookieAffinity
from tcpbalance.pool.cooldown import COOLDOWN, SHORT_COOLDOWN, CooldownLog
from tcpbalance.pool.description import PoolDescription, read_list
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.former_backends import FormerBackends
from tcpbalance.pool.members import Health, Members, MembersBuilder
from tcpbalance.pool.outlier import OutlierDetection
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.recorded_affinity import RecordedAffinity, adopted, make_affinity
from tcpbalance.pool.reported_ejections import OutlierReports, ReportedEjections
from tcpbalance.pool.retry_budget import RetryBudget
from tcpbalance.pool.selection import Selection
from tcpbalance.pool.shared_load import NoCapacityError, PoolLoad
from tcpbalance.pool.shortage import Shortage
from tcpbalance.pool.slot import Slot, SlotObservers
from tcpbalance.pool.slow_start import SlowStart
from tcpbalance.pool.status_changes import StatusChanges
from tcpbalance.pool.tier import PolicyFailureLog
from tcpbalance.pool.timed_slot import TimedSlot
from tcpbalance.stats import PoolStats, add_up
from tcpbalance.wire.proxy_protocol import ProxyVersion

__all__ = ["Pool", "Slot"]

if TYPE_CHECKING:
    from tcpbalance.net.tls.client import ClientTls  # handed through to what connects; see pyproject.toml

NOT_CHECKED = "not checked yet"
"""Why a backend is down before its first check has an outcome."""


class Pool:
    """Chooses among backends, and counts the connections to them.

    :param name: how the configuration and the log call it.
    :param backends: at least one, under different names: addresses, or `Backend` objects, which belong to
        this pool from now on.
    :param clock: gives the time in seconds; it only goes forward.
    :param rng: the source of randomness; None for a generator of the pool's own.
    :param timer: for what is logged later; without one it is logged with the next event of its kind, or by
        ``flush_logs``.
    :param balance: the name of a policy, or what makes one of backends and `PolicyTools`.
    :param bounded_load: how many times its fair share of the connections a backend may have before others are
        preferred, at least 1; None for no such bound.
    :param panic_threshold: when less than this fraction of the backends is available, health and ejection are
        ignored; 0: never.
    :param affinity: how clients are remembered; None for no affinity.
    :param connect_timeout: seconds that dialling a backend may take.
    :param dial_timeout: seconds that all attempts and pauses for one connection may take together, its time
        in the queue aside; None for 15, or for `connect_timeout` where that is longer.
    :param retries: how many further attempts are made after the first.
    :param retry_on: what another attempt is made for: ``"connect_failed"``, and ``"reset_before_answer"``
        where the protocol allows that a backend works on what another one has worked on.
    :param queue: how many connections may wait while each available backend has as many as it may; 0: none.
    :param queue_timeout: seconds that one may wait.
    :param slow_start: seconds in which the weight of a backend that has become available rises to all of it;
        None for at once. Not with the source hash, which has to know where each client belongs.
    :param drain_timeout: seconds that the connections of a backend may go on that gets no new ones any more;
        None for no limit. What holds the connections ends them.
    :param outlier: when backends are ejected for what real traffic shows; None for never.
    :param rebalance: when idle connections of backends that have more than their share are closed, so that
        their clients come to others; None for never. What holds the connections closes them. Not with the
        source hash and peak EWMA, which would send those clients to the same backends again.
    :param send_proxy_protocol: the version of the PROXY header with which a connection to a backend opens,
        ``"v1"`` or ``"v2"``; None for none.
    :param pass_tlvs: types of the TLVs that go on to backends from the PROXY header of the client's proxy:
        numbers, or names as in the file.
    :param tls: what TLS is spoken with to the backends; None for none.
    :param health: the checks that a `Balancer` makes of the backends: until the first has an outcome, a
        backend is down unless ``initial`` is ``"up"``. ``"external"`` where the application calls `mark_up`
        and `mark_down` by what it finds out itself; None where failed dials alone show.
    :param http: how HTTP is spoken with the backends, by frontends that do; None for the defaults.
    :ivar is_plain: whether a connection to any backend begins with nothing but a socket: no address has to
        be looked up, no TLS is spoken, and nothing is kept for another attempt after the first byte.
    :ivar first_deadline: seconds until a dial may have taken too long.
    :ivar replays: whether another backend is tried when one ends the connection before its first byte.
    :ivar affinity: remembers clients; None where none are.
    :ivar cookie_affinity: has clients keep in a cookie where they belong; None where they do not.
    :ivar rng: gives numbers from 0 up to 1.
    :ivar queue: the connections that wait; None where none may.
    :ivar retry_budget: bounds the retries that are under way at once.
    :ivar ejections: takes what connections show of backends; None where none is ejected.
    :ivar judges_connect_times: whether `Slot.took` is to be called with how long connecting took.
    :ivar times_responses: whether `Slot.request_unfinished` and `Slot.request_sent` are to be called.
    :ivar cooldowns: takes note of each that begins.
    :ivar shortage: takes note of dials and checks that fail for want of something on this machine.
    :ivar selection: chooses among the backends.
    :ivar status: changes the status of backends, and reports that.
    :ivar stats: counters of what has happened apart from the backends; see `snapshot`.
    :raises SettingError: for backends or values it cannot work with.
    """

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        name: str,
        backends: Iterable[BackendLike],
        *,
        clock: Callable[[], float] = monotonic,
        rng: Random | None = None,
        timer: IReactorTime | None = None,
        balance: str | PolicyFactory = "round_robin",
        bounded_load: float | None = None,
        panic_threshold: float = 0.0,
        affinity: AffinityConfig | None = None,
        connect_timeout: float = 3.0,
        dial_timeout: float | None = None,
        retries: int = 2,
        retry_on: Collection[str] = ("connect_failed",),
        queue: int = 0,
        queue_timeout: float = 10.0,
        slow_start: float | None = None,
        drain_timeout: float | None = None,
        outlier: OutlierConfig | None = None,
        rebalance: RebalanceConfig | None = None,
        send_proxy_protocol: ProxyVersion | None = None,
        pass_tlvs: Iterable[int | str] = (),
        tls: ClientTls | None = None,
        health: Health = None,
        http: PoolHttpConfig | None = None,
    ) -> None:
        description = PoolDescription(
            name=name,
            given=backends,
            balance=balance,
            bounded_load=bounded_load,
            panic_threshold=panic_threshold,
            affinity=affinity,
            connect_timeout=connect_timeout,
            dial_timeout=dial_timeout,
            retries=retries,
            retry_on=retry_on,
            queue=queue,
            queue_timeout=queue_timeout,
            slow_start=slow_start,
            drain_timeout=drain_timeout,
            outlier=outlier,
            rebalance=rebalance,
            send_proxy_protocol=send_proxy_protocol,
            pass_tlvs=pass_tlvs,
            tls=tls,
            health=health,
            http=http,
        )
        self._begin(description, clock, rng or Random(), timer)
        self.begin_to_report()

    @classmethod
    def of(
        cls,
        description: PoolDescription,
        *,
        clock: Callable[[], float] = monotonic,
        rng: Random | None = None,
        timer: IReactorTime | None = None,
        shared: PoolLoad | None = None,
    ) -> Self:
        """Make a pool of its description, whose backends belong to it from now on.

        It may be given up again before it is in use; so `begin_to_report` is to be called then.

        :param shared: what it has in common with the pools of its name in other processes; None where there
            are none.
        """
        pool = cls.__new__(cls)
        pool._begin(description, clock, rng or Random(), timer, shared)
        return pool

    def _begin(
        self,
        description: PoolDescription,
        clock: Callable[[], float],
        rng: Random,
        timer: IReactorTime | None,
        shared: PoolLoad | None = None,
    ) -> None:
        name = self.name = description.name
        self._shared = shared
        self.clock = clock
        self.rng = rng.random
        self._timer = timer
        self._tools = PolicyTools(clock, rng, 0.0 if shared is None else shared.first_turn)
        self.stats = PoolStats()
        self._former_backends = FormerBackends()
        self._members = Members()
        self._subscribers = Subscribers(name)
        self._availability = Availability(name, self._members)
        self.status = StatusChanges(self._members, self._availability, self._subscribers, clock)
        self.selection = Selection(clock, self._availability, shared)
        self.cooldowns = CooldownLog(name, clock, timer)
        self.subscribe(self.cooldowns.on_change)
        self.shortage = Shortage(name, clock, timer)
        self.retry_budget = RetryBudget(self._count_active, clock)
        self.affinity: Affinity | None = None
        self.cookie_affinity: CookieAffinity | None = None
        self._end_slow_start: Callable[[], None] = lambda: None
        self._before_take: Callable[[Backend], None] | None = None if shared is None else self._announce
        self.ejections: Ejections | ReportedEjections | None = None
        self._reports: OutlierReports | None = None
        self.queue: ConnectionQueue | None = None
        self._former_queue: Callable[[], ConnectionQueue | None] = lambda: None
        self._observers = SlotObservers(clock, 0.0, None, None, COOLDOWN, self.cooldowns, None)
        self._adopt_settings(description)
        self.subscribe(self._serve_queue_anew)
        self._builder = self._make_builder(description)
        self.replace(description.backends)
        if shared is not None:
            shared.follow(self._load_may_be_another)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends that it has now."""
        return self._members.backends

    def begin_to_report(self) -> None:
        """Log from now on, once, that no backend is available; calling it again does nothing."""
        self._availability.begin_to_report()

    def report_panic(self) -> None:
        """Log, where that is new, that a panic has begun or ended, as the next connection would."""
        self._availability.report_panic()

    def follow(self, reports: OutlierReports) -> None:
        """Leave it to another process to find out the status of backends, which `status` is given.

        What is known of clients is recorded from now on, for `RecordedAffinity.take_changes`.

        :param reports: takes what connections show of backends, where outlier detection is configured.
        """
        self._reports = reports
        if self.ejections is not None:
            self.ejections = self._make_ejections(self.ejections.config)
        self._record_affinity()
        self._use_parts()

    def _record_affinity(self) -> None:
        present = self.affinity
        if present is not None and not isinstance(present, RecordedAffinity):
            self.affinity = RecordedAffinity(present.config, self.clock, None, self.stats)
            self.affinity.take_over(present)

    @property
    def checked(self) -> bool:
        """Whether checks find out which backends are up, so that failed dials need not."""
        return self.health is not None

    def take(self, backend: Backend, client: bytes | None) -> Slot:
        """Count a connection to the backend, from dialling on.

        :param client: the client's packed address, None when it has none.
        :raises NoCapacityError: another process was quicker; the next one may be tried, as with a full one.
        """
        if self._before_take is not None:
            self._before_take(backend)
        return Slot(self._observers, backend, client)

    def take_for_request(self, backend: Backend, client: bytes | None) -> Slot:
        """Count a request to the backend, as ``take`` does a connection."""
        if self._before_take is not None:
            self._before_take(backend)
        return self._request_slot(self._observers, backend, client)

    def _announce(self, backend: Backend) -> None:
        """Count a connection to the backend in all processes, if there may be another one."""
        shared = backend.shared
        if shared is not None and not shared.add():
            raise NoCapacityError(f"backend {backend.name} has as many connections as it may")
        if self.selection.slow_start is not None:
            self.selection.slow_start.took(backend)

    def _released(self, backend: Backend) -> None:
        """A slot has been given back."""
        if backend.shared is not None:
            backend.shared.remove()
        elif self.queue is not None:
            self.queue.serve()

    def _load_may_be_another(self) -> None:
        # One that was removed here may be in use elsewhere: in a worker that drains, nothing comes back.
        self._count_with_others((*self.backends, *self._former_backends.draining()))
        if self.queue:
            self.queue.ask_again()  # Others may not know that clients wait here.

    def _count_with_others(self, backends: Iterable[Backend]) -> None:
        """Count the connections of backends together with other processes from now on, where they do."""
        if self._shared is not None:
            for backend in backends:
                backend.shared = self._shared.load_of(backend.name, str(backend.address), backend.active)

    @property
    def processes(self) -> int:
        """How many processes serve by the pool, as far as they count together."""
        return 1 if self._shared is None else self._shared.processes

    # The list of backends

    def replace(self, backends: Iterable[BackendLike]) -> None:
        """Give the pool another list of backends, at once; see `prepare`.

        :raises SettingError: the pool cannot work with them; nothing has changed.
        """
        self.prepare(backends)()

    def prepare(self, backends: Iterable[BackendLike]) -> Callable[[], None]:
        """Check another list of backends, and build what is derived from it; nothing changes yet.

        One that the pool has already, by name and address, stays the object that it is, with its counters,
        health, ejection and connections, and takes over the weight, limit, rank and server name of the one
        given. One that is left out gets no new connections; those that it has go on, and give back their
        slots. One that comes back while it has some is the object that it was.

        :param backends: under different names; none is allowed, too.
        :returns: puts them into use; cannot fail, and may be called whatever has changed meanwhile.
        :raises SettingError: the pool cannot work with them.
        """
        members, settings = self._builder.prepare(
            self._members, read_list(self.name, backends), self._former_backends.draining()
        )
        return lambda: self._commit(*self._builder.updated(self._members, members, settings))

    def prepare_as(self, description: PoolDescription) -> Callable[[], None]:
        """Check whether the pool can become what a description says; nothing changes.

        What is known of backends, clients and connections stays, as far as it is of use under the other
        settings. Dials that are under way go on by them.

        :param description: under the pool's name; its backends belong to this pool from now on.
        :returns: takes over its backends and settings; cannot fail, and may be called whatever has changed
            meanwhile.
        :raises SettingError: the policy cannot be made of the backends.
        """
        builder = self._make_builder(description)
        prepared = builder.prepare(self._members, description.backends, self._former_backends.draining())

        def commit() -> None:
            self._adopt_settings(description)
            members, settings = builder.updated(self._members, *prepared)
            same = self.backends == members.backends and all(b.settings == settings[b] for b in self.backends)
            # The tables of a policy stay as they are where nothing goes into them that has changed.
            if not (same and builder.makes_as(self._builder)):
                self._builder = builder
                self._commit(members, settings)

        return commit

    def _make_builder(self, description: PoolDescription) -> MembersBuilder:
        policy = f"{description.where}: policy {description.policy_name}"
        return MembersBuilder(
            self.name,
            description.policy,
            self._tools,
            PolicyFailureLog(policy, self.clock, self._timer),
            description.values.panic_threshold,
            0.0 if description.outlier is None else description.outlier.max_ejected,
            description.health,
        )

    def _adopt_settings(self, description: PoolDescription) -> None:
        values = description.values
        self.connect_timeout: float = values.connect_timeout
        self.dial_timeout: float = description.total_dial_timeout
        self.drain_timeout: float | None = values.drain_timeout
        self.rebalance = description.rebalance
        self.retries = description.retries
        self.replays = RESET_BEFORE_ANSWER in description.retry_on
        self.send_proxy_protocol = description.send_proxy_protocol
        self.pass_tlvs: frozenset[int] = frozenset(values.pass_tlvs)
        self.tls = description.tls
        self.health = description.health
        self.http = description.http or PoolHttpConfig()
        self.queue_timeout: float = values.queue_timeout
        self.selection.bounded_load = description.bounded_load
        outlier = description.outlier
        self.judges_connect_times = outlier is not None and outlier.slow_factor is not None
        self.times_responses: bool = getattr(description.policy, "times_responses", False)
        self._request_slot = TimedSlot if self.times_responses else Slot
        self._adopt_affinity(description.affinity)
        if self._reports is not None:
            self._record_affinity()
        self._adopt_slow_start(values.slow_start)
        self._adopt_queue(description.queue)
        self._adopt_ejections(outlier)
        if self.health is None:
            for backend in self.backends:
                backend.up, backend.awaits_check, backend.cause = True, False, ""
        self._note_settings()
        self._use_parts()
        observers = self._observers
        observers.connect_timeout = self.connect_timeout
        if self._shared is not None:
            observers.on_release = self._released
        else:
            observers.on_release = None if self.queue is None else self.queue.on_release
        observers.cooldown = SHORT_COOLDOWN if self.checked else COOLDOWN

    def _adopt_affinity(self, config: AffinityConfig | None) -> None:
        by_cookie = config is not None and config.by == BY_COOKIE
        other = None if config is None or by_cookie else make_affinity(config, self.clock, self.stats)
        self.affinity = adopted(self.affinity, other)
        self.cookie_affinity = None
        if config is not None and by_cookie:
            self.cookie_affinity = CookieAffinity(self.name, config.cookie or AffinityCookieConfig())
            self.cookie_affinity.adopt(self.backends)

    def _use_parts(self) -> None:
        """Have what chooses backends, and what takes note of connections, go by the present parts."""
        selection, observers = self.selection, self._observers
        observers.affinity = self.affinity
        selection.affinity = self.affinity if self.cookie_affinity is None else self.cookie_affinity
        selection.ejections = observers.ejections = self.ejections
        observers.queue = self.queue
        selection.may_wait = self.queue is not None

    def _note_settings(self) -> None:
        """Work out what each connection asks for."""
        self.is_plain = self._members.is_fixed and self.tls is None and not self.replays
        self.first_deadline = min(self.connect_timeout, self.dial_timeout)

    def _adopt_slow_start(self, duration: float | None) -> None:
        if self.selection.slow_start is not None and duration is not None:
            self.selection.slow_start.duration = duration
            return
        self._end_slow_start()
        self.selection.slow_start = None if duration is None else SlowStart(duration, self.clock)
        if self.selection.slow_start is not None:
            self._end_slow_start = self.subscribe(self.selection.slow_start.on_change)
        if self._shared is None:
            self._before_take = None if self.selection.slow_start is None else self.selection.slow_start.took

    def _adopt_queue(self, max_waiters: int) -> None:
        """Take over a queue's length; connections that wait in a queue that is given up wait on there, and it
        is the pool's again where that is to have one before they have left."""
        if self.queue is not None:
            self._former_queue = ref(self.queue)
        self.queue = self._former_queue() if max_waiters else None
        if self.queue is not None:
            self.queue.max_waiters = max_waiters
        elif max_waiters:
            selection = self.selection
            may_serve = (selection.with_capacity, selection.can_serve, selection.has_backend_for)
            self.queue = ConnectionQueue(max_waiters, self.clock, *may_serve, self.stats, shared=self._shared)
        if self._shared is not None and self.queue is not None:
            self._shared.wait_here(self.queue)
            self.queue.ask_again()

    def _adopt_ejections(self, config: OutlierConfig | None) -> None:
        if config is None:
            for backend in self.backends:
                backend.ejected = False
            self.ejections = None
        elif self.ejections is None:
            self.ejections = self._make_ejections(config)
        else:
            self.ejections.go_on_by(config, self.checked)

    def _commit(self, members: Members, settings: Mapping[Backend, BackendSettings]) -> None:
        before, after = set(self.backends), set(members.backends)
        were_available = {backend for backend in before if backend.available}
        added = tuple(backend for backend in members.backends if backend not in before)
        removed = tuple(backend for backend in self.backends if backend not in after)
        changed = tuple(b for b, new in settings.items() if b in before and b.settings != new)
        for backend in (*added, *changed):
            new = settings[backend]
            if new.configured_state is not backend.configured_state:
                backend.admin_state = new.configured_state
            backend.settings = new
        for backend in added:
            self._admit(backend)
        self._count_with_others((*added, *changed))
        for backend in removed:
            # A dial that is under way may still be offered it, and must not take it.
            backend.removed, backend.available, backend.available_to_sticky = True, False, False
        self._members = members
        self.selection.adopt(members)
        if self.cookie_affinity is not None:
            self.cookie_affinity.adopt(members.backends)
        self.status.adopt(members)
        self._note_settings()
        self._former_backends.add(removed)
        self._availability.adopt(members)
        if self.ejections is not None:
            self.ejections.adopt(members)
        self.forget_clients(set(removed))
        available = tuple(b for b in members.backends if b.available and b not in were_available)
        self._availability.report_none_left()
        self.status.note_available(available)
        self._subscribers.publish(PoolChange(added, removed, changed, available))

    def _admit(self, backend: Backend) -> None:
        """Begin with a backend: where there are checks, it serves when one has found it up."""
        backend.removed = False
        # Of one that comes back, nothing may stand that nothing would change any more.
        if self.health is None:
            backend.up, backend.awaits_check, backend.cause = True, False, ""
        if self.ejections is None:
            backend.ejected = False
        if isinstance(self.health, HealthConfig) and self.health.initial != "up":
            backend.up, backend.awaits_check, backend.cause = False, True, NOT_CHECKED

    def forget_clients(self, backends: Collection[Backend], then: Callable[[], None] = lambda: None) -> None:
        """Have the clients that have a sticky entry for one of these backends go to others from now on.

        With many clients this takes several turns of the pool's *timer*; without one, it is done at once.

        :param backends: quick to ask for one.
        :param then: called when all of them are forgotten.
        """
        if self.affinity is None or not backends:
            then()
        else:
            self._forget_some(self.affinity.forget(backends), then)

    def _forget_some(self, pieces: Iterator[None], then: Callable[[], None]) -> None:
        for _ in pieces:
            if self._timer is not None:
                self._timer.callLater(0, self._forget_some, pieces, then)
                return
        then()

    def subscribe(self, on_change: OnChange) -> Callable[[], None]:
        """Have a callable called with a `PoolChange` whenever backends are added, removed or changed.

        :returns: ends the subscription; further calls do nothing.
        """
        return self._subscribers.add(on_change)

    # The status of backends

    def mark_up(self, backend: Backend) -> bool:
        """Let the backend serve.

        :returns: whether it was down.
        """
        return self.status.mark_up(backend)

    def mark_down(self, backend: Backend, cause: str) -> bool:
        """Let the backend serve no new connections.

        :param cause: why, for the operator; the latest stands.
        :returns: whether it was up.
        """
        return self.status.mark_down(backend, cause)

    def set_admin_state(self, backend: Backend, admin_state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, as its operator wants; what is open stays."""
        self.status.set_admin_state(backend, admin_state)

    def passed_a_check(self, backend: Backend) -> None:
        """Take note that a health check has found nothing wrong with a backend."""
        if self.ejections is not None:
            self.ejections.passed_a_check(backend)

    def snapshot(self) -> dict[str, int]:
        """Give the counters by name: the sums over all backends that it has had, and its own; and what waits
        in the queue as ``queue_active``."""
        return add_up([self.own_snapshot(), *(backend.snapshot() for backend in self.backends)])

    def own_snapshot(self) -> dict[str, int]:
        """Give those without the backends of its list: what has happened to sessions that reached none, and
        to those of backends that it has had; and ``queue_active``."""
        counts = add_up([self.stats.snapshot(), self._former_backends.snapshot()])
        counts["queue_active"] = len(self.queue) if self.queue is not None else 0
        return counts

    def flush_logs(self) -> None:
        """Write what the log holds back now, as at the end of the service."""
        self._builder.failures.flush()
        self.shortage.flush_log()
        self.cooldowns.flush()

    def _make_ejections(self, config: OutlierConfig) -> Ejections | ReportedEjections:
        detection = OutlierDetection(config, self._members, self.clock)
        if self._reports is not None:
            return ReportedEjections(detection, self._reports)
        return Ejections(self.name, detection, self._availability, self.checked, self.status.changed)

    # The queue

    def _serve_queue_anew(self, _: PoolChange) -> None:
        if self.queue:
            self.queue.serve_anew()
            if not self.selection.has_available():
                self.queue.no_backend_left()

    def _count_active(self) -> int:
        return sum(backend.active for backend in self.backends)
