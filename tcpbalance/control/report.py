"""What one process knows of its own sessions, as JSON takes it, so that those of several can be added up.

A process may have thousands of backends, so all work on reports comes in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from operator import add
from sys import intern
from typing import Any, Self, TypeAlias

import attrs
from attrs import frozen

from tcpbalance.control.open_bytes import add_open, by_backend, of_backend
from tcpbalance.net import descriptors
from tcpbalance.overload.gauges import open_descriptors, resident_memory
from tcpbalance.overload.loop_lag import LoopLag
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.registry import SessionRegistry

Counters: TypeAlias = dict[str, int]
"""By their names; see ``stats``."""

CountersKey: TypeAlias = tuple[str, ...]
"""What counters are about: one of these words, and its names."""

PROCESS = "process"
"""What a process takes; its name is its id."""

LOOP_LAG = "loop_lag"
"""The name of the durations of a process; see ``LoopLag``. As a key with the number of a worker: those of its
processes that have ended."""

FRONTEND, POOL, BACKEND = "frontend", "pool", "backend"
"""A pool has the counters of its queue alone. A backend has the name of its pool, its own and its address:
one of the same name at another address is another backend."""

Entry: TypeAlias = tuple[CountersKey, Counters]

Report: TypeAlias = dict[CountersKey, Counters]

STATE_NOW = frozenset({"connections_active", "requests_active", "queue_active"})
"""Counters that are the state now, which ends with the process."""

OF_STATUS = ("ejections", "up_transitions", "down_transitions")
"""Counters of changes of the status of backends, which follows that of the supervisor in each worker."""


@frozen
class Scope:
    """Which part of the state is asked for.

    :param frontends: the names of some; None for all.
    :param pools: likewise.
    :param backend: the name of the only backend of these pools; None for all.
    :param processes: whether what each process takes is asked for.
    :param counters: whether counters are asked for, which other processes may have.
    """

    frontends: Collection[str] | None = None
    pools: Collection[str] | None = None
    backend: str | None = None
    processes: bool = True
    counters: bool = True

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Make it of what `content` has given."""
        return cls(**content)

    @property
    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return attrs.asdict(self)

    @property
    def has_many(self) -> bool:
        """Whether more than a frontend or a backend is asked for, and what processes take."""
        if self.backend is not None:
            return False
        return self.pools is None or len(self.pools) > 0 or self.frontends is None or len(self.frontends) > 1

    def has(self, key: CountersKey) -> bool:
        """Whether these counters are asked for."""
        kind, name, *more = key
        if kind in (PROCESS, LOOP_LAG):
            return self.processes
        if kind == FRONTEND:
            return self.has_frontend(name)
        return self.has_pool(name) and (self.backend is None or self.backend in more[:1])

    def has_frontend(self, name: str) -> bool:
        """Whether a frontend is asked for."""
        return self.frontends is None or name in self.frontends

    def has_pool(self, name: str) -> bool:
        """Whether a pool is asked for."""
        return self.pools is None or name in self.pools

    def backends_of(self, pool: Pool) -> Iterable[Backend]:
        """Give the backends of a pool that are asked for."""
        if self.backend is None:
            return pool.backends
        return [backend for backend in pool.backends if backend.name == self.backend]


EVERYTHING = Scope()


