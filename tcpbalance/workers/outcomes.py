"""What the connections of one process to a backend came to since that was last reported."""

from __future__ import annotations

from typing import Any

from attrs import define

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.ejection import Ejections

MAX_SENT_CAUSE = 200
"""Characters of a cause that is sent to another process."""


@define
class Outcomes:
    """Failures and first bytes of a backend in the order in which they came, as far as it matters.

    Of failures in a row, those matter that add to what came before, the longest row, and those that add to
    what comes next.

    :ivar before: failures before the first byte that was the first to come; all failures where none came.
    :ivar longest: failures in a row between two of those.
    :ivar after: failures since the last of those.
    :ivar answered: whether there was any.
    :ivar cause: of the last failure.
    :ivar slow: why the backend is found to be slow; empty where it is not.
    """

    before: int = 0
    longest: int = 0
    after: int = 0
    answered: bool = False
    cause: str = ""
    slow: str = ""

    def failed(self, cause: str) -> None:
        """A connection failed."""
        self.cause = cause[:MAX_SENT_CAUSE]
        if self.answered:
            self.after += 1
        else:
            self.before += 1

    def succeeded(self) -> None:
        """The first byte of a connection came."""
        self.longest = max(self.longest, self.after)
        self.after = 0
        self.answered = True

    def encode(self) -> list[Any]:
        """Give it as a part of a message."""
        return [self.before, self.longest, self.after, self.answered, self.cause, self.slow]

    def report_to(self, ejections: Ejections, backend: Backend) -> None:
        """Have it count where backends are ejected."""
        self._fail(ejections, backend, self.before)
        if self.answered:
            ejections.answered(backend)
            self._fail(ejections, backend, self.longest)
            ejections.answered(backend)
            self._fail(ejections, backend, self.after)
        if self.slow:
            ejections.found_slow(backend, self.slow)

    def _fail(self, ejections: Ejections, backend: Backend, times: int) -> None:
        for _ in range(min(times, ejections.config.consecutive_failures)):
            ejections.failed(backend, self.cause)
