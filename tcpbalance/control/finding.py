"""Finds what a request names, or says what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tcpbalance.config.messages import guess, value_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool


def find_pool(pools: Iterable[Pool], name: str) -> Pool:
    """Find a pool by its name.

    :raises ApiError: there is none.
    """
    by_name = {its.name: its for its in pools}
    if name not in by_name:
        raise no_such("pool", name, list(by_name))
    return by_name[name]


def find_backend(pools: Iterable[Pool], pool: str, backend: str) -> tuple[Pool, Backend]:
    """Find a backend by the names of its pool and its own.

    :raises ApiError: there is none.
    """
    found = find_pool(pools, pool)
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


def check_frontend(names: Sequence[str], name: str) -> None:
    """Refuse the name of a frontend that there is not.

    :param names: of those that there are.
    :raises ApiError: it is none of them.
    """
    if name not in names:
        raise no_such("frontend", name, names)


def named(kind: str, those: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Find one by its name in a part of a view.

    :raises ApiError: there is none.
    """
    for one in those:
        if one["name"] == name:
            return one
    raise no_such(kind, name, [one["name"] for one in those])


def no_such(kind: str, name: str, names: Sequence[str]) -> ApiError:
    """Make the error for a name that does not exist.

    :param kind: ``"pool"``, ``"backend"`` and so on.
    :param names: those that there are.
    """
    hint = guess(name, names, f"the {kind}s are") if names else f"there are no {kind}s"
    return ApiError(404, f"no_such_{kind}", f"no {kind} is named {value_text(name)}, {hint}")
