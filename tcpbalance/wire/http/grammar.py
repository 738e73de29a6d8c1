"""Classes of bytes, as parts of regular expressions (RFC 9110, sections 5.5 and 5.6; RFC 9112, section 3)."""

from __future__ import annotations

import re

TOKEN_BYTE = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""``tchar``."""

FIELD_BYTE = rb"[\t\x20-\x7e\x80-\xff]"
"""``field-vchar`` and the white space between: no control byte, so neither CR, LF nor NUL."""

TARGET_BYTE = rb'[!-"$-~]'
"""What stands in targets: more than RFC 3986 has, such as ``|``, but no ``#``, space or byte beyond ASCII."""

is_token = re.compile(TOKEN_BYTE + b"++").fullmatch

is_field_value = re.compile(FIELD_BYTE + b"*+").fullmatch


def members(values: list[bytes]) -> list[bytes]:
    """Give the members of a list in one field or more, without empty ones (RFC 9110, section 5.6.1)."""
    stripped = (member.strip(b" \t") for member in b",".join(values).split(b","))
    return [member for member in stripped if member]
