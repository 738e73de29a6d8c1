"""The path of a request as routes look at it.

Source: RFC 3986, sections 3.3 (parameters of segments), 5.2.4 (dot segments) and 6.2.2 (what an escape and
its character have in common).
"""

from __future__ import annotations

import re
from typing import NamedTuple


class RoutingPath(NamedTuple):
    """The copy of a path that routes look at.

    :ivar path: without escapes of characters that need none, parameters of segments, dot segments and empty
        segments.
    :ivar ambiguous: whether a backend may take the path for another than this.
    """

    path: bytes
    ambiguous: bool


_is_odd = re.compile(rb"%|//|/\.|\\|;").search
_escape = re.compile(rb"%[0-9A-Fa-f]{2}")
_parameters = re.compile(rb";[^/]*+")
_is_ambiguous = re.compile(rb"%00|%2F|%5C|%(?![0-9A-F]{2})|//|\\|/\.\.?(?:[/;]|\Z)").search

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NORMAL_ESCAPES = [bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte for byte in range(256)]
"""The escape of each byte as it is compared: its character if that needs none, else in upper case."""


def is_plain_path(path: bytes) -> bool:
    """Whether `routing_path` gives a path as it is."""
    return _is_odd(path) is None


def routing_path(path: bytes) -> RoutingPath:
    """Clean a path for routes to look at; what a backend gets stays as written.

    :param path: without its query.
    """
    if not _is_odd(path):
        return RoutingPath(path, False)
    path = _escape.sub(_normal_escape, path)
    ambiguous = _is_ambiguous(path) is not None
    if b";" in path:
        # Servlet containers serve /admin;a/x as /admin/x. An escaped semicolon begins no parameters.
        path = _parameters.sub(b"", path)
        ambiguous = ambiguous or _is_ambiguous(path) is not None
    if ambiguous and path.startswith(b"/"):
        path = _without_dots(path)
    return RoutingPath(path, ambiguous)


def _normal_escape(found: re.Match[bytes]) -> bytes:
    return _NORMAL_ESCAPES[int(found[0][1:], 16)]


def _without_dots(path: bytes) -> bytes:
    """Remove empty and dot segments: RFC 3986, section 5.2.4."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    slash = b"/" if kept and segments[-1] in {b"", b".", b".."} else b""
    return b"/" + b"/".join(kept) + slash
