"""What is wrong with bytes that are no head, or can never become one (RFC 9112, sections 2 to 5).

1. A walk goes over the bytes of a head once, whatever pieces they come in: each call goes on where the last
   one ended.
2. The first byte that cannot belong to a head ends the walk. So the verdict is the same wherever the bytes
   are cut, and no beginning of a valid head is refused.
3. What a walk accepts is what the expressions of ``head`` match; those are quicker, but say nothing of what
   is wrong.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from tcpbalance.wire.http.errors import BadMessage, BadRequest, BadResponse, Cause
from tcpbalance.wire.http.grammar import FIELD_BYTE, FIELD_LINE, TARGET_BYTE, TOKEN_BYTE

MAX_HEAD_SIZE: Final = 32 * 1024
"""Bytes: a few cookies and tokens of 8 KiB have space in it."""

MAX_HEAD_LINES: Final = 100


@frozen
class HeadLimits:
    """How much a head may be.

    :ivar size: bytes, with its end.
    :ivar lines: fields.
    :ivar target: bytes of the target.
    :ivar ends: of lines, of the first one too.
    """

    size: int = MAX_HEAD_SIZE
    lines: int = MAX_HEAD_LINES
    target: int = field(init=False)
    ends: int = field(init=False)

    @target.default
    def _half_of_size(self) -> int:
        return self.size // 2

    @ends.default
    def _with_first_line(self) -> int:
        return self.lines + 1


@frozen
class _State:
    """A place in a head: the bytes that may go on there, and those that lead elsewhere.

    :ivar wanted: what stands there, for the message.
    """

    wanted: str
    goes_on: re.Pattern[bytes]
    leads_to: dict[int, str] = field(factory=dict)


def _state(wanted: str, goes_on: bytes = b"", **leads_to: bytes) -> _State:
    """Make a state.

    :param goes_on: an expression for a byte, or for more.
    :param leads_to: names of states, each with an expression for the byte that leads there.
    """
    places = {
        byte: name
        for name, expression in leads_to.items()
        for byte in range(256)
        if re.fullmatch(expression, bytes((byte,)))
    }
    return _State(wanted, re.compile(b"(?:%b)*+" % goes_on if goes_on else b""), places)


_END = "end"

FIELD_STATES = {
    "line_end": _state("a line ends with CR LF", line=rb"\n"),
    # Whole lines are passed at once; what is left is a part of one.
    "line": _state("a line begins with the name of a field", FIELD_LINE, name=TOKEN_BYTE, head_end=rb"\r"),
    "name": _state("the name of a field is a token with a colon behind it", TOKEN_BYTE, value=b":"),
    "value": _state(
        "the value of a field has no control bytes, and its line ends with CR LF", FIELD_BYTE, line_end=rb"\r"
    ),
    "head_end": _state("a head ends with CR LF", **{_END: rb"\n"}),
}
"""From the end of the first line to the end of the head; of a trailer section, from ``line`` on."""


def _literal(text: bytes, wanted: str, prefix: str, following: str) -> dict[str, _State]:
    """Give the states for a text, one a byte."""
    names = [f"{prefix}{place}" for place in range(len(text))] + [following]
    return {
        name: _state(wanted, **{names[place + 1]: re.escape(text[place : place + 1])})
        for place, name in enumerate(names[:-1])
    }


_VERSION = "the version is HTTP/1.1 or HTTP/1.0"

_REQUEST_STATES = {
    # One empty line before it is ignored: RFC 9112, section 2.2.
    "start": _state("a request begins with its method", method=TOKEN_BYTE, blank=rb"\r"),
    "blank": _state("a line ends with CR LF", first=rb"\n"),
    "first": _state("a request begins with its method", method=TOKEN_BYTE),
    "method": _state("the method is a token with one space behind it", TOKEN_BYTE, before_target=b" "),
    "before_target": _state("one space stands before the target", target=TARGET_BYTE),
    "target": _state(
        "the target is visible ASCII, with one space and the version behind it", TARGET_BYTE, version0=b" "
    ),
    **_literal(b"HTTP/1.", _VERSION, "version", "minor"),
    "minor": _state(_VERSION, after_version=b"[01]"),
    "after_version": _state("the first line ends behind the version with CR LF", line_end=rb"\r"),
    **FIELD_STATES,
}

_RESPONSE_STATES = {
    **_literal(b"HTTP/1.", _VERSION, "version", "minor"),
    "minor": _state(_VERSION, after_version=b"[01]"),
    "after_version": _state("one space stands before the status", status0=b" "),
    "status0": _state("the status is a number from 100 to 599", status1=b"[1-5]"),
    "status1": _state("the status is a number of three digits", status2=b"[0-9]"),
    "status2": _state("the status is a number of three digits", after_status=b"[0-9]"),
    # Some servers leave the space out when no reason follows.
    "after_status": _state(
        "a space or the end of the line stands behind the status", reason=b" ", line_end=rb"\r"
    ),
    "reason": _state(
        "the reason has no control bytes, and its line ends with CR LF", FIELD_BYTE, line_end=rb"\r"
    ),
    **FIELD_STATES,
}


class Walk:
    """Goes over the bytes of a head, or of a part of one, as they come.

    :ivar at: how far it has come.
    :ivar steps: how much work it has done.
    """

    __slots__ = ("_limits", "_lines", "_mark", "_name", "_states", "at", "steps")

    def __init__(self, states: dict[str, _State], first: str, limits: HeadLimits) -> None:
        self._states = states
        self._name = first
        self._limits = limits
        self._mark = 0
        self._lines = 0
        self.at = 0
        self.steps = 0

    def walk(self, data: bytes | bytearray) -> bool:
        """Go on.

        :param data: all bytes from the first one on, with what has come since the last call.
        :returns: whether the end is reached, which is at ``at``.
        :raises BadMessage: when no further byte makes it one.
        """
        size = self._limits.size
        stop = min(len(data), size)
        while self.at < stop:
            self._step(data, stop)
            if self._name == _END:
                return True
        if stop == size:
            raise self._too_large(f"the head does not end within {size} bytes")
        return False

    def _step(self, data: bytes | bytearray, stop: int) -> None:
        self.steps += 1
        state = self._states[self._name]
        at = run_end(state.goes_on, data, self.at, stop)
        if self._name == "line":
            self._count_lines(data.count(b"\n", self.at, at))
        self._check_run(at - self._mark)
        if at < stop:
            following = state.leads_to.get(data[at])
            if following is None:
                raise self._wrong(data[at], at, state.wanted)
            at += 1
            self._enter(following, at)
        self.at = at

    def _enter(self, name: str, at: int) -> None:
        if name == "name":
            self._count_lines(1)
        self._name = name
        self._mark = at

    def _count_lines(self, count: int) -> None:
        self._lines += count
        if self._lines > self._limits.lines:
            raise self._too_large(f"there are more than {self._limits.lines} fields")

    def _check_run(self, length: int) -> None:
        """Look at how many bytes stand in one place so far."""

    def _too_large(self, message: str) -> BadMessage:
        raise NotImplementedError

    def _wrong(self, byte: int, at: int, wanted: str) -> BadMessage:
        raise NotImplementedError


def found_instead(byte: int, at: int, wanted: str) -> str:
    """Say what stands where something else is wanted."""
    return f"{wanted}; byte {at} is {bytes((byte,))!r}"


def run_end(pattern: re.Pattern[bytes], data: bytes | bytearray, at: int, stop: int) -> int:
    """Find where a run of bytes ends.

    The match is gone before an error is raised: as long as it lives, a bytearray cannot be cut.

    :param pattern: one that can be empty.
    """
    found = pattern.match(data, at, stop)
    return at if found is None else found.end()


class RequestWalk(Walk):
    """Goes over the head of a request."""

    __slots__ = ()

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(_REQUEST_STATES, "start", limits)

    def _check_run(self, length: int) -> None:
        # The first byte of the target stands before the mark.
        if self._name == "target" and length >= self._limits.size // 2:
            raise BadRequest(
                414, Cause.TARGET_TOO_LONG, f"the target takes more than {self._limits.size // 2} bytes"
            )

    def _too_large(self, message: str) -> BadMessage:
        return BadRequest(431, Cause.HEAD_TOO_LARGE, message)

    def _wrong(self, byte: int, at: int, wanted: str) -> BadMessage:
        if at == 0 and byte == 0x16:  # a handshake record: RFC 8446, section 5.1
            return BadRequest(400, Cause.TLS_ON_PLAIN, "a TLS client came to a port for plain HTTP")
        if self._name == "version5" and byte in b"23456789":
            return BadRequest(505, Cause.VERSION, f"{_VERSION}, got HTTP/{byte - 0x30}")
        return BadRequest(400, Cause.BAD_HEAD, found_instead(byte, at, wanted))


class ResponseWalk(Walk):
    """Goes over the head of a response."""

    __slots__ = ()

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(_RESPONSE_STATES, "version0", limits)

    def _too_large(self, message: str) -> BadMessage:
        return BadResponse(message)

    def _wrong(self, byte: int, at: int, wanted: str) -> BadMessage:
        return BadResponse(found_instead(byte, at, wanted))
