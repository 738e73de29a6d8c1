"""Looks for bytes in what a backend says, within a bound."""

from __future__ import annotations

from tcpbalance.config.messages import MAX_QUOTED, quoted
from tcpbalance.event import OneTimeEvent
from tcpbalance.health.probes.base import ProbeFailed

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer that are looked at: what a check waits for stands at its beginning."""


class Search:
    """Finds bytes in a stream, also across the edges of its pieces.

    :param wanted: what to look for, not empty.
    :ivar verdict: they have been found; fails with `ProbeFailed` when they cannot be any more.
    """

    __slots__ = ("_seen", "_wanted", "verdict")

    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted
        self._seen = bytearray()
        self.verdict: OneTimeEvent[None] = OneTimeEvent()

    @property
    def began(self) -> bool:
        """Whether there has been anything at all."""
        return bool(self._seen)

    def feed(self, data: bytes) -> None:
        """Go on with the next piece; what lies beyond the limit is not looked at."""
        if self.verdict.settled:
            return
        start = max(0, len(self._seen) - len(self._wanted) + 1)
        self._seen += data[: ANSWER_LIMIT - len(self._seen)]
        if self._seen.find(self._wanted, start) >= 0:
            self.verdict.settle(None)
        elif len(self._seen) == ANSWER_LIMIT:
            self._miss(f"the first {ANSWER_LIMIT // 1024} KiB")

    def end(self) -> None:
        """There is no more."""
        self._miss("the answer")

    def missing_within(self, seconds: float) -> str:
        """Say what has not come in that time, and how that began which has."""
        return self._missing(f"within {seconds:g} s")

    def _miss(self, where: str) -> None:
        self.verdict.fail(ProbeFailed(self._missing(f"in {where}")))

    def _missing(self, where: str) -> str:
        got = _text(self._seen[: 4 * MAX_QUOTED].rstrip()) if self._seen else "nothing"
        return f"no {_text(self._wanted)} {where}, got {got}"


def _text(data: bytes | bytearray) -> str:
    return quoted(data.decode(errors="replace"))
