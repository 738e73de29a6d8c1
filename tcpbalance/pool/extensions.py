"""Classes by name: ours, and those of third parties, from the entry points of all installed distributions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.logger import Logger

from tcpbalance.errors import SettingError
from tcpbalance.pool.policies.base import PolicyFactory

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

POLICIES = "tcpbalance.policies"

_OUR_POLICIES = {
    "round_robin": "tcpbalance.pool.policies.round_robin:RoundRobin",
    "least_connections": "tcpbalance.pool.policies.least_connections:LeastConnections",
    "power_of_two_choices": "tcpbalance.pool.policies.power_of_two_choices:PowerOfTwoChoices",
    "peak_ewma": "tcpbalance.pool.policies.peak_ewma:PeakEwmaPolicy",
    "random": "tcpbalance.pool.policies.weighted_random:WeightedRandom",
    "source_hash": "tcpbalance.pool.policies.source_hash:SourceHash",
}

T = TypeVar("T")

_log = Logger()


class Extensions(Mapping[str, T]):
    """Classes by name, loaded when they are asked for.

    Entry points are read when a name is not ours, or all names are asked for: that takes some 10 ms. All that
    they name is loaded then; one that cannot be loaded, or used, is logged and left out.

    :param group: of the entry points of third parties.
    :param ours: by name, each as an entry point has it; no third party can have these names.
    :param require: called with a class of a third party; raises for one that cannot be used.
    """

    def __init__(
        self, group: str, ours: Mapping[str, str], require: Callable[[str, Any], object] = lambda *_: None
    ) -> None:
        self._group = group
        self._ours = ours
        self._require = require
        self._theirs: dict[str, T] | None = None

    def __getitem__(self, name: str) -> T:
        if name in self._ours:
            return cast(T, _load(self._ours[name]))
        return self._third_parties()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._ours
        yield from self._third_parties()

    def __len__(self) -> int:
        return len(self._ours) + len(self._third_parties())

    def __contains__(self, name: object) -> bool:
        return name in self._ours or name in self._third_parties()

    def entry(self, name: str) -> str | None:
        """Give where a class is, without loading it; None where there is none of that name."""
        if name in self._ours:
            return self._ours[name]
        entry = self._entries().get(name)
        return None if entry is None else entry.value

    def names(self) -> list[str]:
        """Give all names, also of what cannot be loaded."""
        return sorted([*self._ours, *self._entries()])

    def _entries(self) -> Mapping[str, EntryPoint]:
        return _found_on(tuple(sys.path), self._group, frozenset(self._ours))

    def _third_parties(self) -> Mapping[str, T]:
        if self._theirs is None:
            self._theirs = dict(self._load_theirs())
        return self._theirs

    def _load_theirs(self) -> Iterator[tuple[str, T]]:
        for name, entry in self._entries().items():
            try:
                thing = _load(entry.value)
                self._require(entry.value, thing)
            except Exception:
                _log.failure(
                    "{group}: {name} ({value}) of {distribution} cannot be loaded and is left out",
                    group=self._group,
                    name=name,
                    value=entry.value,
                    distribution=_distribution(entry),
                )
            else:
                yield name, thing


def policies() -> Extensions[PolicyFactory]:
    """Give every balancing policy there is, by the name that `balance` gives it."""
    return Extensions(POLICIES, _OUR_POLICIES)


def policy(name: str) -> PolicyFactory:
    """Load one balancing policy.

    :raises SettingError: when there is none of that name, or it cannot be loaded.
    """
    known = policies()
    value = known.entry(name)
    if value is None:
        raise SettingError(f"no balancing policy is called {name!r}; known are: {', '.join(known.names())}")
    try:
        return cast(PolicyFactory, _load(value))
    except Exception as error:
        raise SettingError(f"balancing policy {name} ({value}) cannot be loaded: {error}") from error


def _load(value: str) -> Any:
    """Load what an entry point names: ``package.module:Class``."""
    module, _, path = value.partition(":")
    thing: Any = import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    if not callable(thing):
        raise TypeError(f"{value} must be a class, got {thing!r}")
    return thing


@lru_cache(maxsize=8)
def _found_on(path: tuple[str, ...], group: str, ours: frozenset[str]) -> Mapping[str, EntryPoint]:
    """Read the files of every installed distribution: the first that is found has a name, after us."""
    # Hardly any process needs it: most have policies and probes of ours.
    from importlib.metadata import entry_points

    holders = dict.fromkeys(ours, "tcpbalance")
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        holder = holders.get(entry.name)
        if holder is None:
            found[entry.name] = entry
            holders[entry.name] = _distribution(entry)
            continue
        # A folder may be on the path twice.
        if entry.name in found and found[entry.name].value == entry.value:
            continue
        _log.warn(
            "{group}: {name} of {distribution} is left out, the name is taken by {holder}",
            group=group,
            name=entry.name,
            distribution=_distribution(entry),
            holder=holder,
        )
    return found


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"
