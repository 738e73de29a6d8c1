"""Which backend of a pool a connection gets, which others follow, and which of them are worth waiting for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from math import inf

from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.connection_queue import BackendsWithCapacity
from tcpbalance.pool.cookie_affinity import CookieAffinity
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.members import Members
from tcpbalance.pool.reported_ejections import ReportedEjections
from tcpbalance.pool.shared_load import PoolLoad
from tcpbalance.pool.shares import Load, Surplus, surplus
from tcpbalance.pool.slow_start import SlowStart
from tcpbalance.pool.tier import Tier

_UNBOUNDED = (inf, 1)


class Selection:
    """Chooses among the backends of one pool, by what the pool has it go by at the time.

    :param clock: gives the time in seconds; it only goes forward.
    :param availability: of the backends.
    :param shared: what the pool has in common with those of its name in other processes; None where there are
        none.
    :ivar availability: see above.
    :ivar affinity: how clients are remembered; None for no affinity.
    :ivar ejections: readmits backends whose time is over; None where none is ejected.
    :ivar slow_start: holds back backends that have become available lately; None for none.
    :ivar bounded_load: how many times its fair share of the connections a backend may have before others are
        preferred; None for no such bound.
    :ivar may_wait: whether connections wait where all backends are full.
    :ivar backends: all of them.
    :ivar tiers: the primaries, then the backups.
    """

    def __init__(
        self, clock: Callable[[], float], availability: Availability, shared: PoolLoad | None
    ) -> None:
        self._clock = clock
        self.availability = availability
        self._shared = shared
        self.affinity: Affinity | CookieAffinity | None = None
        self.ejections: Ejections | ReportedEjections | None = None
        self.slow_start: SlowStart | None = None
        self.bounded_load: float | None = None
        self.may_wait = False
        self.backends: tuple[Backend, ...] = ()
        self.tiers: tuple[Tier, ...] = ()

    def adopt(self, members: Members) -> None:
        """Choose among other backends from now on."""
        self.backends, self.tiers = members.backends, members.tiers

    def choose(self, client: bytes | None) -> tuple[Backend | None, Generator[Backend, None, None] | None]:
        """Give the backend that `choices` would yield first, and the generator of the others where that was
        needed to find it.

        :param client: the client's packed address, None when it has none.
        :returns: None for a backend where none is free, and for a generator that `choices_after` would give.
        """
        if self.ejections is not None or self.availability.panic_is_news:
            self.note_time()
        affinity, tiers = self.affinity, self.tiers
        sticky = () if affinity is None or client is None else affinity.lookup(client)
        first = backend = None
        if sticky and tiers:
            belongs_to = sticky[0]
            if belongs_to.available_to_sticky and belongs_to in tiers[0].members:
                backend = belongs_to
        elif tiers and self.slow_start is None and self.bounded_load is None:
            first = tiers[0].first(client)
            if first is not None and first.available:
                backend = first
        if (
            backend is not None
            and (backend.max_connections is None or not backend.full)
            and (not backend.cooldown_until or not self._cools_down(backend))
        ):
            return backend, None
        choices = self.choices(client, first)
        return next(choices, None), choices

    def choices_after(self, client: bytes | None, backend: Backend) -> Generator[Backend, None, None]:
        """Yield what `choices` would after a backend that `choose` has given without it."""
        sticky = self.sticky_backends(client)
        return self.choices(client, None if backend in sticky else backend, tried=backend)

    def choices(  # noqa: C901 - one decision in one place
        self, client: bytes | None, first: Backend | None = None, tried: Backend | None = None
    ) -> Generator[Backend, None, None]:
        """Yield the backends that a connection may go to, best first, each at most once.

        First the primaries: those the client has a sticky entry for, then all as the policy orders them. Then
        the backups likewise, last those that cool down after a failed dial. Whether one can serve is decided
        when it is asked for.

        :param client: the client's packed address, None when it has none.
        :param first: what the policy of the primaries was asked for already, None where it was not.
        :param tried: not to be yielded again.
        """
        self.note_time()
        sticky = self.sticky_backends(client)
        slow_start = self.slow_start
        seen: set[Backend] = set() if tried is None else {tried}
        cooling_down: list[Backend] = []
        tiers = self.tiers  # Others may take their place, or none, before the next is asked for.
        for tier in tiers:
            # Sticky backends come before the policy's: also while drained, and with more than their share.
            for backend in sticky:
                if (
                    backend in tier.members
                    and backend.available_to_sticky
                    and not backend.full
                    and backend is not tried
                ):
                    seen.add(backend)
                    if self._cools_down(backend):
                        cooling_down.append(backend)
                    else:
                        yield backend
            if slow_start is not None:
                slow_start.count_connection(tier.backends)
            bounded = self.bounded_load is not None
            max_load, total_weight = self._load_bound(tier) if bounded else _UNBOUNDED
            deferred: list[Backend] = []
            for backend in tier.candidates(client, first if tier is tiers[0] else None):
                # A policy that has failed, and round robin after it, may name a backend twice.
                if backend in seen:
                    continue
                seen.add(backend)
                if not backend.available or backend.full:
                    continue
                if self._cools_down(backend):
                    cooling_down.append(backend)
                elif (bounded and is_above_share(backend, max_load, total_weight)) or (
                    slow_start is not None and slow_start.holds_back(backend)
                ):
                    deferred.append(backend)
                else:
                    yield backend
            # A backend above its share is better than one of the next tier.
            yield from filter(_has_capacity, deferred)
        yield from self._after_all_others(cooling_down, sticky)

    def _after_all_others(
        self, cooling_down: Sequence[Backend], sticky: Collection[Backend]
    ) -> Iterator[Backend]:
        """Yield the backends that were put aside because they cool down.

        Where all that do not are full, none: a client waits then rather than try one that has just failed.
        """
        others = self._not_cooling_down()
        if self.may_wait and others and all(backend.full for backend in others):
            return
        for backend in cooling_down:
            if _has_capacity_for_sticky(backend) if backend in sticky else _has_capacity(backend):
                yield backend

    def choose_ahead(self, choices: Iterator[Backend]) -> Backend | None:
        """Give the next of these choices for a client that has waited: backends are not full for it because
        others wait, here or in another process.

        :param choices: of `choices`; None of them may have been asked for yet.
        """
        shared = self._shared
        if shared is None:
            return next(choices, None)
        before, shared.serving = shared.serving, True
        try:
            return next(choices, None)
        finally:
            shared.serving = before

    def has_available(self) -> bool:
        """Whether any backend may have new connections, limits aside."""
        return any(backend.available for backend in self.backends)

    def is_full(self) -> bool:
        """Whether a backend is available, and all that are have as many connections as they may.

        Those that cool down do not count, unless all do.
        """
        judged = self._not_cooling_down() or [backend for backend in self.backends if backend.available]
        return bool(judged) and all(backend.full for backend in judged)

    def note_time(self) -> None:
        """Take note of what time alone has changed."""
        if self.ejections is not None:
            self.ejections.readmit_expired(self._clock())
        self.availability.report_panic()

    def sticky_backends(self, client: bytes | None) -> Sequence[Backend]:
        """Give the backends that affinity binds a client to, the best first."""
        return () if self.affinity is None or client is None else self.affinity.lookup(client)

    def _cools_down(self, backend: Backend) -> bool:
        return backend.cooldown_until > 0.0 and backend.cooldown_until > self._clock()

    def _not_cooling_down(self) -> list[Backend]:
        """Those that are available and do not cool down."""
        return [backend for backend in self.backends if backend.available and not self._cools_down(backend)]

    def _load_bound(self, tier: Tier) -> tuple[float, int]:
        """Give how many connections those which can serve may have together, and what they weigh.

        Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016 (arXiv 1608.01350):
        none has more than c times the mean, counting the connection to come, rounded up; here by weight.
        """
        assert self.bounded_load is not None
        open_to_all = [
            backend for backend in tier.backends if _has_capacity(backend) and not self._cools_down(backend)
        ]
        weight = sum(backend.weight for backend in open_to_all)
        active = sum(backend.load for backend in open_to_all)
        return self.bounded_load * (active + 1), weight

    def surplus(self, leaving: Mapping[Backend, int], away: int) -> Surplus:
        """Work out which backends have more than their share of the connections.

        Only those count that are eligible, and get new clients as the policy says: in a panic, none.

        :param leaving: connections of each backend that this process is closing, and are active nevertheless.
        :param away: clients that are expected to connect anew, those of *leaving* among them.
        """
        if self.availability.panics:
            return Surplus()
        tiers = [
            [self._load(b, leaving.get(b, 0)) for b in tier.backends if self._gets_new_clients(b)]
            for tier in self.tiers
        ]
        return surplus(tiers, away)

    def _gets_new_clients(self, backend: Backend) -> bool:
        return backend.available and not backend.ejected and not self._cools_down(backend)

    def _load(self, backend: Backend, leaving: int) -> Load:
        part = 1.0 if self.slow_start is None else self.slow_start.part(backend)
        return Load(backend, backend.load - leaving, part)

    # The queue

    def with_capacity(self) -> BackendsWithCapacity:
        """Give those that may serve a client that waits."""
        self.note_time()
        return frozenset(
            backend
            for backend in self.backends
            if _has_capacity_for_sticky(backend) and not self._is_passed_over(backend)
        )

    def _is_passed_over(self, backend: Backend) -> bool:
        """Whether a backend cools down after a failed dial, and another does not."""
        return self._cools_down(backend) and bool(self._not_cooling_down())

    def can_serve(self, with_capacity: BackendsWithCapacity, client: bytes | None) -> bool:
        """Whether one of these backends is for a client: a sticky one, while any of those is worth waiting
        for."""
        sticky = [
            backend
            for backend in self.sticky_backends(client)
            if backend.available_to_sticky and not self._is_passed_over(backend)
        ]
        if sticky:
            return not with_capacity.isdisjoint(sticky)
        return any(backend.available for backend in with_capacity)

    def has_backend_for(self, client: bytes | None) -> bool:
        """Whether some backend would serve a client if it had capacity: any that is available, or a sticky
        one."""
        return self.has_available() or any(b.available_to_sticky for b in self.sticky_backends(client))


def is_above_share(backend: Backend, max_load: float, total_weight: int) -> bool:
    """Whether a backend has its share of so many connections, by weight, or more."""
    return backend.load * total_weight >= max_load * backend.weight


def _has_capacity(backend: Backend) -> bool:
    return backend.available and not backend.full


def _has_capacity_for_sticky(backend: Backend) -> bool:
    return backend.available_to_sticky and not backend.full
