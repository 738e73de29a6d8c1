"""Heads as most are: read by one expression, which takes them to pieces as well.

What these expressions match is read as ``head`` reads it, only quicker; whatever they do not match is read
there, and all that is wrong is found there. ``tests/unit/test_http_usual_head.py`` holds both to the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.grammar import FIELD_BYTE, FIELD_LINE
from tcpbalance.wire.http.head import (
    KEEP_ALIVE,
    NO_OPTIONS,
    OF_REQUESTS,
    OF_RESPONSES,
    RequestHead,
    ResponseHead,
)

_HOST_BYTES: Final = rb"[0-9A-Za-z\-._~!$&'()*+;=:\[\]]{1,262}+"
"""No more than the bytes of a host and a port: ``target`` says whether it is one."""


def _lines_without(names: Iterable[bytes]) -> bytes:
    """Make an expression for lines of fields other than some.

    :param names: expressions for their names in lower case.
    """
    initials = b"".join(sorted({name[:1] for name in names}))
    # The first look-ahead is quick, and rules out most lines.
    ahead = rb"(?=[%b%b])(?i:%b):" % (initials, initials.upper(), b"|".join(names))
    return rb"(?:(?!%b)%b)*+" % (ahead, FIELD_LINE)


_OTHERS_OF_REQUESTS: Final = _lines_without(OF_REQUESTS)
_OTHERS_OF_RESPONSES: Final = _lines_without(OF_RESPONSES)

_match_usual_request = re.compile(
    rb"GET ((/[!\"$->@-~]*+)(?:\?[!\"$-~]*+)?+) HTTP/1\.1"
    rb"((\r\n%(others)b)[Hh]ost: (%(host)b)\r\n(%(others)b)"
    rb"(?:[Cc]onnection: ([Kk]eep-[Aa]live)\r\n(%(others)b))?+)\r\n"
    % {b"host": _HOST_BYTES, b"others": _OTHERS_OF_REQUESTS}
).match

_match_usual_response = re.compile(
    rb"HTTP/1\.1 ((?!204|304)[2-5][0-9][0-9]) (%(field)b*+)"
    rb"((\r\n%(others)b)[Cc]ontent-[Ll]ength: (0|[1-9][0-9]{0,8})\r\n(%(others)b)"
    rb"(?:[Cc]onnection: ([Kk]eep-[Aa]live)\r\n(?:Keep-Alive: ([!-~]++)\r\n)?+(%(others)b))?+)\r\n"
    % {b"field": FIELD_BYTE, b"others": _OTHERS_OF_RESPONSES}
).match


class UsualRequestHead(RequestHead):
    """The head of a GET of HTTP/1.1 that asks for a path, and of the fields that a proxy acts on has but one
    Host, and Connection at most with nothing but ``keep-alive``.

    :ivar path: the target without its query.
    :ivar host: the value of Host.
    """

    __slots__ = ("host", "path")

    def __init__(self, found: re.Match[bytes]) -> None:
        target, path, lines, before, host, between, option, behind = found.groups()
        self.method = b"GET"
        self.version = b"1.1"
        self.target = target
        self.path = path
        self.host = host
        self.size = found.end()
        self._lines = lines
        self._fields = None
        if option is None:
            self.rest = before + between
            self.options = NO_OPTIONS
            self.special = {b"host": [host]}
        else:
            self.rest = b"".join((before, between, behind))
            self.options = KEEP_ALIVE
            self.special = {b"host": [host], b"connection": [option]}


class UsualResponseHead(ResponseHead):
    """The head of a final response of HTTP/1.1 with a body, which of the fields that a proxy acts on has one
    Content-Length, and behind it Connection at most with nothing but ``keep-alive``, with Keep-Alive or not.

    :ivar length: that of its body, in bytes.
    """

    __slots__ = ("length",)

    def __init__(self, found: re.Match[bytes]) -> None:
        status, reason, lines, before, length, between, option, kept, behind = found.groups()
        self.version = b"1.1"
        self.status = int(status)
        self.reason = reason
        self.length = int(length)
        self.size = found.end()
        self._lines = lines
        self._fields = None
        if option is None:
            self.rest = before + between
            self.options = NO_OPTIONS
            self.special = {b"content-length": [length]}
        else:
            self.rest = b"".join((before, between, behind))
            self.options = KEEP_ALIVE
            self.special = {b"content-length": [length], b"connection": [option]}
            if kept is not None:
                self.special[b"keep-alive"] = [kept]


def usual_request(data: bytes | bytearray, limits: HeadLimits) -> UsualRequestHead | None:
    """Read the head of a usual request.

    :param data: from its beginning on.
    :returns: None for any other, for what is too long, and for what is not whole.
    """
    found = _match_usual_request(data, 0, limits.size)
    if found is None:
        return None
    head = UsualRequestHead(found)
    # The last end of a line is no field's.
    if len(head.target) > limits.target or data.count(b"\n", 0, head.size) > limits.ends + 1:
        return None
    return head


def usual_response(data: bytes | bytearray, limits: HeadLimits) -> UsualResponseHead | None:
    """Read the head of a usual response; for parameters and result see ``usual_request``."""
    found = _match_usual_response(data, 0, limits.size)
    if found is None:
        return None
    head = UsualResponseHead(found)
    return None if data.count(b"\n", 0, head.size) > limits.ends + 1 else head
