"""Clients in threads, which come again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self


class ComingAgain:
    """A thread for each client, from `with` to its end.

    :param runs: what each does until ``_ends`` is set.
    """

    def __init__(self, runs: Iterable[Callable[[], None]]) -> None:
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=run, daemon=True) for run in runs]

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
