"""Finds what a request names, or says what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tcpbalance.config.messages import guess, value_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool


def find_backend(pools: Iterable[Pool], pool: str, backend: str) -> tuple[Pool, Backend]:
    """Find a backend by the names of its pool and its own.

    :raises ApiError: there is none.
    """
    by_name = {its.name: its for its in pools}
    if pool not in by_name:
        raise no_such("pool", pool, list(by_name))
    found = by_name[pool]
    for its in found.backends:
        if its.name == backend:
            return found, its
    raise no_such("backend", backend, [its.name for its in found.backends])


def check_names(pools: Iterable[Pool], pool: str | None, backend: str | None) -> None:
    """Refuse names of what there is not.

    :param pool: None for any.
    :param backend: None for any.
    :raises ApiError: there is no such pool, or it, or none, has such a backend.
    """
    by_name = {its.name: its for its in pools}
    if pool is not None and pool not in by_name:
        raise no_such("pool", pool, list(by_name))
    meant = by_name.values() if pool is None else [by_name[pool]]
    names = dict.fromkeys(its.name for one in meant for its in one.backends)
    if backend is not None and backend not in names:
        raise no_such("backend", backend, list(names))


def no_such(kind: str, name: str, names: Sequence[str]) -> ApiError:
    """Make the error for a name that does not exist.

    :param kind: ``"pool"``, ``"backend"`` and so on.
    :param names: those that there are.
    """
    hint = guess(name, names, f"the {kind}s are") if names else f"there are no {kind}s"
    return ApiError(404, f"no_such_{kind}", f"no {kind} is named {value_text(name)}, {hint}")
