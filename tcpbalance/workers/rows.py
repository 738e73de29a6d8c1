"""What workers count together, and which row each has: the same for as long as it is in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tcpbalance.config.models import Config
from tcpbalance.config.pools import PoolConfig
from tcpbalance.errors import TcpbalanceError

Key = tuple[str, ...]
"""The name of something that is counted: of which kind it is, and its names in the configuration."""

MAX_ROWS = 32_768
"""Things that can be counted: 256 KiB a process, of which the system gives what is used."""

_BLIND = ("round_robin", "random", "source_hash")
"""Policies that do not ask how many connections a backend has."""


class NoRowsError(TcpbalanceError):
    """More is to be counted than can be."""


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


def counted(config: Config) -> dict[Key, int | None]:
    """Give all that is counted by a configuration, each with how many there may be; None for any number.

    Backends without a limit are counted only where something asks for their load.
    """
    wanted: dict[Key, int | None] = {}
    for name, pool in config.pools.items():
        load_is_read = _reads_load(pool)
        for backend in pool.backends:
            if load_is_read or backend.max_connections is not None:
                address = str(backend.address)
                wanted[backend_key(name, backend.name or address, address)] = backend.max_connections
        if pool.queue:
            wanted[queue_key(name)] = wanted[able_key(name)] = None
    for name, frontend in config.frontends.items():
        limits = frontend.limits
        if limits is not None and limits.connections is not None:
            wanted[frontend_key(name)] = None if limits.dry_run else limits.connections
            wanted[paused_key(name)] = None
    return wanted


def _reads_load(pool: PoolConfig) -> bool:
    return pool.balance not in _BLIND or pool.bounded_load is not None or pool.rebalance is not None


class Rows:
    """The row of each thing that is counted.

    :param size: how many rows there are.
    :param is_clear: whether no process has any of what is counted in a row.
    """

    def __init__(self, size: int, is_clear: Callable[[int], bool]) -> None:
        self._is_clear = is_clear
        self._free = list(reversed(range(size)))
        self._rows: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}

    @property
    def known(self) -> Mapping[Key, int]:
        """The rows of all that is counted, and of what was added for a change that is not made yet."""
        return self._rows

    def add(self, keys: Collection[Key]) -> dict[Key, int]:
        """Give rows to what has none yet. What was counted before, and is counted still, has the one it had.

        :returns: those rows.
        :raises NoRowsError: there are too few; nothing has changed then.
        """
        new = [key for key in keys if key not in self._rows]
        fresh = [key for key in new if key not in self._gone]
        self._reclaim(len(fresh))
        if len(fresh) > len(self._free):
            raise NoRowsError(
                f"{len(keys)} backends, queues and frontends have a limit or a load that all workers count "
                f"together, {len(self._rows) + len(self._free)} can be counted: have fewer, or workers = 1"
            )
        added = {key: self._gone.pop(key) if key in self._gone else self._free.pop() for key in new}
        self._rows.update(added)
        return added

    def keep(self, keys: Collection[Key]) -> dict[Key, int]:
        """Count no more what is not among these; their rows are free once no process has any.

        :returns: what is counted no more.
        """
        gone = {key: row for key, row in self._rows.items() if key not in keys}
        for key in gone:
            del self._rows[key]
        self._gone.update(gone)
        return gone

    def _reclaim(self, count: int) -> None:
        """Free rows of what is gone, at least so many where there are."""
        for key, row in list(self._gone.items()):
            if len(self._free) >= count:
                return
            if self._is_clear(row):
                del self._gone[key]
                self._free.append(row)
