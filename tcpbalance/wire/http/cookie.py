"""One cookie: read from what a client sends, and written for it (RFC 6265, sections 4.1 and 5.4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tcpbalance.errors import SettingError
from tcpbalance.wire.http.grammar import is_token

if TYPE_CHECKING:
    # Pools know cookies, also where no request is read.
    from tcpbalance.wire.http.head import RequestHead

SAME_SITE: Final = {"lax": b"Lax", "strict": b"Strict", "none": b"None"}

_is_value = re.compile(rb"[!#-+\--:<-\[\]-~]*+").fullmatch
_is_path = re.compile(rb"/[ -:<-~]*+").fullmatch


class CookieReader:
    """Finds the cookie of one name."""

    __slots__ = ("_find",)

    def __init__(self, name: bytes) -> None:
        if not is_token(name):
            raise SettingError(f"{name!r} is no name for a cookie")
        self._find = re.compile(
            rb"\n(?i:cookie):(?:[^\r]*?;)??[ \t]*+" + re.escape(name) + rb"[ \t]*+=[ \t]*+([^;\r]*+)"
        ).search

    def read(self, head: RequestHead) -> bytes | None:
        """Give the value of the cookie without quotes; of several, that of the first."""
        found = self._find(head.rest)
        return None if found is None else found[1].rstrip(b" \t").removeprefix(b'"').removesuffix(b'"')


def set_cookie(
    name: bytes,
    value: bytes,
    *,
    path: bytes = b"/",
    max_age: int | None = None,
    secure: bool = False,
    http_only: bool = True,
    same_site: str | None = "lax",
) -> bytes:
    """Write a line with ``Set-Cookie`` and CR LF.

    :param max_age: seconds; None for as long as the client's session lasts.
    :param same_site: a key of ``SAME_SITE``; clients take ``none`` only with ``secure``.
    :raises SettingError: for a name, value or path that is not allowed.
    """
    if not (is_token(name) and _is_value(value) and _is_path(path)):
        raise SettingError(f"{name!r}, {value!r} and {path!r} make no cookie")
    parts = [b"Set-Cookie: %b=%b; Path=%b" % (name, value, path)]
    if max_age is not None:
        parts.append(b"Max-Age=%d" % max_age)
    if secure:
        parts.append(b"Secure")
    if http_only:
        parts.append(b"HttpOnly")
    if same_site is not None:
        parts.append(b"SameSite=" + SAME_SITE[same_site])
    return b"; ".join(parts) + b"\r\n"
