"""Credentials as clients bring them: the scheme Basic (RFC 7617)."""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

MAX_CREDENTIALS: Final = 1024
"""Bytes of a name and a password."""

_match_basic = re.compile(rb"(?i:basic) ++([A-Za-z0-9+/]++={0,2})").fullmatch
_has_control_byte = re.compile(rb"[\x00-\x1f\x7f]").search


class BasicCredentials(NamedTuple):
    """A name and a password, in the encoding in which the client has them."""

    name: bytes
    password: bytes


def read_basic(values: list[bytes] | None) -> BasicCredentials | None:
    """Read the one field that brings credentials.

    :param values: of ``Authorization`` or ``Proxy-Authorization``; None where there is none.
    :returns: None for none, for several, for another scheme, and for what is malformed: each is answered as
        if there were none.
    """
    found = _match_basic(values[0]) if values is not None and len(values) == 1 else None
    if found is None or len(found[1]) > MAX_CREDENTIALS * 4 // 3:
        return None
    try:
        text = binascii.a2b_base64(found[1], strict_mode=True)
    except binascii.Error:
        return None
    name, colon, password = text.partition(b":")
    return BasicCredentials(name, password) if colon and not _has_control_byte(text) else None


def basic_challenge(realm: str) -> bytes:
    """Write the value of ``WWW-Authenticate`` or ``Proxy-Authenticate``.

    :param realm: ASCII without quotes and backslashes.
    """
    return b'Basic realm="%b", charset="UTF-8"' % realm.encode("ascii")
