"""What the admin side has answered at one time, and what has changed between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Described: TypeAlias = Mapping[str, Any]
"""A frontend, pool or backend as the admin side describes it."""


class Snapshot(NamedTuple):
    """What the admin side has answered.

    :ivar at: by the monotonic clock.
    """

    status: Mapping[str, Any]
    frontends: Sequence[Described]
    pools: Sequence[Described]
    at: float


class Rates:
    """How fast counters have grown since the snapshot before.

    :param before: None where there is none.
    """

    def __init__(self, now: Snapshot, before: Snapshot | None) -> None:
        self._seconds = now.at - before.at if before is not None else 0.0
        self._before: dict[tuple[str, ...], Mapping[str, int]] = {}
        if before is not None:
            for frontend in before.frontends:
                self._before["frontend", frontend["name"]] = frontend["counters"]
            for pool in before.pools:
                self._before["pool", pool["name"]] = with_backends(pool)
                for backend in pool["backends"]:
                    self._before["backend", pool["name"], backend["name"]] = backend["counters"]

    def before(self, key: tuple[str, ...]) -> Mapping[str, int] | None:
        """Give the counters as they were; None where that is not known."""
        return self._before.get(key)

    def of(self, key: tuple[str, ...], counters: Mapping[str, int], name: str) -> float | None:
        """Give how much a counter has grown a second; None where that is not known."""
        before = self._before.get(key)
        grown = counters.get(name, 0) - before.get(name, 0) if before is not None else -1
        return None if grown < 0 or self._seconds <= 0 else grown / self._seconds


def with_backends(pool: Described) -> dict[str, int]:
    """Add up the counters of a pool and its backends."""
    total: dict[str, int] = {}
    for counters in (pool["counters"], *(backend["counters"] for backend in pool["backends"])):
        for name, count in counters.items():
            total[name] = total.get(name, 0) + count
    return total
