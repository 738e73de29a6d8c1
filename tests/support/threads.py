"""Threads for tests, whose work is done when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred


class Threads:
    """See ``threads.InThread``."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((work, done))
        return done

    def run(self) -> None:
        """Let all of them end, one after the other."""
        while self.work:
            work, done = self.work.pop(0)
            done.callback(work())
