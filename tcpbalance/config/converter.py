"""A cattrs converter that takes nothing for something else: no text for a number, no number for a truth.

What is wrong is raised as `Mistakes`, with the paths of the keys and with what could be read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import StructureHandlerNotFoundError

from tcpbalance.config import scalars
from tcpbalance.config.addresses import Address
from tcpbalance.config.draft import UNREAD, Mistakes, checked_draft, message_of, mistakes_at
from tcpbalance.config.errors import BrokenRules, Mistake
from tcpbalance.config.messages import unknown_key, value_text

Read: TypeAlias = Callable[[Any, Any], Any]
"""What cattrs calls a structure hook: from a value and the type wanted to an object."""


def strict_converter(folder: Path) -> cattrs.Converter:
    """Make a converter for documents.

    It reads attrs classes from tables, ``str``, ``int``, ``float``, ``bool``, ``Literal``, ``tuple[X, ...]``,
    ``Mapping[str, X]``, ``X | None``, and each type that has a ``parse`` classmethod through it. When such a
    type also has a method ``under(folder)``, that makes the paths in it absolute. A key that the class does
    not have is an error.

    :param folder: what relative paths are relative to.
    """
    converter = cattrs.Converter()
    read_leaf = _leaf(folder)
    for plain in scalars.PLAIN:
        converter.register_structure_hook(plain, read_leaf)
    factories: list[tuple[Callable[[Any], bool], Callable[[Any], Read]]] = [
        (attrs.has, lambda kind: table_reader(kind, converter)),
        (_is(Literal), lambda _: scalars.read),
        (_is(tuple), lambda kind: _list_reader(kind, converter)),
        (_is(Mapping, dict), lambda kind: _mapping_reader(kind, converter)),
        (lambda kind: hasattr(kind, "parse"), lambda _: read_leaf),
    ]
    for predicate, factory in factories:
        converter.register_structure_hook_factory(predicate, factory)
    return converter


def key_names(kind: type) -> tuple[str, ...]:
    """Give the keys that the table of an attrs class takes."""
    return tuple(key.name for key in attrs.fields(kind) if key.init)


def require_table(value: object) -> Mapping[str, Any]:
    """Give the value when it is a table.

    :raises TypeError: when it is not.
    """
    if not isinstance(value, dict):
        raise TypeError(f"must be a table, got {value_text(value)}")
    return value


def table_reader(kind: type[Any], converter: cattrs.Converter, **special: Read) -> Read:
    """Make the hook for an attrs class.

    :param special: hooks for the fields of these names, instead of those for the fields' types.
    """
    attrs.resolve_types(kind)
    keys = [key for key in attrs.fields(kind) if key.init]

    def read_table(value: object, _: Any) -> Any:
        table = require_table(value)
        mistakes: list[Mistake] = []
        values: dict[str, Any] = {}
        for key in keys:
            if key.name in table:
                read = special.get(key.name, converter.structure)
                values[key.name] = _read_at(key.name, read, table[key.name], key.type, mistakes)
            elif key.default is attrs.NOTHING:
                values[key.name] = UNREAD
                mistakes.append(Mistake((key.name,), _required(key)))
        draft, wrong = checked_draft(kind, values, table)
        mistakes += wrong
        names = key_names(kind)
        mistakes += [Mistake((name,), unknown_key(name, names)) for name in sorted({*table} - {*names})]
        if mistakes:
            raise Mistakes(mistakes, draft)
        return _made(kind, {key.alias: values[key.name] for key in keys if key.name in values}, draft)

    return read_table


def _made(kind: type[Any], values: Mapping[Any, Any], draft: object) -> Any:
    """Make the object itself, which may find more wrong with it as a whole."""
    try:
        return kind(**values)
    except Exception as error:  # a third party's class may raise what it likes
        found = error.mistakes if isinstance(error, BrokenRules) else [Mistake((), message_of(error))]
        raise Mistakes(found, draft) from None


def _read_at(step: str | int, read: Read, value: object, kind: Any, mistakes: list[Mistake]) -> Any:
    """Read a value of a table or list; note what is wrong, and give what could be read."""
    try:
        return read(value, kind)
    except Exception as error:  # a third party's class may raise what it likes
        mistakes += mistakes_at(step, error)
        return error.draft if isinstance(error, Mistakes) else UNREAD


def _required(key: attrs.Attribute[Any]) -> str:
    example = key.metadata.get("example")
    return f"is required, such as {key.name} = {example}" if example else "is required"


def _leaf(folder: Path) -> Read:
    def read_leaf(value: object, kind: Any) -> Any:
        if not hasattr(kind, "parse"):
            return scalars.read(value, kind)
        result = kind.parse(value)
        return result.under(folder) if hasattr(kind, "under") else result

    return read_leaf


def _is(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _list_reader(kind: Any, converter: cattrs.Converter) -> Read:
    match get_args(kind):
        case (element, last) if last is ...:
            pass
        case _:
            raise StructureHandlerNotFoundError(
                f"{kind} cannot be read from a file, only tuple[X, ...]", kind
            )

    def read_list(value: object, _: Any) -> tuple[Any, ...]:
        if isinstance(value, str) and element is Address:
            return (converter.structure(value, element),)
        if not isinstance(value, list):
            form = "an address or a list of addresses" if element is Address else "a list"
            raise TypeError(f"must be {form}, got {value_text(value)}")
        read: tuple[Any, ...] = _each(enumerate(value), element, converter, tuple)
        return read

    return read_list


def _mapping_reader(kind: Any, converter: cattrs.Converter) -> Read:
    key, element = get_args(kind)

    def read_mapping(value: object, _: Any) -> dict[str, Any]:
        table = require_table(value)
        names, mistakes = _names(table, key)
        # What stands under a key that cannot be read is looked at all the same.
        together = _unread if mistakes else lambda read: dict(zip(names, read, strict=True))
        try:
            read: dict[str, Any] = _each(table.items(), element, converter, together)
        except Mistakes as error:
            raise Mistakes([*mistakes, *error.mistakes], error.draft) from None
        if mistakes:
            raise Mistakes(mistakes, UNREAD)
        return read

    return read_mapping


def _parsed(value: object, kind: Any) -> Any:
    return kind.parse(value)


def _unread(_: object) -> Any:
    return UNREAD


def _names(table: Mapping[str, Any], kind: Any) -> tuple[list[str], list[Mistake]]:
    """Read the keys of a table that are no names of ours; note what is wrong."""
    if not hasattr(kind, "parse"):
        return list(table), []
    mistakes: list[Mistake] = []
    return [_read_at(name, _parsed, name, kind, mistakes) for name in table], mistakes


def _each(
    items: Iterable[tuple[str | int, object]],
    kind: Any,
    converter: cattrs.Converter,
    together: Callable[[list[Any]], Any],
) -> Any:
    """Read all elements, and then report what is wrong with any."""
    mistakes: list[Mistake] = []
    read = together([_read_at(step, converter.structure, item, kind, mistakes) for step, item in items])
    if mistakes:
        raise Mistakes(mistakes, read)
    return read
