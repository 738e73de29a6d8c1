"""Heads of requests and responses: matched once, and taken to pieces (RFC 9112, sections 2 to 5).

A head is matched by one expression without any backtracking, once it has come whole; ``head_reader`` finds
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tcpbalance.wire.http.grammar import FIELD_BYTE, FIELD_LINE, TARGET_BYTE, TOKEN_BYTE, is_token, members

Special = dict[bytes, list[bytes]]
"""Values of the fields that a proxy acts on, by their names in lower case."""

Options = frozenset[bytes]
"""What Connection lists, in lower case."""

NO_OPTIONS: Final[Options] = frozenset()
KEEP_ALIVE: Final[Options] = frozenset((b"keep-alive",))
"""The options of most heads that have any: one of its kind, where the field has nothing else."""

_USUAL_OPTIONS: dict[bytes, Options] = {b"keep-alive": KEEP_ALIVE, b"Keep-Alive": KEEP_ALIVE}
for _text in (b"close", b"upgrade"):
    _USUAL_OPTIONS[_text] = _USUAL_OPTIONS[_text.capitalize()] = frozenset((_text,))

_LINES = rb"(\r\n(?:" + FIELD_LINE + rb")*+)\r\n"

match_request = re.compile(
    rb"(?:\r\n)?+(" + TOKEN_BYTE + rb"++) (" + TARGET_BYTE + rb"++) HTTP/(1\.[01])" + _LINES
).match

_match_head_method = re.compile(rb"(?:\r\n)?+HEAD ").match

match_response = re.compile(
    rb"HTTP/(1\.[01]) ([1-5][0-9][0-9])(?: (" + FIELD_BYTE + rb"*+))?+" + _LINES
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

OF_REQUESTS: Final = (
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
"""Expressions for the names of the fields that a proxy acts on, in lower case."""

OF_RESPONSES: Final = (*_FRAMING, *_CONNECTION)

split_request = _splitter(OF_REQUESTS).split
split_response = _splitter(OF_RESPONSES).split


class Head:
    """What a request and a response have both. It is not changed.

    :ivar version: ``b"1.1"`` or ``b"1.0"``.
    :ivar size: bytes up to the body.
    :ivar special: the fields that a proxy acts on.
    :ivar options: what Connection lists, without what is no token.
    :ivar rest: the lines of all others, as they came; they begin and end with CR LF.
    """

    special: Special
    options: Options

    __slots__ = ("_fields", "_lines", "options", "rest", "size", "special", "version")

    def __init__(self, version: bytes, lines: bytes, pieces: list[bytes], size: int) -> None:
        self.version = version
        self.size = size
        self._lines = lines
        self._fields: list[tuple[bytes, bytes, bytes]] | None = None
        # Most heads have one or two such fields, and every head passes here.
        if len(pieces) == 4:
            before, name, value, behind = pieces
            self.special = special = {name.lower(): [value.rstrip(b" \t")]}
            self.rest = before + behind
        elif len(pieces) == 7 and pieces[1].lower() != pieces[4].lower():
            before, name, value, between, second, of_second, behind = pieces
            self.special = special = {
                name.lower(): [value.rstrip(b" \t")],
                second.lower(): [of_second.rstrip(b" \t")],
            }
            self.rest = b"".join((before, between, behind))
        else:
            self.special = special = {}
            for name, value in zip(pieces[1::3], pieces[2::3], strict=True):
                lower = name.lower()
                if lower in special:
                    special[lower].append(value.rstrip(b" \t"))
                else:
                    special[lower] = [value.rstrip(b" \t")]
            self.rest = b"".join(pieces[::3])
        self.options = _options(special[b"connection"]) if b"connection" in special else NO_OPTIONS

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


def _options(values: list[bytes]) -> Options:
    usual = _USUAL_OPTIONS.get(values[0]) if len(values) == 1 else None
    if usual is not None:
        return usual
    options = frozenset(option.lower() for option in members(values) if is_token(option))
    return KEEP_ALIVE if options == KEEP_ALIVE else options


class RequestHead(Head):
    """The head of a request whose grammar is valid."""

    __slots__ = ("method", "target")

    method: bytes
    target: bytes


class ResponseHead(Head):
    """The head of a response whose grammar is valid."""

    __slots__ = ("reason", "status")

    status: int
    reason: bytes


def has_head_method(data: bytes | bytearray) -> bool:
    """Whether the method of a request is HEAD, also where no more of it can be read."""
    return _match_head_method(data) is not None
