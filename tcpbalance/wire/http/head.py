"""Heads of requests and responses: found, matched once, and taken to pieces (RFC 9112, sections 2 to 5).

A head is matched by one expression without any backtracking, once it has come whole. Before that, a reader
looks for the end from where the last look ended, and a walk of ``diagnose`` refuses what can never become a
head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tcpbalance.wire.http.diagnose import HeadLimits, RequestWalk, ResponseWalk, Walk
from tcpbalance.wire.http.grammar import FIELD_BYTE, FIELD_LINE, TARGET_BYTE, TOKEN_BYTE, is_token, members

Special = dict[bytes, list[bytes]]
"""Values of the fields that a proxy acts on, by their names in lower case."""

Options = frozenset[bytes]
"""What Connection lists, in lower case."""

_NO_OPTIONS: Final[Options] = frozenset()
_USUAL_OPTIONS = {text: frozenset((text,)) for text in (b"keep-alive", b"close", b"upgrade")}

_LINES = rb"(\r\n(?:" + FIELD_LINE + rb")*+)\r\n"

_match_request = re.compile(
    rb"(?:\r\n)?+(" + TOKEN_BYTE + rb"++) (" + TARGET_BYTE + rb"++) HTTP/(1\.[01])" + _LINES
).match

_match_response = re.compile(
    rb"HTTP/(1\.[01]) ([1-9][0-9][0-9])(?: (" + FIELD_BYTE + rb"*+))?+" + _LINES
).match

_find_fields = re.compile(rb"\n([^:\r]++):[ \t]*+([^\r]*+)").findall


def _splitter(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Make an expression that splits lines into what stands between fields of some names, and these.

    :param names: expressions for names in lower case; they are matched in any case.
    """
    initials = b"".join(sorted({name[:1] for name in names}))
    # The look-ahead is quick, and rules out the fields that there are more of.
    ahead = rb"(?=[%b%b])" % (initials, initials.upper())
    return re.compile(rb"\n" + ahead + rb"((?i:" + b"|".join(names) + rb")):[ \t]*+([^\r]*+)\r")


_FRAMING = (rb"content[-_]length", rb"transfer[-_]encoding")
"""With underscores, for what a backend takes for the same (RFC 3875, section 4.1.18)."""

_CONNECTION = (b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade")
"""Fields for one connection (RFC 9110, section 7.6.1)."""

_split_request = _splitter(
    (
        b"host",
        *_FRAMING,
        *_CONNECTION,
        b"expect",
        b"http2-settings",
        b"proxy-authorization",
        b"proxy",  # CVE-2016-5387: CGI makes HTTP_PROXY of it
        b"forwarded",
        rb"x[-_]forwarded[-_]" + TOKEN_BYTE + b"++",
        rb"x[-_]real[-_]ip",
    )
).split

_split_response = _splitter((*_FRAMING, *_CONNECTION)).split


class Head:
    """What a request and a response have both. It is not changed.

    :ivar version: ``b"1.1"`` or ``b"1.0"``.
    :ivar size: bytes up to the body.
    :ivar special: the fields that a proxy acts on.
    :ivar options: what Connection lists, without what is no token.
    :ivar rest: the lines of all others, as they came; they begin and end with CR LF.
    """

    __slots__ = ("_fields", "_lines", "options", "rest", "size", "special", "version")

    def __init__(self, version: bytes, lines: bytes, pieces: list[bytes], size: int) -> None:
        self.version = version
        self.size = size
        special: Special = {}
        for name, value in zip(pieces[1::3], pieces[2::3], strict=True):
            special.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
        self.special = special
        self.rest = b"".join(pieces[::3])
        self.options = _options(special.get(b"connection"))
        self._lines = lines
        self._fields: list[tuple[bytes, bytes, bytes]] | None = None

    @property
    def fields(self) -> list[tuple[bytes, bytes, bytes]]:
        """Each field: its name as it came, its name in lower case, and its value."""
        if self._fields is None:
            found = _find_fields(self._lines)
            self._fields = [(name, name.lower(), value.rstrip(b" \t")) for name, value in found]
        return self._fields

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of a field, in order.

        :param name: in lower case.
        """
        return [value for _, lower, value in self.fields if lower == name]


def _options(values: list[bytes] | None) -> Options:
    if values is None:
        return _NO_OPTIONS
    usual = _USUAL_OPTIONS.get(values[0].lower()) if len(values) == 1 else None
    return usual or frozenset(option.lower() for option in members(values) if is_token(option))


class RequestHead(Head):
    """The head of a request whose grammar is valid."""

    __slots__ = ("method", "target")

    def __init__(self, method: bytes, target: bytes, version: bytes, lines: bytes, size: int) -> None:
        super().__init__(version, lines, _split_request(lines), size)
        self.method = method
        self.target = target


class ResponseHead(Head):
    """The head of a response whose grammar is valid."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: bytes, version: bytes, lines: bytes, size: int) -> None:
        super().__init__(version, lines, _split_response(lines), size)
        self.status = status
        self.reason = reason


class HeadReader:
    """Finds the heads that follow one another on a connection.

    It keeps no bytes: each call gets all of them, from the beginning of a head on.
    """

    __slots__ = ("_limits", "_looked", "_walk")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._looked = 0
        self._walk: Walk | None = None

    def _may_be_whole(self, data: bytes | bytearray) -> bool:
        """Whether to match: at the first look, and when the end has come since."""
        return not self._looked or data.find(b"\r\n\r\n", self._looked, self._limits.size) >= 0

    def _go_on(self, data: bytes | bytearray) -> None:
        """Refuse what is no head and can never become one."""
        walk = self._walk = self._walk or self._begin()
        if data and walk.walk(data):
            raise AssertionError("a walk accepts what the expression does not match")
        self._looked = max(0, len(data) - 3)

    def _reset(self) -> None:
        self._looked = 0
        self._walk = None

    def _begin(self) -> Walk:
        raise NotImplementedError


class RequestReader(HeadReader):
    """Finds the heads of requests."""

    __slots__ = ()

    def read(self, data: bytes | bytearray) -> RequestHead | None:
        """Read a head.

        :returns: None while more bytes are needed.
        :raises BadRequest: when no further byte makes it a head.
        """
        limits = self._limits
        found = _match_request(data, 0, limits.size) if self._may_be_whole(data) else None
        if found is None:
            self._go_on(data)
            return None
        method, target, version, lines = found.groups()
        size = found.end()
        del found  # as long as it lives, a bytearray cannot be cut
        if len(target) > limits.size // 2 or lines.count(b"\n") > limits.lines + 1:
            self._go_on(data)
        if self._walk is not None:
            self._reset()
        return RequestHead(method, target, version, lines, size)

    def _begin(self) -> Walk:
        return RequestWalk(self._limits)


class ResponseReader(HeadReader):
    """Finds the heads of responses."""

    __slots__ = ()

    def read(self, data: bytes | bytearray) -> ResponseHead | None:
        """Read a head.

        :returns: None while more bytes are needed.
        :raises BadResponse: when no further byte makes it a head.
        """
        found = _match_response(data, 0, self._limits.size) if self._may_be_whole(data) else None
        if found is None:
            self._go_on(data)
            return None
        version, status, reason, lines = found.groups(b"")
        size = found.end()
        del found
        if lines.count(b"\n") > self._limits.lines + 1:
            self._go_on(data)
        if self._walk is not None:
            self._reset()
        return ResponseHead(int(status), reason, version, lines, size)

    def _begin(self) -> Walk:
        return ResponseWalk(self._limits)
