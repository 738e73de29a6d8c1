"""What is different between two configurations, and what each change does to a balancer that runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs
from attrs import field, frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.effects import EFFECTS, Effect
from tcpbalance.config.errors import KeyPath
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.config.shown import keys_without_secrets

Part: TypeAlias = tuple[str, ...]
"""The way to a frontend, a pool or a backend by names, such as ``("pools", "web", "backends", "b")``."""

NamedTable: TypeAlias = FrontendConfig | PoolConfig | BackendConfig

_PROBE = "probe"


@frozen
class KeyChange:
    """Another value of one key, in a table that both configurations have.

    :param path: the way to the key; a backend stands in it by its name.
    :param old: the value before, None where the key was absent.
    :param new: the value after, None where the key is absent.
    :param effect: when the new value counts.
    :param shown: the old value and the new one, without what may be secret.
    """

    path: KeyPath
    old: object
    new: object
    effect: Effect
    shown: tuple[object, object] = field(eq=False)

    @shown.default
    def _all_of_both(self) -> tuple[object, object]:
        return self.old, self.new


@frozen
class Difference:
    """What is different between two configurations; false where nothing is.

    A frontend, a pool or a backend stays where its name stays. The keys of what is added or removed are not
    listed.

    :param added: frontends, pools and backends that only the new configuration has, with their tables.
    :param removed: those that only the old configuration has, with their tables.
    :param changed: keys of what both have.
    :param opened: addresses whose listening socket is opened.
    :param closed: addresses whose listening socket is closed.
    """

    added: Mapping[Part, NamedTable]
    removed: Mapping[Part, NamedTable]
    changed: tuple[KeyChange, ...]
    opened: tuple[Address, ...]
    closed: tuple[Address, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    @property
    def draining(self) -> tuple[Part, ...]:
        """The backends that get no new connections at their old address, or none by their new state."""
        left = [part for part, table in self.removed.items() if isinstance(table, BackendConfig)]
        moved = [change.path[:-1] for change in self.changed if isinstance(change.old, Address)]
        drained = [change.path[:-1] for change in self.changed if _begins_drain(change)]
        return (*left, *dict.fromkeys(tuple(map(str, part)) for part in (*moved, *drained)))

    @property
    def needing_restart(self) -> tuple[KeyChange, ...]:
        """The changes that no balancer takes up while it runs."""
        return tuple(change for change in self.changed if change.effect is Effect.RESTART)


def _begins_drain(change: KeyChange) -> bool:
    return change.path[-1] == "state" and change.old == "ready"


def difference(old: Config, new: Config) -> Difference:
    """Compare two configurations."""
    before, after = dict(_parts(old, new)), dict(_parts(new, old))
    listened, listens = Counter(_addresses(old)), Counter(_addresses(new))
    changed = [*_keys((), old, new)]
    for part, table in before.items():
        # Tables that were not read again are the same objects.
        if part in after and after[part] is not table:
            changed += _keys(part, table, after[part])
    return Difference(
        {part: table for part, table in after.items() if part not in before},
        {part: table for part, table in before.items() if part not in after},
        tuple(changed),
        tuple((listens - listened).elements()),
        tuple((listened - listens).elements()),
    )


def without(changes: Iterable[KeyChange], config: Config) -> Config:
    """Give a configuration with the old values of some keys, of tables before the backends of a pool.

    :param changes: from another configuration to this one.
    """
    for change in changes:
        config = _with_value(config, change.path, change.old)
    return config


def _with_value(table: Any, path: KeyPath, value: object) -> Any:
    if not path:
        return value
    key, rest = str(path[0]), path[1:]
    if isinstance(table, Mapping):
        return {**table, key: _with_value(table[key], rest, value)}
    return attrs.evolve(table, **{key: _with_value(getattr(table, key), rest, value)})


def _parts(config: Config, other: Config) -> Iterator[tuple[Part, NamedTable]]:
    """Give all that has a name, with its table.

    :param other: pools that are the same object there are left out with their backends.
    """
    for name, frontend in config.frontends.items():
        yield ("frontends", name), frontend
    for name, pool in config.pools.items():
        if other.pools.get(name) is pool:
            continue
        yield ("pools", name), pool
        for backend in pool.backends:
            yield ("pools", name, "backends", backend.name), backend


def _addresses(config: Config) -> Iterator[Address]:
    for frontend in config.frontends.values():
        yield from frontend.listen


def _keys(path: KeyPath, old: Any, new: Any) -> Iterator[KeyChange]:
    """Compare two tables of one class, without the parts that have names of their own."""
    for key in attrs.fields(type(old)):
        place, before, after = (*path, key.name), getattr(old, key.name), getattr(new, key.name)
        effect = EFFECTS[type(old)][key.name]
        if isinstance(old, Config) and key.name in ("frontends", "pools"):
            continue
        if isinstance(old, PoolConfig) and key.name == "backends":
            before, after = _common_order(before, after)
        if isinstance(old, HealthConfig) and key.name == _PROBE:
            yield from _probe_keys(path, before, after, effect)
        elif isinstance(old, FrontendConfig) and key.name == "routes":
            yield from _routes(place, before, after, effect)
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _named_values(
                place, (before, after), (_shown(key, before), _shown(key, after)), effect
            )
        else:
            shown = _shown(key, before), _shown(key, after)
            yield from _key(place, (before, after), shown, effect)


def _key(
    place: KeyPath, values: tuple[object, object], shown: tuple[object, object], effect: Effect
) -> Iterator[KeyChange]:
    """Compare one key, or those of the table that is its value.

    :param values: before and after.
    :param shown: the same without what may be secret.
    """
    before, after = values
    if before is not None and after is not None and type(before) in EFFECTS:
        yield from _keys(place, before, after)
    elif before != after:
        yield KeyChange(place, before, after, effect, shown)


def _shown(key: attrs.Attribute[Any], value: object) -> Any:
    """Give a value without what may be secret."""
    return key.metadata["shown"](value) if value is not None and "shown" in key.metadata else value


def _named_values(
    path: KeyPath,
    values: tuple[Mapping[str, object], Mapping[str, object]],
    shown: tuple[Mapping[str, object], Mapping[str, object]],
    effect: Effect,
) -> Iterator[KeyChange]:
    """Compare values under names of the operator's, such as headers.

    :param values: before and after.
    :param shown: the same without what may be secret.
    """
    old, new = values
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            both = shown[0].get(name), shown[1].get(name)
            yield KeyChange((*path, str(name)), old.get(name), new.get(name), effect, both)


def _routes(
    path: KeyPath, old: Iterable[HttpRouteConfig], new: Iterable[HttpRouteConfig], effect: Effect
) -> Iterator[KeyChange]:
    """Compare routes by their names, or by the requests that they take."""
    before, after = ({route.identity: route for route in routes} for routes in (old, new))
    order, other_order = [it for it in before if it in after], [it for it in after if it in before]
    if order != other_order:
        # Those without a name are called by their places.
        one, other = (tuple(after[it].label for it in kept) for kept in (order, other_order))
        yield KeyChange(path, one, other, effect)
    for identity in dict.fromkeys((*before, *after)):
        was, becomes = before.get(identity), after.get(identity)
        if was is not None and becomes is not None:
            yield from _keys((*path, was.label), was, becomes)
        else:
            label = next(route.label for route in (was, becomes) if route is not None)
            yield KeyChange((*path, label), was, becomes, effect)


def _common_order(
    before: Iterable[BackendConfig], after: Iterable[BackendConfig]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the names of the backends that both lists have, in the order of each."""
    # A dict keeps the order, and is asked quickly.
    old, new = (dict.fromkeys(backend.name for backend in backends) for backends in (before, after))
    return tuple(name for name in old if name in new), tuple(name for name in new if name in old)


def _probe_keys(path: KeyPath, before: object, after: object, effect: Effect) -> Iterator[KeyChange]:
    """Compare two probes, which may be of different classes: their keys stand in the table of the check."""
    old, new = _values(before), _values(after)
    shown_old, shown_new = keys_without_secrets(before), keys_without_secrets(after)
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            yield KeyChange(
                (*path, key), old.get(key), new.get(key), effect, (shown_old.get(key), shown_new.get(key))
            )


def _values(probe: object) -> dict[str, Any]:
    kind = type(probe)
    if not attrs.has(kind):
        return {}
    return {key.name: getattr(probe, key.name) for key in attrs.fields(kind) if key.init}
