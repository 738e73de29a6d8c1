"""What one process knows of its own sessions, as JSON takes it, so that those of several can be added up."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Mapping
from typing import Any, TypeAlias

from tcpbalance.net import descriptors
from tcpbalance.overload.gauges import open_descriptors, resident_memory
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.stats import add_up

Counters: TypeAlias = dict[str, int]
"""By their names; see ``stats``."""

Report: TypeAlias = dict[str, Any]
"""``processes``: what each takes; ``frontends``: counters by name; ``pools``: by name, the counters of the
pool without its backends, and those of its backends by their keys."""

STATE_NOW = frozenset({"connections_active", "queue_active"})
"""Counters that are the state now, which ends with the process."""

OF_STATUS = frozenset({"ejections", "up_transitions", "down_transitions"})
"""Counters of changes of the status of backends, which follows that of the supervisor in each worker."""

NO_REPORT: Report = {"processes": [], "frontends": {}, "pools": {}}
"""The report of no process."""


def report_of(
    factories: Mapping[str, FrontendFactory], pools: Iterable[Pool]
) -> Generator[None, None, Report]:
    """Make the report of this process, in pieces.

    :param factories: of the frontends, by name.
    :param pools: that they use.
    """
    frontends: dict[str, Counters] = {}
    for name, factory in list(factories.items()):
        frontends[name] = factory.stats.snapshot()
        yield
    by_pool: dict[str, Any] = {}
    for pool in list(pools):
        backends: dict[str, Counters] = {}
        for backend in pool.backends:
            backends[backend_key(backend.name, str(backend.address))] = backend.snapshot()
            yield
        by_pool[pool.name] = {"counters": pool.own_snapshot(), "backends": backends}
    return {"processes": [_process()], "frontends": frontends, "pools": by_pool}


def backend_key(name: str, address: str) -> str:
    """Give the key of a backend in reports: one of the same name at another address is another backend."""
    return f"{name}\n{address}"


def _process() -> dict[str, int]:
    return {
        "pid": os.getpid(),
        "memory": resident_memory(),
        "descriptors": open_descriptors(),
        "max_descriptors": descriptors.limit(),
    }


def sum_of(reports: Iterable[Report]) -> Report:
    """Add up what several processes have counted."""
    processes: list[dict[str, int]] = []
    frontends: dict[str, list[Counters]] = {}
    pools: dict[str, list[Counters]] = {}
    backends: dict[str, dict[str, list[Counters]]] = {}
    for report in reports:
        processes += report["processes"]
        for name, counters in report["frontends"].items():
            frontends.setdefault(name, []).append(counters)
        for name, pool in report["pools"].items():
            pools.setdefault(name, []).append(pool["counters"])
            of_pool = backends.setdefault(name, {})
            for key, counters in pool["backends"].items():
                of_pool.setdefault(key, []).append(counters)
    return {
        "processes": processes,
        "frontends": _added(frontends),
        "pools": {
            name: {"counters": add_up(parts), "backends": _added(backends[name])}
            for name, parts in pools.items()
        },
    }


def _added(parts: Mapping[str, Iterable[Counters]]) -> dict[str, Counters]:
    return {name: add_up(counters) for name, counters in parts.items()}


def past_of(report: Report) -> Report:
    """Give what stays of a report when its process has ended."""
    return {**without(report, STATE_NOW), "processes": []}


def without(report: Report, names: Collection[str]) -> Report:
    """Give a report without some counters."""

    def others(counters: Counters) -> Counters:
        return {name: count for name, count in counters.items() if name not in names}

    return {
        **report,
        "frontends": {name: others(counters) for name, counters in report["frontends"].items()},
        "pools": {
            name: {
                "counters": others(pool["counters"]),
                "backends": {key: others(counters) for key, counters in pool["backends"].items()},
            }
            for name, pool in report["pools"].items()
        },
    }
