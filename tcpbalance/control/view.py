"""What there is and how it is now, as the API shows it: the configuration, the status of backends, and what
all processes have counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from tcpbalance.config.models import Config
from tcpbalance.control.report import Counters, Report, backend_key
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

View: TypeAlias = dict[str, Any]
"""``frontends`` and ``pools``, in the order of the configuration, and ``processes``."""


def view_of(config: Config, pools: Iterable[Pool], total: Report) -> View:
    """Put together what is known.

    :param pools: whose backends have the status that counts.
    :param total: see ``report.sum_of``.
    """
    known = {pool.name: pool for pool in pools}
    return {
        "processes": total["processes"],
        "frontends": [_frontend(config, name, total["frontends"].get(name, {})) for name in config.frontends],
        "pools": [
            _pool(known[name], total["pools"].get(name, {"counters": {}, "backends": {}}))
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


def _pool(pool: Pool, counted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": pool.name,
        "backends": [
            _backend(backend, counted["backends"].get(_key(backend), {})) for backend in pool.backends
        ],
        "counters": counted["counters"],
    }


def _key(backend: Backend) -> str:
    return backend_key(backend.name, str(backend.address))


def _backend(backend: Backend, counters: Counters) -> dict[str, Any]:
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
        "counters": counters,
    }
