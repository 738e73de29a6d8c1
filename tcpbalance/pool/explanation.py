"""Which backends of a pool a connection would get that came now, and why: nothing changes by asking."""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

from attrs import frozen

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.selection import Selection, is_above_share
from tcpbalance.pool.tier import Tier


class Why(enum.Enum):
    """Why a backend has its place among those that would be tried, or has none.

    :ivar word: the name in answers.
    :ivar meaning: for people.
    """

    STICKY = "sticky", "the client has affinity to it"
    FALLBACK = "fallback", "it serves the client while its sticky backend cannot"
    POLICY = "policy", "as the policy orders them"
    ABOVE_SHARE = "above_share", "it has its share of the connections, see bounded_load: after the others"
    SLOW_START = "slow_start", "it has become available lately, see slow_start: after the others"
    COOLING_DOWN = "cooling_down", "connecting to it has just failed: after all others that are not full"
    LEFT_OUT = "left_out", "the policy leaves it out"
    FULL = "full", "it has as many connections as it may"
    MAINTENANCE = "maintenance", "an operator has put it into maintenance"
    DRAINING = "draining", "an operator drains it"
    DOWN = "down", "it is down"
    EJECTED = "ejected", "outlier detection has ejected it"

    def __init__(self, word: str, meaning: str) -> None:
        self.word = word
        self.meaning = meaning


_BY_STATE = {why.word: why for why in (Why.MAINTENANCE, Why.DRAINING, Why.DOWN, Why.EJECTED)}


@frozen
class ExplainedChoice:
    """What a pool would do with a connection.

    :ivar candidates: the backends in the order in which they would be tried.
    :ivar skipped: those that would not be tried.
    :ivar exact: whether the order is that of the next connection, if all stays as it is; else a draw decides
        among those that the policy orders.
    :ivar by: what the policy goes by.
    """

    candidates: Sequence[tuple[Backend, Why]]
    skipped: Sequence[tuple[Backend, Why]]
    exact: bool
    by: str


@contextmanager
def asked(pool: Pool) -> Iterator[tuple[Pool, AskedSelection]]:
    """Give what decides as a pool does for its next connection, for the time of the block, within one turn.

    :returns: a pool whose selection changes nothing as it chooses; and that selection.
    """
    ejections, status, now = pool.ejections, pool.selection.availability, pool.clock()
    expired = () if ejections is None else ejections.expired(now)
    with status.as_if_readmitted(expired, now) as available:
        selection = AskedSelection(pool.selection, available)
        other = copy(pool)
        other.selection = selection
        yield other, selection


class AskedSelection(Selection):
    """Chooses as another one would, from copies of all that choosing changes.

    :param selection: the other one.
    :param available: backends that become available by the connection that is asked about.
    """

    def __init__(self, selection: Selection, available: Sequence[Backend]) -> None:
        vars(self).update(vars(selection))
        self.tiers = tuple(map(_AskedTier, selection.tiers))
        self.slow_start = None if selection.slow_start is None else selection.slow_start.copy(available)

    def note_time(self) -> None:
        """See ``Selection``: here, ``asked`` has taken account of it."""

    def explain(self, client: bytes | None) -> ExplainedChoice:
        """Explain what would be done with a connection of a client.

        :param client: its packed address, None when it has none.
        """
        candidates = list(self.choices(client))
        sticky, tried = self.sticky_backends(client), set(candidates)
        skipped = [backend for backend in self.backends if backend not in tried]
        previews = [tier.preview(client) for tier in self.tiers]
        above_share = self._above_share()
        return ExplainedChoice(
            [(backend, self._why_tried(backend, sticky, above_share)) for backend in candidates],
            [(backend, self._why_skipped(backend, sticky)) for backend in skipped],
            all(preview.exact for preview in previews),
            previews[0].by if previews else "",
        )

    def _above_share(self) -> set[Backend]:
        if self.bounded_load is None:
            return set()
        bounds = [(tier, *self._load_bound(tier)) for tier in self.tiers]
        return {b for tier, load, weight in bounds for b in tier.backends if is_above_share(b, load, weight)}

    def _why_tried(self, backend: Backend, sticky: Sequence[Backend], above_share: set[Backend]) -> Why:
        if self._cools_down(backend):
            return Why.COOLING_DOWN
        if backend in sticky:
            return Why.STICKY if backend is sticky[0] else Why.FALLBACK
        if backend in above_share:
            return Why.ABOVE_SHARE
        if self.slow_start is not None and self.slow_start.holds_back(backend):
            return Why.SLOW_START
        return Why.POLICY

    def _why_skipped(self, backend: Backend, sticky: Sequence[Backend]) -> Why:
        may_serve = backend.available or (backend in sticky and backend.available_to_sticky)
        if not may_serve:
            return _BY_STATE[backend.state]
        if backend.full:
            return Why.FULL
        return Why.COOLING_DOWN if self._cools_down(backend) else Why.LEFT_OUT


class _AskedTier(Tier):
    """A tier whose policy says what it would yield, and does not yield it."""

    def __init__(self, tier: Tier) -> None:
        vars(self).update(vars(tier))
        self._known: OrderPreview | None = None

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``Tier``; all questions are about one client."""
        if self._known is None:
            self._known = super().preview(client)
        return self._known

    def candidates(
        self, client: bytes | None, first: Backend | None = None
    ) -> Generator[Backend, None, None]:
        """See ``Tier``."""
        yield from self.preview(client).backends
