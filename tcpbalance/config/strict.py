"""Makes the fields of a model as strict in Python as the file's reader is."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from tcpbalance.config import scalars
from tcpbalance.config.errors import InvalidValue


def strict(kind: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Check the plain type of each field's value, and name the field in what its converter raises.

    A ``field_transformer`` of attrs, for the models of the configuration.

    :raises InvalidValue: when a model is made with a value of another type.
    """
    attrs.resolve_types(kind, attribs=fields)
    own = [_strict(key) for key in fields if not _is_inherited(key)]
    # The keys of a table come before those that it shares with others.
    return own + [key for key in fields if _is_inherited(key)]


def _is_inherited(key: attrs.Attribute[Any]) -> bool:
    return bool(key.inherited)  # type: ignore[attr-defined]  # not in the stubs


def _strict(key: attrs.Attribute[Any]) -> attrs.Attribute[Any]:
    if key.converter is not None:
        key = key.evolve(converter=_naming(key.name, key.converter))
    plain = plain_type(key.type)
    if plain is None:
        return key
    checks = [_of_type(plain), *([key.validator] if key.validator is not None else [])]
    return key.evolve(validator=attrs.validators.and_(*checks))


def plain_type(kind: Any) -> Any:
    """Give what a value other than None has to be: a type of `scalars` or a ``Literal``; else None."""
    kinds = [kind]
    if get_origin(kind) in (Union, UnionType):
        kinds = [arg for arg in get_args(kind) if arg is not NoneType]
    is_plain = len(kinds) == 1 and (kinds[0] in scalars.PLAIN or get_origin(kinds[0]) is Literal)
    return kinds[0] if is_plain else None


def _of_type(kind: Any) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: object, key: attrs.Attribute[Any], value: object) -> None:
        # The default of an optional key is None, which a file cannot say.
        if value is None and key.default is None:
            return
        try:
            scalars.read(value, kind)
        except ValueError as error:
            raise InvalidValue(key.name, str(error)) from None

    return check


def _naming(name: str, convert: Any) -> Callable[[Any], Any]:
    def named(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            raise InvalidValue(name, str(error)) from None

    return named
