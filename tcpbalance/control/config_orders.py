"""Changes that operators make to a configuration since its file was read: pure functions.

They take what the file may have, and refuse what it may not have, in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs

from tcpbalance.config.addresses import Network
from tcpbalance.config.converter import strict_converter
from tcpbalance.config.log import LevelName
from tcpbalance.config.messages import guess, value_text
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.errors import SettingError

ChangeConfig = Callable[[Config], Config]
"""Gives another configuration; raises SettingError where that would make no sense."""

Order = Callable[[], AbstractContextManager[None]]
"""Holds in the turn in which a change is committed, see ``Events.ordered_by``."""


def read_backend(content: Mapping[str, Any], folder: Path) -> BackendConfig:
    """Read an element of ``backends`` of a pool, as the file has it.

    :param content: None stands for a key that is absent, which a file has no value for.
    :param folder: what relative paths are relative to.
    :raises Mistakes: with all that is wrong with it.
    """
    table = {key: value for key, value in content.items() if value is not None}
    backend: BackendConfig = strict_converter(folder).structure(table, BackendConfig)
    return backend


def with_backend(pool: str, backend: BackendConfig) -> ChangeConfig:
    """Add a backend to a pool, as the last one."""
    return lambda config: _with_backends(config, pool, lambda present: (*present, backend))


def without_backend(pool: str, name: str) -> ChangeConfig:
    """Remove a backend from a pool."""
    return lambda config: _with_backends(
        config,
        pool,
        lambda present: tuple(its for its in present if its is not _named(present, name)),
    )


def with_weight(pool: str, name: str, weight: int) -> ChangeConfig:
    """Give a backend another weight."""

    def changed(present: tuple[BackendConfig, ...]) -> tuple[BackendConfig, ...]:
        found = _named(present, name)
        return tuple(attrs.evolve(its, weight=weight) if its is found else its for its in present)

    return lambda config: _with_backends(config, pool, changed)


def with_log_level(level: LevelName) -> ChangeConfig:
    """Log lines of this level and of those behind it."""
    return lambda config: attrs.evolve(config, log=attrs.evolve(config.log, level=level))


def with_debug_clients(networks: tuple[Network, ...]) -> ChangeConfig:
    """Have the connections of other clients logged step by step."""
    return lambda config: attrs.evolve(config, debug_clients=networks)


def _with_backends(
    config: Config,
    name: str,
    change: Callable[[tuple[BackendConfig, ...]], tuple[BackendConfig, ...]],
) -> Config:
    pool: PoolConfig | None = config.pools.get(name)
    if pool is None:
        raise SettingError(
            f"no pool is named {value_text(name)}, {guess(name, [*config.pools], 'the pools are')}"
        )
    changed = attrs.evolve(pool, backends=change(pool.backends))
    return attrs.evolve(config, pools={**config.pools, name: changed})


def _named(backends: tuple[BackendConfig, ...], name: str) -> BackendConfig:
    for backend in backends:
        if backend.name == name:
            return backend
    names = [backend.name for backend in backends]
    raise SettingError(f"no backend is named {value_text(name)}, {guess(name, names, 'the backends are')}")
