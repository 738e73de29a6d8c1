"""Streams of bytes that are known at each position, so that one that is lost, doubled or moved is found."""

from __future__ import annotations

import struct
from random import Random

from attrs import frozen

_LENGTH = 1_000_003
"""Bytes after which the pattern begins again: a prime, so that no buffer size is a divisor."""

_PATTERN = Random(20).randbytes(_LENGTH) * 2

PIECE = 64 * 1024
"""Bytes that are sent at once, at most."""

_PLAN = struct.Struct("!QQQQd")

PLAN_SIZE = _PLAN.size
"""Bytes of a plan, which a client sends before its stream."""

NEVER = 2**64 - 1
"""A position at which nothing happens."""


@frozen
class Plan:
    """What is to happen in one session.

    :param number: of the session.
    :param up: bytes that the client sends.
    :param down: bytes that the backend sends.
    :param backend_resets_at: the position at which the backend resets the connection; or `NEVER`.
    :param backend_stalls: seconds for which the backend reads nothing, in the middle of the client's stream.
    """

    number: int
    up: int
    down: int
    backend_resets_at: int = NEVER
    backend_stalls: float = 0.0

    def packed(self) -> bytes:
        """Give it as a client sends it."""
        return _PLAN.pack(self.number, self.up, self.down, self.backend_resets_at, self.backend_stalls)

    @classmethod
    def unpacked(cls, data: bytes) -> Plan:
        """Read what a client has sent."""
        return cls(*_PLAN.unpack(data))


class Stream:
    """One direction of a session.

    :param number: of the session.
    :param is_up: whether the client sends it.
    :ivar position: where it is.
    """

    def __init__(self, number: int, is_up: bool) -> None:
        self._offset = (number * 2 + is_up) * 7919
        self.position = 0

    def next(self, size: int) -> bytes:
        """Give the following bytes, `PIECE` at most."""
        start = (self._offset + self.position) % _LENGTH
        size = min(size, PIECE)
        self.position += size
        return _PATTERN[start : start + size]

    def follows(self, data: bytes) -> bool:
        """Take what has come; give whether it is what follows."""
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            if self.next(len(piece)) != piece:
                return False
        return True
