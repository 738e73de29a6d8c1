"""Gathers what the rules look at from a document; what is wrong in it is left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from tcpbalance.config.addresses import Address
from tcpbalance.config.errors import KeyPath
from tcpbalance.config.names import NamePattern
from tcpbalance.config.pools import DEFAULT_BALANCE
from tcpbalance.config.rules import BackendFacts, Facts, FrontendFacts, PoolFacts, RouteFacts

T = TypeVar("T")

ReadAddress: TypeAlias = Callable[[object], Address]


def gather(document: Mapping[str, Any], read_address: ReadAddress) -> Facts:
    """Read the facts of a document.

    :param document: what ``tomllib`` gave.
    :param read_address: turns a value into an address or raises ValueError.
    """
    return Facts(
        frontends=tuple(
            _frontend(("frontends", name), table, read_address)
            for name, table in _table(document.get("frontends")).items()
        ),
        pools=tuple(
            _pool(("pools", name), _table(table), read_address)
            for name, table in _table(document.get("pools")).items()
        ),
        overload=_keys(document["overload"]) if isinstance(document.get("overload"), dict) else None,
        resolver=_said(document.get("resolver")),
        system_names=_table(document.get("resolver")).get("engine") == "system",
    )


def tables_at(document: Mapping[str, Any], section: str, key: str) -> Iterator[tuple[KeyPath, object]]:
    """Find what stands under one key in each table of a section, with where it stands."""
    for name, table in _table(document.get(section)).items():
        if key in _table(table):
            yield (section, name, key), table[key]


def _frontend(path: KeyPath, value: object, read_address: ReadAddress) -> FrontendFacts:
    table = _table(value)
    listens = (
        (place, _parsed(item, read_address))
        for place, item in _elements((*path, "listen"), table.get("listen"))
    )
    return FrontendFacts(
        path=path,
        listens=tuple((place, address) for place, address in listens if address is not None),
        pool=_string(table.get("pool")),
        routes=tuple(
            _route(place, item) for place, item in _elements((*path, "sni_routes"), table.get("sni_routes"))
        ),
        served=bool("pool" in table or table.get("sni_routes") or not isinstance(value, dict)),
        tls=_keys(table.get("tls")),
        access=_said(table.get("access")),
        limits=_said(table.get("limits")),
        keys=_said(table),
    )


def _route(path: KeyPath, value: object) -> RouteFacts:
    table = _table(value)
    names = [_parsed(name, NamePattern.parse) for _, name in _elements(path, table.get("names"))]
    return RouteFacts(path, tuple(name for name in names if name is not None), _string(table.get("pool")))


def _pool(path: KeyPath, table: Mapping[str, Any], read_address: ReadAddress) -> PoolFacts:
    return PoolFacts(
        path=path,
        backends=tuple(
            _backend(place, item, read_address)
            for place, item in _elements((*path, "backends"), table.get("backends"))
        ),
        tls=_keys(table.get("tls")),
        verified=_table(table.get("tls")).get("verify") is not False,
        keys=_said(table),
        balance=_string(table.get("balance", DEFAULT_BALANCE)),
        sends_v2=table.get("send_proxy_protocol") == "v2",
    )


def _backend(path: KeyPath, value: object, read_address: ReadAddress) -> BackendFacts:
    table = value if isinstance(value, dict) else {"address": value}
    address = _parsed(table.get("address"), read_address)
    default = None if address is None else str(address)
    return BackendFacts(
        path=path,
        name=_string(table.get("name", default)),
        address=address,
        backup=table.get("backup") is True,
        has_server_name="server_name" in table,
        has_limit="max_connections" in table,
    )


def _elements(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    """Give the elements of a list, or a string that stands for a list of one."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index), item


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _keys(value: object) -> Collection[str] | None:
    """The keys of a table, None where there is none."""
    return None if value is None else _table(value).keys()


def _said(value: object) -> Collection[str]:
    """The keys of a table that say anything: not an empty list, and not that something is off."""
    return [key for key, item in _table(value).items() if item != [] and item is not False]


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _parsed(value: object, read: Callable[[object], T]) -> T | None:
    try:
        return read(value)
    except ValueError:
        return None
