"""How a value is written in a line of the access log: in ASCII, so that the line stays one line."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TypeVar

# What may stand in the text form without quotes: printable ASCII, but not what quoting itself is made of.
is_bare = re.compile(r"[!#-<>-\[\]-~]+").fullmatch
_encode = json.encoder.encode_basestring_ascii

T = TypeVar("T")


def optional(value: T | None, form: Callable[[T], str], absent: str) -> str:
    """Write a value in a form, or what stands for none."""
    return absent if value is None else form(value)


def bare_or_quoted(value: str) -> str:
    """Give a value of the text form: a JSON string where it would not be read as one value."""
    return value if is_bare(value) and value != "-" else quoted(value)


def quoted(value: str) -> str:
    """Give a JSON string; DEL is the one control character that JSON lets stand as it is."""
    return _encode(value).replace("\x7f", "\\u007f")


# Names of frontends and backends, and causes, are few and come again with each connection.
bare_or_quoted_name = functools.lru_cache(maxsize=1024)(bare_or_quoted)
quoted_name = functools.lru_cache(maxsize=1024)(quoted)
