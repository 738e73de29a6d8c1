"""A cattrs converter that takes nothing for something else: no text for a number, no number for a truth.

What it raises is a tree of cattrs errors; `tcpbalance.config.mistakes` turns it into key paths and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote, StructureHandlerNotFoundError
from cattrs.gen import make_dict_structure_fn, override

from tcpbalance.config import scalars
from tcpbalance.config.addresses import Address
from tcpbalance.config.messages import shown

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
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
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
        raise TypeError(f"must be a table, got {shown(value)}")
    return value


def table_reader(kind: type[Any], converter: cattrs.Converter, **special: Read) -> Read:
    """Make the hook for an attrs class.

    Each field's validator runs as soon as its value is read, so that one bad value hides no other.

    :param special: hooks for the fields of these names, instead of those for the fields' types.
    """
    attrs.resolve_types(kind)
    fields = attrs.fields(kind)
    hooks = {key.name: _field_reader(key, special.get(key.name, converter.structure)) for key in fields}
    overrides: dict[str, Any] = {name: override(struct_hook=hook) for name, hook in hooks.items()}
    read = make_dict_structure_fn(kind, converter, **overrides)
    return lambda value, _: read(require_table(value), kind)


def _field_reader(key: attrs.Attribute[Any], read: Read) -> Read:
    def read_field(value: object, kind: Any) -> Any:
        result = read(value, kind)
        # A field's own converter would come before its validator; both then run when the object is made.
        if key.validator is not None and key.converter is None:
            _validate(key, result)
        return result

    return read_field


def _validate(key: attrs.Attribute[Any], value: object) -> None:
    assert key.validator is not None
    try:
        key.validator(None, key, value)
    except AttributeError:
        # A third party's validator that looks at other fields; it runs again when the object is made.
        return


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
            raise TypeError(f"must be {form}, got {shown(value)}")
        return tuple(_each(enumerate(value), element, converter))

    return read_list


def _mapping_reader(kind: Any, converter: cattrs.Converter) -> Read:
    element = get_args(kind)[1]

    def read_mapping(value: object, _: Any) -> dict[str, Any]:
        table = require_table(value)
        return dict(zip(table, _each(table.items(), element, converter), strict=True))

    return read_mapping


def _each(items: Iterable[tuple[str | int, object]], kind: Any, converter: cattrs.Converter) -> list[Any]:
    """Read all elements before complaining of any."""
    results: list[Any] = []
    faults: list[Exception] = []
    for index, item in items:
        try:
            results.append(converter.structure(item, kind))
        except Exception as fault:
            fault.add_note(IterableValidationNote(f"at {index}", index, kind))
            faults.append(fault)
    if faults:
        raise IterableValidationError("elements", faults, kind)
    return results
