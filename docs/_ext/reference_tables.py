"""The tables of the configuration reference, as Markdown, made from the models and the probes themselves."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from attrs import frozen

from tcpbalance.config.checks import bounds
from tcpbalance.config.effects import EFFECTS
from tcpbalance.config.models import Config
from tcpbalance.config.pools import HealthConfig

ROOT = "top"
"""How the keys before the first table are called here."""

HEADER = ("| key | value | default | a change applies | description |", "|---|---|---|---|---|")

_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "string"}
_NOT_WRITTEN = "probe"  # made from the keys of the chosen check, no key itself


@frozen
class Row:
    """What is said of one key, each part in Markdown."""

    key: str
    value: str
    default: str
    effect: str
    doc: str

    def __str__(self) -> str:
        cells = map(_cell, (f"`{self.key}`", self.value, self.default, self.effect, self.doc))
        return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def tables() -> dict[str, type]:
    """Give the class of every table, by its name as the operator writes it, ``NAME`` being theirs."""
    return dict(_tables(ROOT, "", Config))


def _tables(name: str, prefix: str, kind: type) -> Iterator[tuple[str, type]]:
    yield name, kind
    for key in attrs.fields(attrs.resolve_types(kind)):
        below = _table_of(key.type)
        if below is not None:
            place = f"{prefix}{key.name}" + (".NAME" if get_origin(key.type) is Mapping else "")
            yield from _tables(place, f"{place}.", below)


def _table_of(kind: Any) -> type | None:
    """Give the class of the table, or of the tables, that a key's value is."""
    if _is_table(kind):
        return kind  # type: ignore[no-any-return]  # it is a class, as attrs has just found
    return next(filter(None, map(_table_of, get_args(kind))), None)


def _is_table(kind: Any) -> bool:
    """Tell a table from a value type, which may be an attrs class too."""
    return isinstance(kind, type) and attrs.has(kind) and not hasattr(kind, "parse")


def rows(kind: type, names: Mapping[str, Collection[str]]) -> list[Row]:
    """Describe the keys of a table.

    :param names: for keys whose value is a name, the known names.
    """
    fields = [key for key in attrs.fields(attrs.resolve_types(kind)) if key.init and key.name != _NOT_WRITTEN]
    return [
        Row(
            key.name,
            _code_choices(sorted(names[key.name]))
            if key.name in names
            else ", ".join([value_words(key.type), *bounds(key.validator)]),
            default_words(key),
            effect_words(kind, key.name),
            key.metadata.get("doc", ""),
        )
        for key in fields
    ]


def markdown_table(rows: list[Row]) -> list[str]:
    """Give the lines of a table."""
    return [*HEADER, *map(str, rows)]


def checks(probes: Mapping[str, type]) -> Iterator[str]:
    """Describe each probe and its keys, as lines.

    :param probes: the classes by the value of ``check``.
    """
    for name, kind in sorted(probes.items()):
        yield from (f'**`check = "{name}"`**', "", _first_paragraph(kind), "")
        described = rows(kind, {})
        yield from markdown_table(described) if described else ["It has no further keys."]
        yield ""


def _first_paragraph(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def value_words(kind: Any) -> str:
    """Say in the operator's words what a value is."""
    args = get_args(kind)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return " or ".join(value_words(arg) for arg in args if arg is not type(None))
    if origin is Literal:
        return _code_choices(args)
    if origin is tuple:
        return _list_words(args[0])
    if origin is Mapping:
        return "tables" if _is_table(args[1]) else f"table of {_plural(value_words(args[1]))}"
    return "table" if _is_table(kind) else _PLAIN.get(kind) or getattr(kind, "words", kind.__name__)


def _list_words(element: Any) -> str:
    word = value_words(element)
    if _is_table(element):
        return "list of addresses and tables" if "address" in attrs.fields_dict(element) else "list of tables"
    plural = f"list of {_plural(word)}"
    # Where addresses are listed, the reader takes a single one as well.
    return f"{word} or {plural}" if word == "address" else plural


def _plural(word: str) -> str:
    return f"{word}{'es' if word.endswith('s') else 's'}"


def _code_choices(names: Sequence[str]) -> str:
    codes = [f'`"{name}"`' for name in names]
    return " or ".join(filter(None, [", ".join(codes[:-1]), codes[-1]]))


def effect_words(kind: type, key: str) -> str:
    """Say when another value of a key counts; all keys of a probe share one row of the table of effects."""
    effect = EFFECTS[kind][key] if kind in EFFECTS else EFFECTS[HealthConfig][_NOT_WRITTEN]
    return effect.value


def default_words(key: attrs.Attribute[Any]) -> str:
    """Say what holds when a key is absent."""
    if "default" in key.metadata:
        return str(key.metadata["default"])
    if key.default is attrs.NOTHING:
        return "required"
    # Typed as functions, the class of factories is a class all the same.
    if key.default is None or isinstance(key.default, attrs.Factory):  # type: ignore[arg-type]
        return "none"
    return "`" + toml(key.default) + "`"


def toml(value: object) -> str:
    """Write a value as it stands in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    # A size is a number too, but most are written with a unit.
    if isinstance(value, int | float) and str(value).replace(".", "").isdecimal():
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"'
