"""Something that happens once, and that several may wait for; and a report of what has happened."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

OnEvent = Callable[[str, Mapping[str, Any]], object]
"""Called with something that operators want to know: a word for what it is, and what JSON takes about it."""


def no_report(kind: str, about: Mapping[str, Any]) -> None:
    """Have an event reported nowhere."""


def failure_of(error: BaseException) -> Failure:
    """Wrap an exception as Twisted wants it."""
    return Failure(error)  # type: ignore[no-untyped-call]  # Twisted's is not annotated


class _Open(enum.Enum):
    YET = enum.auto()


class OneTimeEvent(Generic[T]):
    """Settles once, with a value or a failure; a wait that is cancelled takes nothing from the others.

    Unlike a Deferred it can be waited for again after a cancelled wait, and a failure that no one waits for
    is not logged.
    """

    __slots__ = ("_outcome", "_waiting")

    def __init__(self) -> None:
        self._outcome: T | Failure | _Open = _Open.YET
        self._waiting: list[Deferred[T]] = []

    @property
    def settled(self) -> bool:
        """Whether it has happened."""
        return self._outcome is not _Open.YET

    def settle(self, outcome: T | Failure) -> None:
        """Let it happen; only the first call counts."""
        if self._outcome is not _Open.YET:
            return
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)

    def fail(self, error: BaseException) -> None:
        """Let it fail."""
        self.settle(failure_of(error))

    def wait(self) -> Deferred[T]:
        """Fires when it has happened, at once when that is so already."""
        one: Deferred[T] = Deferred()
        if self._outcome is _Open.YET:
            self._waiting.append(one)
        else:
            one.callback(self._outcome)
        return one
