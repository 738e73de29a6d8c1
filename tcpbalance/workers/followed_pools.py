"""The pools of a worker, which follow those of the supervisor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.pools import HealthConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.backend_status import BackendStatus
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity
from tcpbalance.pool.reported_ejections import ReportedEjections
from tcpbalance.services.following import AffinityKeeper, Monitor, OnDown, OnDrained
from tcpbalance.workers.backend_table import BackendTable
from tcpbalance.workers.failure_reports import FailureReports
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import Content
from tcpbalance.workers.sent_affinity import SentAffinities
from tcpbalance.workers.sent_bans import SentBans

_Part = tuple[list[str], tuple[bool, bool, bool, str, str, float], bool]


@define
class _Known:
    """What the supervisor has sent of one pool.

    :ivar statuses: of its backends, by their names and addresses.
    :ivar is_known: whether clients need not wait for its first checks.
    """

    statuses: dict[tuple[str, ...], BackendStatus] = field(factory=dict)
    is_known: bool = False


class _FollowedMonitor:
    """Stands for the checks of a pool that the supervisor makes; see ``Monitor``."""

    def __init__(self, pool: Pool, config: HealthConfig) -> None:
        self.pool = pool
        self.config = config
        self.first_round: Deferred[None] = Deferred()

    def startService(self) -> None:
        """The supervisor says when the first round is over."""

    def take_over(self) -> None:
        """Likewise."""

    def check_by(self, config: HealthConfig) -> None:
        """Know the settings by which the supervisor checks."""
        self.config = config

    def stopService(self) -> Deferred[None]:
        """There is nothing to be stopped."""
        return succeed(None)

    def give_up(self) -> Deferred[None]:
        """Have nothing wait any longer."""
        self.settle()
        return succeed(None)

    def settle(self) -> None:
        """Take note that the first round is over."""
        if not self.first_round.called:
            self.first_round.callback(None)


class _FollowedPool:
    """A pool that serves, and follows.

    :param pool: the pool.
    :param known: what has come of it.
    :param on_down: called with each backend that checks have taken down.
    :param on_drained: called with backends when the time of their sessions is over.
    """

    def __init__(self, pool: Pool, known: _Known, on_down: OnDown, on_drained: OnDrained) -> None:
        self._pool = pool
        self._known = known
        self._on_down = on_down
        self._on_drained = on_drained
        self._table = BackendTable(pool)
        self.unfollow = pool.subscribe(self._on_change)
        self.take([*known.statuses])

    def take(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Give backends the status that is known."""
        statuses: dict[Backend, BackendStatus] = {}
        for key in keys:
            backend = self._table.get(key)
            if backend is not None:
                statuses[backend] = self._known.statuses[key]
        for backend in self._pool.status.apply_statuses(statuses):
            self._on_down(backend)

    def expect_answers(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Have the next first byte of each backend reported, because connections of others have failed."""
        ejections = self._pool.ejections
        for key in keys:
            backend = self._table.get(key)
            if backend is not None and isinstance(ejections, ReportedEjections):
                ejections.expect_answer(backend)

    def end_sessions(self, keys: Iterable[tuple[str, ...]], has_drained: Callable[[Backend], bool]) -> None:
        """End the sessions of backends, those of which this is so."""
        found = [backend for key in keys if (backend := self._table.get(key)) is not None]
        self._on_drained(filter(has_drained, found))

    def _on_change(self, change: PoolChange) -> None:
        for backend in change.removed:
            self._known.statuses.pop(_key(backend), None)
        if change.added:
            self.take([key for b in change.added if (key := _key(b)) in self._known.statuses])


def _key(backend: Backend) -> tuple[str, ...]:
    return backend.name, str(backend.address)


class FollowedPools:
    """What a worker has in common with the others of pools and clients; a ``Following`` for its services, and
    shared state of a worker.

    :param reactor: IReactorTime.
    :param say: sends the supervisor a message.
    """

    words: Collection[str] = (
        "statuses",
        "drained",
        "failures_taken",
        *SentAffinities.words,
        *SentBans.words,
    )

    def __init__(self, reactor: Any, say: Callable[[Content], object]) -> None:
        self._say = say
        self._known: dict[str, _Known] = {}
        self._pools: dict[str, _FollowedPool] = {}
        self._monitors: dict[str, _FollowedMonitor] = {}
        self._failures = FailureReports(reactor, say)
        self._affinities = SentAffinities(reactor, say)
        self._bans = SentBans(reactor, say)
        self._follows_to_the_end = False

    def follow_to_the_end(self) -> None:
        """Give backends the status that the supervisor says while sessions go on, although the pools end."""
        self._follows_to_the_end = True

    # Following

    def begin(self, pool: Pool, on_down: OnDown, on_drained: OnDrained) -> None:
        """See ``Following``."""
        pool.follow(self._failures.of(pool))
        known = self._of(pool.name)
        self._pools[pool.name] = _FollowedPool(pool, known, on_down, on_drained)
        if known.is_known and pool.name in self._monitors:
            # The supervisor may have been quicker, where a reload brings the pool into use.
            self._monitors[pool.name].settle()

    def end(self, pool: Pool) -> None:
        """See ``Following``."""
        if pool.name in self._pools and not self._follows_to_the_end:
            self._pools.pop(pool.name).unfollow()
            self._known.pop(pool.name, None)
            self._monitors.pop(pool.name, None)

    def monitor(self, pool: Pool, config: HealthConfig) -> Monitor:
        """See ``Following``."""
        made = self._monitors[pool.name] = _FollowedMonitor(pool, config)
        if pool.name in self._pools and self._of(pool.name).is_known:
            made.settle()
        return made

    def journal(self, pool: Pool, table: RecordedAffinity) -> AffinityKeeper:
        """See ``Following``."""
        return self._affinities.journal(pool, table)

    def share_bans(self, frontend: str, control: AdmissionControl) -> None:
        """See ``Following``."""
        self._bans.share(frontend, control)

    def forget_bans(self, frontend: str, control: AdmissionControl) -> None:
        """See ``Following``."""
        self._bans.forget(frontend, control)

    # Messages

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"statuses": list(pools)}:
                try:
                    for pool, is_known, parts in pools:
                        self._take_statuses(pool, is_known, parts)
                finally:
                    # Or no other message would come, whatever goes wrong with this one.
                    self._say({"statuses_taken": True})
            case {"drained": list(drained)}:
                try:
                    self._end_sessions(drained)
                finally:
                    self._say({"statuses_taken": True})
            case {"failures_taken": _}:
                self._failures.taken()
            case _:
                self._affinities.note(message)
                self._bans.note(message)

    def _take_statuses(self, name: str, is_known: bool, parts: Iterable[_Part]) -> None:
        known = self._of(name)
        came = {tuple(key): _decode(*encoded) for key, encoded, _ in parts}
        known.statuses.update(came)
        known.is_known = is_known
        if name in self._pools:
            self._pools[name].take(came)
            self._pools[name].expect_answers(tuple(key) for key, _, has_failed in parts if has_failed)
        if is_known and name in self._monitors:
            self._monitors[name].settle()

    def _end_sessions(self, drained: Iterable[list[str]]) -> None:
        keys: dict[str, list[tuple[str, ...]]] = {}
        for pool, *key in drained:
            keys.setdefault(pool, []).append(tuple(key))
        for pool, its in keys.items():
            if pool in self._pools:
                self._pools[pool].end_sessions(its, self._has_drained)

    def _has_drained(self, backend: Backend) -> bool:
        # This process may have another backend of this name and address by now; one that drains has no other.
        return self._follows_to_the_end or backend.admin_state is not AdminState.READY

    def _of(self, name: str) -> _Known:
        return self._known.setdefault(name, _Known())


def _decode(
    up: bool, awaits_check: bool, ejected: bool, admin_state: str, cause: str, since: float
) -> BackendStatus:
    return BackendStatus(up, awaits_check, ejected, AdminState(admin_state), cause, since)
