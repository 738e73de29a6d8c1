"""What share of a pool's connections each backend should have, and which have more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import ceil, inf
from typing import NamedTuple

from attrs import field, frozen

from tcpbalance.pool.backend import Backend

ROUNDING = 1e-9
"""By which a share may be above a whole number because of the arithmetic."""


class Load(NamedTuple):
    """A backend that gets new clients, and the connections that it has.

    :ivar backend: with its weight and limit.
    :ivar active: how many connections.
    :ivar part: of its weight, by which it gets new clients at this time: 1, or less in slow start.
    """

    backend: Backend
    active: int
    part: float = 1.0


@frozen
class Surplus:
    """The connections that backends have beyond their share.

    :ivar by_backend: how many of each backend that has any.
    :ivar closable: how many of them the other backends can take without coming to have a surplus themselves.
    """

    by_backend: Mapping[Backend, int] = field(factory=dict)
    closable: int = 0


def surplus(tiers: Sequence[Sequence[Load]], away: int) -> Surplus:
    """Find the backends that have more than their share, rounded up.

    A share is by weight, and never above ``max_connections``: what goes beyond that is for the others. A tier
    has a share only of what those before it have no capacity for. In slow start, the part of its weight
    decides what a backend can take, and all of its weight what it may keep.

    :param tiers: the primaries, then the backups; backends that get no new clients are left out.
    :param away: connections that are to come besides those that there are.
    """
    loads = list(chain(*tiers))
    assert all(load.part > 0 for load in loads), "a backend that gets new clients takes some"
    total = away + sum(load.active for load in loads)
    to_keep = to_take = _shares(tiers, [[load.backend.weight for load in tier] for tier in tiers], total)
    if any(load.part < 1 for load in loads):
        weights = [[load.backend.weight * load.part for load in tier] for tier in tiers]
        to_take = _shares(tiers, weights, total)
    capacity = sum(max(0, share - load.active) for load, share in zip(loads, to_take, strict=True))
    excess = {
        load.backend: load.active - max(taken, kept)
        for load, taken, kept in zip(loads, to_take, to_keep, strict=True)
        if load.active > max(taken, kept)
    }
    return Surplus(excess, min(capacity, sum(excess.values())))


def _shares(
    tiers: Sequence[Sequence[Load]], weights: Sequence[Sequence[float]], total: float
) -> Sequence[int]:
    """Distribute connections by weight to the tiers, one after the other.

    :returns: the shares of all backends in their order, each rounded up.
    """
    shares: list[float] = []
    for tier, weighed in zip(tiers, weights, strict=True):
        limits = [inf if b.max_connections is None else b.max_connections for b, *_ in tier]
        of_tier = _distributed(total, weighed, limits)
        total = max(0.0, total - sum(of_tier))
        shares += of_tier
    return [ceil(share - ROUNDING) for share in shares]


def _distributed(total: float, weights: Sequence[float], limits: Sequence[float]) -> Sequence[float]:
    """Distribute connections by weight, to no backend more than its limit.

    :param weights: of the backends.
    :param limits: likewise.
    """
    left, weight = total, sum(weights)
    limited = [(limit / own, limit, own) for limit, own in zip(limits, weights, strict=True) if limit < inf]
    # A backend that reaches its limit leaves the others more. So the next to reach its own comes next.
    for level, limit, own in sorted(limited):
        if level * weight >= left:
            break
        left -= limit
        weight -= own
    if weight <= 0:
        return limits
    return [min(limit, left * own / weight) for limit, own in zip(limits, weights, strict=True)]
