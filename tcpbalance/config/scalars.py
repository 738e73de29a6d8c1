"""Reads single values strictly: each type takes only what TOML has for it."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin

from tcpbalance.config.messages import must_be_one_of, value_text

_TYPE_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}
PLAIN: tuple[type, ...] = tuple(_TYPE_WORDS)
_BITS = 63  # TOML 1.0.0, section "Integer"


def read(value: object, kind: Any) -> Any:
    """Read a value as one of `PLAIN`, a subclass, or a ``Literal``.

    :raises ValueError: when the value is of another type, a number that is not finite or beyond 64 bits, or
        none of those listed.
    """
    if get_origin(kind) is Literal:
        return _one_of(value, get_args(kind))
    base = next(plain for plain in PLAIN if issubclass(kind, plain))
    if not _fits(value, base):
        raise ValueError(f"must be {_TYPE_WORDS[base]}, got {value_text(value)}")
    return value if kind is type(value) else kind(value)


def _one_of(value: object, allowed: tuple[Any, ...]) -> Any:
    # True equals 1 and 1.0, so the types have to be the same as well.
    for choice in allowed:
        if choice == value and type(choice) is type(value):
            return choice
    raise ValueError(must_be_one_of(value, allowed))


def _fits(value: object, base: type) -> bool:
    if isinstance(value, bool) or base is bool:
        return isinstance(value, bool) and base is bool
    if isinstance(value, int):
        return base in (int, float) and value.bit_length() <= _BITS
    if isinstance(value, float):
        return base is float and math.isfinite(value)
    return isinstance(value, str) and base is str
