"""What there is and how it is now, as the API shows it: the configuration, the status of backends, and what
all processes have counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from tcpbalance.config.models import Config
from tcpbalance.control.report import Counters, Report, backend_key
from tcpbalance.control.timestamps import timestamp
from tcpbalance.health.history import CheckResult
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

View: TypeAlias = dict[str, Any]
"""``frontends`` and ``pools``, in the order of the configuration, and ``processes``."""


LastCheck = Callable[[Pool, Backend], CheckResult | None]
"""Gives the result of the last check of a backend; None where there is none."""


def view_of(config: Config, pools: Iterable[Pool], total: Report, last_check: LastCheck) -> View:
    """Put together what is known.

    :param pools: whose backends have the status that counts.
    :param total: see ``report.sum_of``.
    :param last_check: see above.
    """
    known = {pool.name: pool for pool in pools}
    return {
        "processes": total["processes"],
        "frontends": [_frontend(config, name, total["frontends"].get(name, {})) for name in config.frontends],
        "pools": [
            _pool(known[name], total["pools"].get(name, {"counters": {}, "backends": {}}), last_check)
            for name in config.pools
            if name in known
        ],
    }


def _frontend(config: Config, name: str, counters: Counters) -> dict[str, Any]:
    frontend = config.frontends[name]
    routes = [route.pool for route in frontend.sni_routes]
    return {
        "name": name,
        "listen": [str(address) for address in frontend.listen],
        "pools": list(dict.fromkeys([*([frontend.pool] if frontend.pool else []), *routes])),
        "tls": frontend.tls is not None,
        "counters": counters,
    }


def _pool(pool: Pool, counted: Mapping[str, Any], last_check: LastCheck) -> dict[str, Any]:
    return {
        "name": pool.name,
        "backends": [
            {
                **shown_backend(backend, last_check(pool, backend)),
                "counters": counted["backends"].get(_key(backend), {}),
            }
            for backend in pool.backends
        ],
        "affinity": None if pool.affinity is None else len(pool.affinity),
        "counters": counted["counters"],
    }


def _key(backend: Backend) -> str:
    return backend_key(backend.name, str(backend.address))


def shown_check(result: CheckResult) -> dict[str, Any]:
    """Give the result of a check as the API shows it."""
    return {
        "time": timestamp(result.time),
        "passed": result.passed,
        "cause": result.cause,
        "seconds": round(result.seconds, 6),
    }


def shown_backend(backend: Backend, last_check: CheckResult | None) -> dict[str, Any]:
    """Give a backend as the API shows it, its counters aside."""
    return {
        "name": backend.name,
        "address": str(backend.address),
        "state": backend.state,
        "admin_state": backend.admin_state.value,
        "up": backend.up,
        "ejected": backend.ejected,
        "cause": backend.cause,
        "weight": backend.weight,
        "max_connections": backend.max_connections,
        "backup": backend.backup,
        "last_check": None if last_check is None else shown_check(last_check),
    }
