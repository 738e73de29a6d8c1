"""Clients that come all the time, each on a connection of its own, and keep what went wrong."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from support.clients import ask
from support.waiting import until

QUESTION = b"how are you?"

PAUSE = 0.002
"""Seconds between two visits of a thread: they are not to take the processor from what they watch."""


class Visitors:
    """Threads that connect to a server that echoes, one time after the other, from `with` to its end.

    :param port: the server's.
    :param count: how many at once.
    :ivar visits: those that were served, to the last byte.
    :ivar failures: why the others were not.
    """

    def __init__(self, port: int, count: int = 4) -> None:
        self._port = port
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(count)]
        self.visits = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._ends.wait(PAUSE):
            try:
                answer = ask(self._port, QUESTION)
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
