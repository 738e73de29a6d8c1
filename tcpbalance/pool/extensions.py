"""Policies by name, from the entry points of every installed distribution; ours are among them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from twisted.logger import Logger

from tcpbalance.errors import SettingError
from tcpbalance.pool.policies.base import PolicyFactory

POLICIES = "tcpbalance.policies"

_OWN = "tcpbalance"
_log = Logger()


def policies() -> dict[str, PolicyFactory]:
    """Load every balancing policy there is, by the name that `balance` gives it.

    One that cannot be loaded is logged and left out.
    """
    return dict(installed(POLICIES))


def policy(name: str) -> PolicyFactory:
    """Load one balancing policy.

    :raises SettingError: when there is none of that name, or it cannot be loaded.
    """
    entries = _own_first_by_name(POLICIES)
    entry = entries.get(name)
    if entry is None:
        known = ", ".join(sorted(entries)) or "none, is tcpbalance installed?"
        raise SettingError(f"no balancing policy is called {name!r}; known are: {known}")
    try:
        return cast(PolicyFactory, _load(entry))
    except Exception as error:
        raise SettingError(f"balancing policy {name} ({entry.value}) cannot be loaded: {error}") from error


def installed(
    group: str, require: Callable[[EntryPoint, Any], None] | None = None
) -> Iterator[tuple[str, Any]]:
    """Load every entry point of a group, and give it with its name.

    :param require: called with each; it raises for one that cannot be used. That one is logged and left out,
        like one that cannot be loaded.
    """
    for entry in _own_first_by_name(group).values():
        try:
            thing = _load(entry)
            if require is not None:
                require(entry, thing)
        except Exception:
            _log.failure(
                "{group}: {name} ({value}) of {distribution} cannot be loaded and is left out",
                group=group,
                name=entry.name,
                value=entry.value,
                distribution=_distribution(entry),
            )
        else:
            yield entry.name, thing


def _load(entry: EntryPoint) -> Any:
    thing = entry.load()
    if not callable(thing):
        raise TypeError(f"{entry.value} must be a class, got {thing!r}")
    return thing


def _own_first_by_name(group: str) -> Mapping[str, EntryPoint]:
    """Settle which entry point has a name: ours before a third party's, then the first found."""
    return _found_on(tuple(sys.path), group)


@lru_cache(maxsize=8)
def _found_on(path: tuple[str, ...], group: str) -> Mapping[str, EntryPoint]:
    """Read the files of every installed distribution: kept, because that takes some 10 ms."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: _distribution(entry) != _OWN):
        holder = found.setdefault(entry.name, entry)
        if holder.value != entry.value:
            _log.warn(
                "{group}: {name} of {distribution} is left out, the name is taken by {holder}",
                group=group,
                name=entry.name,
                distribution=_distribution(entry),
                holder=_distribution(holder),
            )
    return found


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"
