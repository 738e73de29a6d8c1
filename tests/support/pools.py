"""Pools and backends from defaults, which a test spoils in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from twisted.internet.task import Clock

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.pool import Pool


class AsWritten:
    """The backends as they were written, for tests in which the order is not the point."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self.backends = backends

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        return iter(self.backends)


def some_backends(*weights: int) -> list[Backend]:
    """One backend a weight, called a, b, c and so on."""
    return [
        Backend(f"10.1.{number // 256}.{number % 256}:80", name=name_of(number), weight=weight)
        for number, weight in enumerate(weights, start=1)
    ]


def name_of(number: int) -> str:
    """a for 1, b for 2; after z comes n27."""
    return chr(ord("a") + number - 1) if number <= 26 else f"n{number}"


def names(backends: Sequence[Backend]) -> str:
    """The names in one word."""
    return "".join(backend.name for backend in backends)


def choices(pool: Pool, client: bytes | None = None) -> str:
    """The names of a pool's choices for a client, in one word."""
    return names(list(pool.choices(client)))


def some_tools(clock: Clock | None = None, seed: int = 1) -> PolicyTools:
    """A clock that stands still and chance that repeats."""
    return PolicyTools((clock or Clock()).seconds, Random(seed))


def a_pool(backends: Sequence[Backend], clock: Clock | None = None, seed: int = 1, **settings: Any) -> Pool:
    """A pool that takes round robin where *settings* say nothing else."""
    return Pool(
        "web",
        backends,
        clock=(clock or Clock()).seconds,
        rng=Random(seed),
        **{"balance": "round_robin", **settings},
    )
