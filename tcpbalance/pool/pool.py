"""The backends behind one name: which of them a connection may go to, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from math import inf
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Literal, get_args

from twisted.internet.interfaces import IReactorTime

from tcpbalance import bounds
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import (
    CONNECT_FAILED,
    RESET_BEFORE_ANSWER,
    SOURCE_HASH,
    AffinityConfig,
    HealthConfig,
    RetryOn,
)
from tcpbalance.errors import SettingError
from tcpbalance.pool import extensions
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.connection_queue import BackendsWithCapacity, ConnectionQueue
from tcpbalance.pool.cooldown import CooldownLog
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.outlier import OutlierDetection
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.retry_budget import RetryBudget
from tcpbalance.pool.shortage import Shortage
from tcpbalance.pool.slot import Slot
from tcpbalance.pool.slow_start import SlowStart
from tcpbalance.pool.tier import Tier
from tcpbalance.wire.proxy_protocol import ProxyVersion

if TYPE_CHECKING:
    from tcpbalance.net.tls.client import ClientTls  # handed through to what connects; see pyproject.toml

__all__ = ["Pool", "Slot"]

_UNBOUNDED = (inf, 1)

DIAL_TIMEOUT = 15.0
"""Seconds; enough for three attempts that take the default ``connect_timeout`` each, with their pauses."""


class Pool:
    """Chooses among backends, and keeps count of the connections to them.

    :param name: how the configuration and the log call it.
    :param backends: at least one, under different names; they belong to this pool from now on.
    :param clock: the clock; it only goes forward.
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
    :param slow_start: seconds in which the weight of a backend that has come rises to all of it; None for at
        once. Not with the source hash, which has to know where each client belongs.
    :param outlier: when backends are ejected for what real traffic shows; None for never.
    :param send_proxy_protocol: the version of the PROXY header with which a connection to a backend opens,
        ``"v1"`` or ``"v2"``; None for none.
    :param pass_tlvs: types of the TLVs that go on to backends from the PROXY header of the client's proxy.
    :param tls: what TLS is spoken with to the backends; None for none.
    :param health: the checks that a `Balancer` makes of the backends; ``"external"`` where the application
        calls `mark_up` and `mark_down` by what it finds out itself; None where failed dials alone tell.
    :ivar replays: whether a backend that breaks off before its first byte is followed by another.
    :ivar rng: gives numbers from 0 up to 1.
    :ivar queue: who waits; None where nobody may.
    :ivar retry_budget: bounds the retries that are under way at once.
    :ivar ejections: told how connections go; None where nobody is ejected.
    :ivar judges_connect_times: whether `Slot.took` is to be told how long connecting took.
    :ivar cooldowns: told of each that begins.
    :ivar shortage: told of dials and checks that fail for want of something on this machine.
    :raises SettingError: for backends or values it cannot work with.
    """

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        name: str,
        backends: Sequence[Backend],
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
        outlier: OutlierConfig | None = None,
        send_proxy_protocol: ProxyVersion | None = None,
        pass_tlvs: Collection[int] = (),
        tls: ClientTls | None = None,
        health: HealthConfig | Literal["external"] | None = None,
    ) -> None:
        rng = rng or Random()
        self.name = name
        self.backends = tuple(backends)
        self.clock = clock
        self.affinity = None if affinity is None else Affinity(affinity, clock)
        bounds.above_zero(f"pool {name}: connect_timeout", connect_timeout)
        self.connect_timeout = connect_timeout
        self.dial_timeout = max(DIAL_TIMEOUT, connect_timeout) if dial_timeout is None else dial_timeout
        self.retries = retries
        self.replays = RESET_BEFORE_ANSWER in retry_on
        self.send_proxy_protocol = send_proxy_protocol
        self.pass_tlvs = pass_tlvs
        self.tls = tls
        self.health = health
        self.queue_timeout = queue_timeout
        self._bounded_load = bounded_load
        self._refuse_nonsense(panic_threshold, queue, retry_on)
        self._refuse_other_health()
        self._refuse_what_has_no_effect(balance)
        self._tiers = self._make_tiers(balance, PolicyTools(clock, rng), timer)
        self.rng = rng.random
        self._availability = Availability(name, self.backends, panic_threshold)
        self.cooldowns = CooldownLog(name, clock, timer)
        self.shortage = Shortage(name, clock, timer)
        self.retry_budget = RetryBudget(self.backends, clock)
        self.queue = (
            ConnectionQueue(queue, clock, self._find_room, self._is_for, self._may_serve) if queue else None
        )
        self._slow_start = self._make_slow_start(slow_start, balance)
        self.ejections = None if outlier is None else self._make_ejections(outlier)
        self.judges_connect_times = outlier is not None and outlier.slow_factor is not None

    @property
    def checked(self) -> bool:
        """Whether checks find out which backends are up, so that failed dials need not."""
        return self.health is not None

    def choices(self, client: bytes | None) -> Generator[Backend, None, None]:
        """Yield the backends that a connection may go to, best first, each at most once.

        First the primaries: those the client belongs to, then all as the policy orders them. Then the backups
        likewise, last those that rest after a failed dial. Whether one can serve is decided when it is asked
        for.

        :param client: the client's packed address, None when it has none.
        """
        self._look_around()
        seen: set[Backend] = set()
        cooling_down: list[Backend] = []
        homes = self._homes(client)
        for tier in self._tiers:
            for backend in homes:
                if backend in tier.members and self._serves(backend, seen, cooling_down, self._fits_its_own):
                    yield backend
            self._count_for_slow_start(tier)
            most, weight = _UNBOUNDED if self._bounded_load is None else self._bound(tier)
            spared: list[Backend] = []
            for backend in tier.candidates(client):
                if not self._serves(backend, seen, cooling_down, _fit):
                    continue
                if backend.active * weight >= most * backend.weight or self._is_held_back(backend):
                    spared.append(backend)
                else:
                    yield backend
            yield from filter(_fit, spared)
        yield from self._that_rest(cooling_down, homes)

    def _that_rest(self, cooling_down: Sequence[Backend], homes: Collection[Backend]) -> Iterator[Backend]:
        """Yield those that were put aside because they rest.

        Where all that do not are full, none: a client waits then rather than try one that has just failed.
        """
        awake = self._not_cooling_down()
        if self.queue is not None and awake and all(backend.full for backend in awake):
            return
        for backend in cooling_down:
            if self._fits_its_own(backend) if backend in homes else _fit(backend):
                yield backend

    def take(self, backend: Backend, client: bytes | None) -> Slot:
        """Count a connection to the backend, from dialling on.

        :param client: the client's packed address, None when it has none.
        """
        if self._slow_start is not None:
            self._slow_start.took(backend)
        return Slot(self, backend, client)

    def mark_up(self, backend: Backend) -> bool:
        """Let the backend serve.

        :returns: whether it was down.
        """
        flipped = not backend.up
        backend.up = True
        backend.awaits_check = False
        backend.cause = ""
        if flipped:
            self._changed(backend)
        return flipped

    def mark_down(self, backend: Backend, cause: str) -> bool:
        """Let the backend serve no new connections.

        :param cause: why, for the operator; the latest stands.
        :returns: whether it was up.
        """
        flipped = backend.up
        backend.up = False
        backend.awaits_check = False
        backend.cause = cause
        if flipped:
            self._changed(backend)
        else:
            self._availability.tell_whether_any()
        return flipped

    def await_check(self, backend: Backend, cause: str) -> None:
        """Let the backend serve no new connections before a health check has had an outcome.

        :param cause: why it is down, for the operator.
        """
        backend.awaits_check = True
        backend.cause = cause
        if backend.up:
            backend.up = False
            self._changed(backend)

    def passed_a_check(self, backend: Backend) -> None:
        """Take note that a health check has found nothing wrong with a backend."""
        if self.ejections is not None:
            self.ejections.passed_a_check(backend)

    def order(self, backend: Backend, admin_state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, as its operator wants; what is open stays."""
        if admin_state is not backend.admin_state:
            backend.admin_state = admin_state
            self._changed(backend)

    def has_available(self) -> bool:
        """Whether anybody may have new connections, limits aside."""
        return any(backend.available for backend in self.backends)

    def flush_logs(self) -> None:
        """Write what the log holds back now, as at the end of the service."""
        for tier in self._tiers:
            tier.flush_log()
        self.shortage.flush_log()
        self.cooldowns.flush()

    # The queue

    def is_full(self) -> bool:
        """Whether somebody is available, and all who are have as many connections as they may.

        Those that rest do not count, unless all do.
        """
        judged = self._not_cooling_down() or [backend for backend in self.backends if backend.available]
        return bool(judged) and all(backend.full for backend in judged)

    def serve_queue(self) -> None:
        """Let those in the queue have their turn for whom there is room."""
        if self.queue:
            self.queue.serve()

    def _find_room(self) -> BackendsWithCapacity:
        self._look_around()
        return frozenset(filter(self._has_room, self.backends))

    def _has_room(self, backend: Backend) -> bool:
        return self._fits_its_own(backend) and not self._gives_way(backend)

    def _gives_way(self, backend: Backend) -> bool:
        """Whether a backend rests after a failed dial, and another does not."""
        return self._cools_down(backend) and bool(self._not_cooling_down())

    def _not_cooling_down(self) -> list[Backend]:
        """Those that are available and do not rest."""
        return [backend for backend in self.backends if backend.available and not self._cools_down(backend)]

    def _is_for(self, room: BackendsWithCapacity, client: bytes | None) -> bool:
        """Whether one who waits can be served: at home, unless no home of its own is available and awake."""
        homes = [
            home
            for home in self._homes(client)
            if self._availability.takes_its_own(home) and not self._gives_way(home)
        ]
        if homes:
            return not room.isdisjoint(homes)
        return any(backend.available for backend in room)

    def _may_serve(self, client: bytes | None) -> bool:
        """Whether some backend would serve a client if it had room: any that is available, or its home."""
        return self.has_available() or any(map(self._availability.takes_its_own, self._homes(client)))

    # Who can serve

    def _look_around(self) -> None:
        """Take note of what time alone has changed."""
        if self.ejections is not None:
            self.ejections.readmit(self.clock())
        self._availability.tell()

    def _changed(self, backend: Backend) -> None:
        """One of the facts has changed that decide whether a backend is available."""
        was_available = backend.available
        self._availability.update()
        self._availability.tell_whether_any()
        if self._slow_start is not None and backend.available and not was_available:
            self._slow_start.begin(backend)
        if self.queue:
            self.queue.serve_anew()
            if not self.has_available():
                self.queue.no_backend_left()

    def _homes(self, client: bytes | None) -> Sequence[Backend]:
        return () if self.affinity is None or client is None else self.affinity.lookup(client)

    def _serves(
        self,
        backend: Backend,
        seen: set[Backend],
        cooling_down: list[Backend],
        fit: Callable[[Backend], bool],
    ) -> bool:
        """Whether it is this candidate's turn; one that rests is put aside instead."""
        if backend in seen:
            return False
        seen.add(backend)
        if not fit(backend):
            return False
        if self._cools_down(backend):
            cooling_down.append(backend)
            return False
        return True

    def _fits_its_own(self, backend: Backend) -> bool:
        """Whether a backend has room for a client that belongs to it."""
        return self._availability.takes_its_own(backend) and not backend.full

    def _count_for_slow_start(self, tier: Tier) -> None:
        if self._slow_start is not None and self._slow_start.under_way:
            self._slow_start.another(list(filter(_fit, tier.backends)))

    def _is_held_back(self, backend: Backend) -> bool:
        return self._slow_start is not None and self._slow_start.holds_back(backend)

    def _cools_down(self, backend: Backend) -> bool:
        return backend.cooldown_until > 0.0 and backend.cooldown_until > self.clock()

    def _bound(self, tier: Tier) -> tuple[float, int]:
        """Tell how many connections those which can serve may have together, and what they weigh.

        Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016 (arXiv 1608.01350):
        none has more than c times the mean, counting the connection to come, rounded up; here by weight.
        """
        assert self._bounded_load is not None
        open_to_all = [
            backend for backend in tier.backends if _fit(backend) and not self._cools_down(backend)
        ]
        weight = sum(backend.weight for backend in open_to_all)
        active = sum(backend.active for backend in open_to_all)
        return self._bounded_load * (active + 1), weight

    def _make_slow_start(self, duration: float | None, balance: str | PolicyFactory) -> SlowStart | None:
        if duration is None:
            return None
        if balance in (SOURCE_HASH, SourceHash):
            raise SettingError(
                f"pool {self.name}: slow_start has no effect with source_hash, leave out one of them"
            )
        bounds.above_zero(f"pool {self.name}: slow_start", duration)
        made = SlowStart(duration, self.clock)
        for backend in self.backends:
            made.begin(backend)
        return made

    def _make_ejections(self, config: OutlierConfig) -> Ejections:
        detection = OutlierDetection(config, self.backends, self.clock)
        return Ejections(self.name, detection, self._availability, self.checked, self._changed)

    def _make_tiers(
        self, balance: str | PolicyFactory, tools: PolicyTools, timer: IReactorTime | None
    ) -> tuple[Tier, ...]:
        factory = extensions.policy(balance) if isinstance(balance, str) else balance
        known_as = balance if isinstance(balance, str) else getattr(balance, "__qualname__", repr(balance))
        where = f"pool {self.name}: policy {known_as}"
        ranks = ([b for b in self.backends if not b.backup], [b for b in self.backends if b.backup])
        try:
            return tuple(Tier(where, factory, rank, tools, timer) for rank in ranks if rank)
        except Exception as error:
            raise SettingError(f"{where} cannot be made: {error!r}") from error

    def _refuse_nonsense(self, panic_threshold: float, queue: int, retry_on: Collection[str]) -> None:
        bounds.above_zero(f"pool {self.name}: dial_timeout", self.dial_timeout)
        if self.dial_timeout < self.connect_timeout:
            raise SettingError(
                f"pool {self.name}: dial_timeout must be at least connect_timeout, {self.connect_timeout:g}, "
                f"got {self.dial_timeout:g}"
            )
        bounds.count(f"pool {self.name}: retries", self.retries, 0)
        unknown = [word for word in retry_on if word not in get_args(RetryOn)]
        if isinstance(retry_on, str) or unknown or CONNECT_FAILED not in retry_on:
            raise SettingError(
                f"pool {self.name}: retry_on must be a collection of {CONNECT_FAILED!r} and, where wanted, "
                f"{RESET_BEFORE_ANSWER!r}, got {retry_on!r}"
            )
        bounds.count(f"pool {self.name}: queue", queue, 0)
        bounds.above_zero(f"pool {self.name}: queue_timeout", self.queue_timeout)
        if self.send_proxy_protocol not in (None, *get_args(ProxyVersion)):
            wrong = repr(self.send_proxy_protocol)
            raise SettingError(f"pool {self.name}: send_proxy_protocol must be v1, v2 or None, got {wrong}")
        if not self.backends:
            raise SettingError(f"pool {self.name}: must have at least one backend")
        name, count = Counter(backend.name for backend in self.backends).most_common(1)[0]
        if count > 1:
            raise SettingError(
                f"pool {self.name}: backends must have different names, got {name} {count} times"
            )
        if self._bounded_load is not None and not self._bounded_load >= 1.0:
            raise SettingError(f"pool {self.name}: bounded_load must be at least 1, got {self._bounded_load}")
        if not 0.0 <= panic_threshold <= 1.0:
            raise SettingError(f"pool {self.name}: panic_threshold must be 0 to 1, got {panic_threshold}")

    def _refuse_other_health(self) -> None:
        if isinstance(self.health, HealthConfig):
            for backend in self.backends:
                self.health.checked_address(backend.address)
        elif self.health not in ("external", None):
            raise SettingError(
                f"pool {self.name}: health must be a HealthConfig, 'external' or None, got {self.health!r}"
            )

    def _refuse_what_has_no_effect(self, balance: str | PolicyFactory) -> None:
        # A policy of the application's own may need a bound.
        if self._bounded_load is not None and isinstance(balance, str) and balance != SOURCE_HASH:
            raise SettingError(
                f"pool {self.name}: bounded_load has no effect with {balance}, only with {SOURCE_HASH}"
            )
        if self.pass_tlvs and self.send_proxy_protocol != "v2":
            raise SettingError(f"pool {self.name}: pass_tlvs has no effect without send_proxy_protocol='v2'")


def _fit(backend: Backend) -> bool:
    return backend.available and not backend.full
