"""What there is and how it is now, as the API shows it: the configuration, the status of backends, and what
all processes have counted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, TypeAlias

from tcpbalance.config.frontends import pools_of
from tcpbalance.config.models import Config
from tcpbalance.control.report import (
    FRONTEND,
    LOOP_LAG,
    POOL,
    PROCESS,
    Counters,
    Report,
    Scope,
    backend_key,
    loop_lag_of,
)
from tcpbalance.control.timestamps import timestamp
from tcpbalance.health.history import CheckResult
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

View: TypeAlias = dict[str, Any]
"""``frontends`` and ``pools``, in the order of the configuration, ``processes``, ``ended_processes`` of
each worker, and ``workers``, as far as they are asked for."""

ShowBackend = Callable[[Pool, Backend], dict[str, Any]]
"""Gives a backend of a pool as the API shows it, its counters aside."""


ENDED_BY = ("signal", "exit", "timeout", "error")
"""By what a worker may have ended that was not asked to: a signal that the supervisor has not sent; its own
exit; the supervisor, because it did not answer or was not ready in time; an error that kept it from
serving."""


def shown_workers(serving: int, ended: Mapping[str, int] = {}) -> dict[str, Any]:
    """Give the workers as the API shows them.

    :param serving: how many accept clients.
    :param ended: how many have ended unasked, by what.
    """
    return {"serving": serving, "ended": {by: ended.get(by, 0) for by in ENDED_BY}}


def view_of(
    config: Config,
    pools: Iterable[Pool],
    total: Report,
    scope: Scope,
    show: ShowBackend,
    workers: Mapping[str, Any],
) -> Generator[None, None, View]:
    """Put together what is known, in pieces.

    :param pools: whose backends have the status that counts.
    :param total: see ``report.sum_of``.
    :param scope: what is asked for.
    :param show: see above.
    :param workers: see `shown_workers`.
    """
    frontends: list[dict[str, Any]] = []
    for name in config.frontends:
        if scope.has_frontend(name):
            frontends.append({**_frontend(config, name), **_counters(scope, total.get((FRONTEND, name), {}))})
            yield
    known = {pool.name: pool for pool in pools}
    wanted = [known[name] for name in config.pools if name in known and scope.has_pool(name)]
    shown_pools: list[dict[str, Any]] = []
    for pool in wanted:
        shown = yield from _pool(pool, total, scope, show)
        shown_pools.append(shown)
    processes = [_process(takes) for key, takes in total.items() if key[0] == PROCESS]
    ended = [
        {"worker": int(key[1]), "counters": counters} for key, counters in total.items() if key[0] == LOOP_LAG
    ]
    return {
        "processes": processes,
        "ended_processes": ended,
        "workers": workers,
        "frontends": frontends,
        "pools": shown_pools,
    }


def _process(takes: Counters) -> dict[str, Any]:
    worst = takes["worst_loop_lag_us"] / 1e6
    names = ("worker", "pid", "memory", "descriptors", "max_descriptors")
    return {
        **({"supervisor": True} if "supervisor" in takes else {}),
        **{name: takes[name] for name in names if name in takes},
        "worst_loop_lag": worst,
        "counters": loop_lag_of(takes),
    }


def _frontend(config: Config, name: str) -> dict[str, Any]:
    frontend = config.frontends[name]
    return {
        "name": name,
        "mode": frontend.mode,
        "listen": [str(address) for address in frontend.listen],
        "pools": list(dict.fromkeys(pools_of(frontend))),
        "tls": frontend.tls is not None,
    }


def _pool(
    pool: Pool, total: Report, scope: Scope, show: ShowBackend
) -> Generator[None, None, dict[str, Any]]:
    backends: list[dict[str, Any]] = []
    for backend in scope.backends_of(pool):
        counters = _counters(scope, total.get(backend_key(pool, backend), {}))
        backends.append({**show(pool, backend), **counters})
        yield
    return {
        "name": pool.name,
        "backends": backends,
        "affinity": None if pool.affinity is None else len(pool.affinity),
        **_counters(scope, total.get((POOL, pool.name), {})),
    }


def _counters(scope: Scope, counters: Counters) -> dict[str, Any]:
    return {"counters": counters} if scope.counters else {}


def shown_check(result: CheckResult) -> dict[str, Any]:
    """Give the result of a check as the API shows it."""
    return {
        "time": timestamp(result.time),
        "passed": result.passed,
        "cause": result.cause,
        "seconds": round(result.seconds, 6),
    }


def shown_backend(
    backend: Backend,
    last_check: CheckResult | None,
    drain_left: float | None,
    state_order: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """See ``ShowBackend``.

    :param last_check: its result; None where there is none.
    :param drain_left: seconds until its sessions are ended; None for no limit.
    :param state_order: see ``StateOrders.shown``.
    """
    return {
        "name": backend.name,
        "address": str(backend.address),
        "state": backend.state,
        "admin_state": backend.admin_state.value,
        "state_order": state_order,
        "up": backend.up,
        "ejected": backend.ejected,
        "cause": backend.cause,
        "weight": backend.weight,
        "max_connections": backend.max_connections,
        "backup": backend.backup,
        "drain_deadline": None if drain_left is None else round(drain_left, 3),
        "last_check": None if last_check is None else shown_check(last_check),
    }
