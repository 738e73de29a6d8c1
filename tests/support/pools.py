"""Pools and backends from defaults, which a test spoils in one place."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock

from tcpbalance.pool.backend import Backend, BackendLike
from tcpbalance.pool.description import PoolDescription
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
    return names(list(pool.selection.choices(client)))


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


def described(backends: Iterable[BackendLike], name: str = "web", **settings: Any) -> PoolDescription:
    """A description of a pool that is as `Pool` makes one where *settings* say nothing else."""
    of_a_pool = inspect.signature(Pool).parameters
    names = {key.name for key in attrs.fields(PoolDescription) if key.init}
    defaults = {key: of_a_pool[key].default for key in names.intersection(of_a_pool)}
    return PoolDescription(**{**defaults, **settings, "name": name, "given": backends})


def facts(pool: Pool) -> dict[str, Any]:
    """Give all that a configuration decides of a pool."""
    names = (
        "connect_timeout",
        "dial_timeout",
        "drain_timeout",
        "retries",
        "replays",
        "send_proxy_protocol",
        "health",
        "rebalance",
        "is_plain",
        "first_deadline",
    )
    parts = {
        "affinity": None if pool.affinity is None else pool.affinity.config,
        "ejections": None if pool.ejections is None else pool.ejections.config,
        "slow_start": None if pool.selection.slow_start is None else pool.selection.slow_start.duration,
        "queue": None if pool.queue is None else pool.queue.max_waiters,
        "panic_below": pool._members.panic_below,
        "max_ejected": pool._members.max_ejected,
        "policies": [type(tier._policy) for tier in pool._members.tiers],
        "tiers": [[backend.name for backend in tier.backends] for tier in pool._members.tiers],
        "backends": [(backend.key, backend.settings, backend.admin_state) for backend in pool.backends],
        "up": [(backend.up, backend.available) for backend in pool.backends],
        "cooldown": pool._observers.cooldown,
        "judges_connect_times": pool.judges_connect_times,
    }
    return {name: getattr(pool, name) for name in names} | parts
