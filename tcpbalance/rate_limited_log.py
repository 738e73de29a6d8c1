"""Keeps the log down to one line an interval on what may happen thousands of times a second, and loses no
count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

FAILURES_EVERY = 60.0
"""Seconds between two lines about failures of one kind that may come at any turn, such as exceptions."""

_log = Logger()

Kind = TypeVar("Kind")
Detail = TypeVar("Detail")


class RateLimitedLog(Generic[Kind, Detail]):
    """Writes the first event at once, and what follows within the interval in one line at its end.

    A delayed call is pending only while there is something to write.

    :param write: makes the line, of how many events of each kind it stands for and the detail of the last.
    :param clock: the clock by which the interval is measured; it does not go back.
    :param timer: calls at the end of the interval; without one, what is held back is written with the next
        event after it, or by ``flush``.
    :param interval: seconds between two lines.
    """

    __slots__ = ("_call", "_clock", "_detail", "_held", "_interval", "_next", "_timer", "_write")

    def __init__(
        self,
        write: Callable[[Counter[Kind], Detail], object],
        clock: Callable[[], float],
        timer: IReactorTime | None,
        interval: float = 1.0,
    ) -> None:
        self._write = write
        self._clock = clock
        self._timer = timer
        self._interval = interval
        self._next = float("-inf")
        self._held: Counter[Kind] = Counter()
        self._detail: Detail | None = None
        self._call: IDelayedCall | None = None

    def note(self, kind: Kind, detail: Detail, count: int = 1) -> None:
        """Take note of an event.

        :param detail: anything that the line may mention; only the last one is kept.
        :param count: how many events these are.
        """
        self._held[kind] += count
        self._detail = detail
        self._write_or_wait()

    def flush(self) -> None:
        """Write what is held back now, as at the end of a service."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._held:
            self._write_now()

    def _write_or_wait(self) -> None:
        wait = self._next - self._clock()
        if wait <= 0:
            self._write_now()
        elif self._call is None and self._timer is not None:
            self._call = self._timer.callLater(wait, self._end_of_interval)

    def _end_of_interval(self) -> None:
        self._call = None
        if self._held:
            self._write_or_wait()

    def _write_now(self) -> None:
        held, self._held = self._held, Counter()
        detail, self._detail = self._detail, None
        self._next = self._clock() + self._interval
        # An event that cannot be formatted must not raise in its caller.
        try:
            self._write(held, detail)  # type: ignore[arg-type]  # set by every note
        except Exception:
            _log.failure("a log line could not be written")