def report_of(
    scope: Scope,
    factories: Mapping[str, FrontendFactory],
    pools: Iterable[Pool],
    registries: Sequence[SessionRegistry],
) -> Generator[None, None, list[Entry]]:
    """Make the report of this process, in pieces; what it takes aside.

    :param scope: what it has.
    :param factories: of the frontends, by name.
    :param pools: that they use.
    :param registries: of the open sessions, those of frontends that are gone among them.
    """
    entries: list[Entry] = []
    for name, factory in list(factories.items()):
        if scope.has_frontend(name):
            stats = factory.stats
            counters = stats.snapshot()
            # A reload may have left sessions of the frontend to an earlier registry.
            open_now = [each.carrier for it in registries if it.stats is stats for each in it.sessions]
            yield from add_open(counters, open_now)
            entries.append(((FRONTEND, name), counters))
            yield
    wanted = [pool for pool in pools if scope.has_pool(pool.name)]
    backends = {backend for pool in wanted for backend in scope.backends_of(pool)}
    sessions_of = (yield from by_backend(registries, backends)) if backends else {}
    for pool in wanted:
        if scope.backend is None:
            entries.append(((POOL, pool.name), pool.own_snapshot()))
        for backend in scope.backends_of(pool):
            counters = backend.snapshot()
            yield from add_open(counters, of_backend(backend, sessions_of))
            entries.append((backend_key(pool, backend), counters))
            yield
    return entries


def add_status(report: Report, scope: Scope, pools: Iterable[Pool]) -> Generator[None, None, None]:
    """Add how often the status of backends has changed: what a supervisor knows, whose pools have no
    connections.

    :param report: of what its workers have counted.
    """
    for pool in [pool for pool in pools if scope.has_pool(pool.name)]:
        for backend in scope.backends_of(pool):
            key, stats = backend_key(pool, backend), backend.stats
            report[key] = {**report.get(key, {}), **{name: getattr(stats, name) for name in OF_STATUS}}
            yield


def backend_key(pool: Pool, backend: Backend) -> CountersKey:
    """Give the key of the counters of a backend."""
    return BACKEND, pool.name, backend.name, str(backend.address)


def process_entry(lag: LoopLag) -> Entry:
    """Say what this process takes.

    :param lag: how late its loop is.
    """
    pid = os.getpid()
    takes = {
        "pid": pid,
        "memory": resident_memory(),
        "descriptors": open_descriptors(),
        "max_descriptors": descriptors.limit(),
        "worst_loop_lag_us": round(lag.worst * 1e6),
        **lag.times.snapshot(LOOP_LAG),
    }
    return (PROCESS, str(pid)), takes


def report_items(entries: Iterable[Entry]) -> Iterator[object]:
    """Write a report in items that JSON makes little of: the names of counters once for all entries that
    follow and have the same."""
    names: list[str] | None = None
    for key, counters in entries:
        its = list(counters)
        if its != names:
            names = its
            yield {"names": names}
        yield [key, list(counters.values())]


def entries_of(items: Iterable[Any]) -> list[Entry]:
    """Read what `report_items` has written."""
    names: list[str] = []
    entries: list[Entry] = []
    for item in items:
        match item:
            case {"names": its}:
                # So those of several processes are the same objects, by which they are compared and found.
                names = list(map(intern, its))
            case [key, counts]:
                entries.append((tuple(key), dict(zip(names, counts, strict=False))))
    return entries


def sum_of(parts: Iterable[Iterable[Entry]]) -> Generator[None, None, Report]:
    """Add up what several processes have counted, in pieces."""
    total: Report = {}
    for part in parts:
        for key, counters in part:
            before = total.get(key)
            total[key] = counters if before is None else _sum(before, counters)
            yield
    return total


def _sum(one: Counters, other: Counters) -> Counters:
    # As nearly always; in half the time of the other way.
    if list(one) == list(other):
        return dict(zip(one, map(add, one.values(), other.values()), strict=False))
    total = dict(one)
    for name, count in other.items():
        total[name] = total.get(name, 0) + count
    return total


def past_of(report: Report) -> list[Entry]:
    """Give what stays of a report, the process aside, when that has ended."""
    return [
        (key, {name: count for name, count in counters.items() if name not in STATE_NOW})
        for key, counters in report.items()
    ]


def loop_lag_of(takes: Counters) -> Counters:
    """Give the durations of what a process takes."""
    return {name: count for name, count in takes.items() if name.startswith(LOOP_LAG)}
