"""Clients that come all the time, each on a connection of its own, and keep what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from support.clients import ask
from support.coming_again import ComingAgain
from support.waiting import until

QUESTION = b"how are you?"

PAUSE = 0.002
"""Seconds between two visits of a thread: they are not to take the processor from what they watch."""


class Visitors(ComingAgain):
    """Threads that connect to a server that echoes, one time after the other, from `with` to its end.

    :param port: the server's.
    :param count: how many at once.
    :param sources: their addresses, which they have by turns; any address by default.
    :ivar visits: those that were served, to the last byte.
    :ivar failures: why the others were not.
    """

    def __init__(self, port: int, count: int = 4, sources: Sequence[str | None] = (None,)) -> None:
        super().__init__(partial(self._visit, sources[number % len(sources)]) for number in range(count))
        self._port = port
        self.visits = 0
        self.failures: list[str] = []

    def _visit(self, source: str | None) -> None:
        while not self._ends.wait(PAUSE):
            try:
                answer = ask(self._port, QUESTION, source)
            except OSError as error:
                answer, failure = b"", repr(error)
            else:
                failure = "" if answer == QUESTION else f"cut short: {answer!r}"
            with self._lock:
                if failure:
                    self.failures.append(failure)
                else:
                    self.visits += 1

    def see(self, further: int) -> None:
        """Wait until so many more have been served."""
        wanted = self.visits + further
        until(lambda: self.visits >= wanted, lambda: f"{wanted} visits: {self.visits}, {self.failures[:3]}")
