"""A configuration on its way from the supervisor to workers, in memory that they map."""

from __future__ import annotations

import copyreg
import mmap
import os
import pickle
from typing import Any

import attrs

from tcpbalance.config.cookies import AffinityCookieConfig, secret_of_process
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BY_COOKIE, HealthConfig, PoolConfig


def _without_probe(health: HealthConfig) -> tuple[Any, ...]:
    """Leave out what the supervisor alone checks with: each worker would import it, and all that it needs."""
    return _checked_elsewhere, ({**attrs.asdict(health, recurse=False), "probe": None},)


def _checked_elsewhere(settings: dict[str, Any]) -> HealthConfig:
    return HealthConfig(**settings)


def _with_secret(pool: PoolConfig) -> PoolConfig:
    affinity = pool.affinity
    if affinity is None or affinity.by != BY_COOKIE:
        return pool
    cookie = affinity.cookie or AffinityCookieConfig()
    cookie = attrs.evolve(cookie, secret=cookie.secret or secret_of_process())
    return attrs.evolve(pool, affinity=attrs.evolve(affinity, cookie=cookie))


def write_config(config: Config) -> int:
    """Put a configuration where a worker reads it.

    :returns: a descriptor of memory.
    """
    descriptor = os.memfd_create("tcpbalance configuration")
    # One worker has to know the cookies that another one has set.
    pools = {name: _with_secret(pool) for name, pool in config.pools.items()}
    # The supervisor alone gives socket files their mode and owner.
    frontends = {
        name: attrs.evolve(frontend, listen_mode=None, listen_user=None, listen_group=None)
        for name, frontend in config.frontends.items()
    }
    with os.fdopen(os.dup(descriptor), "wb") as file:
        pickler = pickle.Pickler(file)
        pickler.dispatch_table = {**copyreg.dispatch_table, HealthConfig: _without_probe}
        pickler.dump(attrs.evolve(config, frontends=frontends, pools=pools))
    return descriptor


def read_config(descriptor: int) -> Config:
    """Read what the supervisor has written; it is of the same program, which trusts itself."""
    # Not as a file, whose position other workers move.
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as memory:
        config: Config = pickle.loads(memory)  # noqa: S301 - see above
    return config
