"""Classes of bytes, as parts of regular expressions (RFC 9110, sections 5.5 and 5.6; RFC 9112, section 3)."""

from __future__ import annotations

import re
from typing import Final

TOKEN_BYTE = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""``tchar``."""

FIELD_BYTE = rb"[\t\x20-\x7e\x80-\xff]"
"""``field-vchar`` and the white space between: no control byte, so neither CR, LF nor NUL."""

FIELD_LINE = TOKEN_BYTE + rb"++:" + FIELD_BYTE + rb"*+\r\n"

TARGET_BYTE = rb'[!-"$-~]'
"""What stands in targets: more than RFC 3986 has, such as ``|``, but no ``#``, space or byte beyond ASCII."""

is_token = re.compile(TOKEN_BYTE + b"++").fullmatch

is_field_value = re.compile(FIELD_BYTE + b"*+").fullmatch


MAX_MEMBERS: Final = 100
"""Members of a list that are looked at: a head of nothing but commas would cost as much as thirty others."""


def members(values: list[bytes]) -> list[bytes]:
    """Give the first members of a list in one field or more, without empty ones (RFC 9110, section 5.6.1)."""
    return _stripped(b",".join(values).split(b",", MAX_MEMBERS)[:MAX_MEMBERS])


def last_members(values: list[bytes]) -> list[bytes]:
    """Give the last members of such a list, which the nearest proxies have added."""
    return _stripped(b",".join(values).rsplit(b",", MAX_MEMBERS)[-MAX_MEMBERS:])


def _stripped(parts: list[bytes]) -> list[bytes]:
    stripped = (part.strip(b" \t") for part in parts)
    return [part for part in stripped if part]
