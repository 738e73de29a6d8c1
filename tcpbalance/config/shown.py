"""A configuration as plain values, in the shape of the file, with what may be secret left out.

Paths are shown, and nothing that stands in the files. Of keys that may hold a password, such as what a health
check sends, the field's metadata has ``shown``: what may be shown of the value.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import attrs

from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.models import Config
from tcpbalance.config.pools import HealthConfig


def shown_config(config: Config) -> Generator[None, None, dict[str, Any]]:
    """Give a configuration, in pieces: a table, or an element of a list, in each.

    Keys that are absent, and have no default, are absent here, too.
    """
    shown: dict[str, Any] = yield from _shown(config)
    return shown


def _shown(value: object) -> Generator[None, None, Any]:
    if isinstance(value, Mapping):
        tables: dict[str, Any] = {}
        for name, table in value.items():
            tables[str(name)] = yield from _shown(table)
        return tables
    if isinstance(value, tuple | list):
        elements: list[Any] = []
        for element in value:
            elements += [(yield from _shown(element))]
        return elements
    if attrs.has(type(value)) and not hasattr(type(value), "parse"):
        yield
        return (yield from _table(value))
    return _leaf(value)


def _table(table: Any) -> Generator[None, None, dict[str, Any]]:
    shown: dict[str, Any] = {}
    for key in attrs.fields(type(table)):
        value = getattr(table, key.name)
        if not key.init or value is None:
            continue
        if isinstance(table, HealthConfig) and key.name == "probe":
            # A key that the probe has itself is the probe's.
            shown.update((yield from _probe(value)))
        elif key.name not in shown:
            show = key.metadata.get("shown", lambda value: value)
            shown[key.name] = yield from _shown(show(value))
    return shown


def _probe(probe: Any) -> Generator[None, None, dict[str, Any]]:
    shown: dict[str, Any] = {}
    for name, value in keys_without_secrets(probe).items():
        shown[name] = yield from _shown(value)
    return shown


def keys_without_secrets(table: Any) -> dict[str, Any]:
    """Give the keys of a table that are there, with what may be shown of the value of each.

    :param table: of the configuration, or a probe; of a class from elsewhere, only what is no text is shown.
    """
    kind = type(table)
    is_foreign = not kind.__module__.startswith("tcpbalance.")
    shown: dict[str, Any] = {}
    for key in attrs.fields(kind) if attrs.has(kind) else ():
        value = getattr(table, key.name)
        if not key.init or value is None:
            continue
        if "shown" in key.metadata:
            value = key.metadata["shown"](value)
        elif is_foreign and type(value) not in (bool, int, float):
            value = HIDDEN
        shown[key.name] = value
    return shown


def _leaf(value: object) -> Any:
    if type(value) in (bool, int, float, str):
        return value
    text = str(value)
    # A number of bytes, or of processes, is written as a number, but a mode of files as text.
    return int(value) if isinstance(value, int) and text == int.__repr__(value) else text
