"""What several workers count together: whatever has a limit that is that of all, or a load that is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import PoolConfig

Key = tuple[str, ...]
"""The name of something that is counted: of which kind it is, and its names in the configuration."""

MAX_COUNTED = 32_768
"""Things that may be counted: 256 KiB a process, of which the system gives what is used."""

_BLIND = ("round_robin", "random", "source_hash")
"""Policies that do not ask how many connections a backend has."""


def backend_key(pool: str, name: str, address: str) -> Key:
    """Give the name of the connections to a backend."""
    return "backend", pool, name, address


def queue_key(pool: str) -> Key:
    """Give the name of the clients that wait in the queue of a pool."""
    return "queue", pool


def able_key(pool: str) -> Key:
    """Give the name of those of them that may be able to use what is free."""
    return "able", pool


def frontend_key(name: str) -> Key:
    """Give the name of the sessions of a frontend."""
    return "frontend", name


def paused_key(name: str) -> Key:
    """Give the name of the workers in which the clients of a frontend wait for the end of a session."""
    return "paused", name


def requests_key(name: str) -> Key:
    """Give the name of the requests of a frontend."""
    return "requests", name


def counted(
    frontends: Mapping[str, FrontendConfig], pools: Mapping[str, PoolConfig]
) -> dict[Key, int | None]:
    """Give all that is counted by a configuration, each with how many there may be; None for any number.

    Backends without a limit are counted only where something asks for their load.
    """
    wanted: dict[Key, int | None] = {}
    for name, pool in pools.items():
        load_is_read = _reads_load(pool)
        for backend in pool.backends:
            if load_is_read or backend.max_connections is not None:
                address = str(backend.address)
                wanted[backend_key(name, backend.name or address, address)] = backend.max_connections
        if pool.queue:
            wanted[queue_key(name)] = wanted[able_key(name)] = None
    for name, frontend in frontends.items():
        if frontend.limits is not None:
            wanted.update(_counted_at(name, frontend.limits))
    return wanted


def _counted_at(frontend: str, limits: LimitsConfig) -> Iterator[tuple[Key, int | None]]:
    if limits.connections is not None:
        yield frontend_key(frontend), None if limits.dry_run else limits.connections
        yield paused_key(frontend), None
    if limits.max_requests is not None:
        yield requests_key(frontend), None if limits.dry_run else limits.max_requests


def _reads_load(pool: PoolConfig) -> bool:
    return pool.balance not in _BLIND or pool.bounded_load is not None or pool.rebalance is not None
