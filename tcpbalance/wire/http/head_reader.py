"""Finds the heads that follow one another on a connection (RFC 9112, sections 2 to 5).

Most are read by one expression (``usual_head``). Of one that has not come whole, the end is looked for from
where the last look ended, and a walk of ``diagnose`` refuses what can never become a head.
"""

from __future__ import annotations

from tcpbalance.wire.http.diagnose import HeadLimits, RequestWalk, ResponseWalk, Walk
from tcpbalance.wire.http.head import (
    RequestHead,
    ResponseHead,
    match_request,
    match_response,
    split_request,
    split_response,
)
from tcpbalance.wire.http.usual_head import usual_request, usual_response


class HeadReader:
    """Finds the heads that follow one another on a connection.

    It keeps no bytes: each call gets all of them, from the beginning of a head on.
    """

    __slots__ = ("_limits", "_looked", "_walk")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._looked = 0
        self._walk: Walk | None = None

    def _ends_in(self, data: bytes | bytearray) -> bool:
        """Whether the end of a head has come since the last look."""
        return data.find(b"\r\n\r\n", self._looked, self._limits.size) >= 0

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
        if not self._looked and data.startswith(b"GET "):
            usual = usual_request(data, limits)
            if usual is not None:
                return usual
        found = None if self._looked and not self._ends_in(data) else match_request(data, 0, limits.size)
        if found is None:
            self._go_on(data)
            return None
        method, target, version, lines = found.groups()
        size = found.end()
        if len(target) > limits.target or lines.count(b"\n") > limits.ends:
            del found  # as long as it lives, a bytearray cannot be cut
            self._go_on(data)
        if self._walk is not None:
            self._reset()
        head = RequestHead(version, lines, split_request(lines), size)
        head.method, head.target = method, target
        return head

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
        limits = self._limits
        if not self._looked:
            usual = usual_response(data, limits)
            if usual is not None:
                return usual
        found = None if self._looked and not self._ends_in(data) else match_response(data, 0, limits.size)
        if found is None:
            self._go_on(data)
            return None
        version, status, reason, lines = found.groups(b"")
        size = found.end()
        if lines.count(b"\n") > limits.ends:
            del found
            self._go_on(data)
        if self._walk is not None:
            self._reset()
        head = ResponseHead(version, lines, split_response(lines), size)
        head.status, head.reason = int(status), reason
        return head

    def _begin(self) -> Walk:
        return ResponseWalk(self._limits)
