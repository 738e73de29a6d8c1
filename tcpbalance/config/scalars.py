"""Reads single values strictly: each type takes only what TOML has for it."""

from __future__ import annotations

import math
from typing import Any

from tcpbalance.config.messages import shown

_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}
PLAIN: tuple[type, ...] = tuple(_WORDS)
_BITS = 63  # TOML 1.0.0, section "Integer"


def read(value: object, kind: type) -> Any:
    """Read a value as one of `PLAIN` or a subclass.

    :raises ValueError: when the value is of another type, or a number that is not finite or beyond 64 bits.
    """
    base = next(plain for plain in PLAIN if issubclass(kind, plain))
    if not _fits(value, base):
        raise ValueError(f"must be {_WORDS[base]}, got {shown(value)}")
    return value if kind is type(value) else kind(value)


def _fits(value: object, base: type) -> bool:
    if isinstance(value, bool) or base is bool:
        return isinstance(value, bool) and base is bool
    if isinstance(value, int):
        return base in (int, float) and value.bit_length() <= _BITS
    if isinstance(value, float):
        return base is float and math.isfinite(value)
    return isinstance(value, str) and base is str
