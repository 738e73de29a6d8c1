"""As much of a reactor as what watches sockets by itself needs; a turn is made by hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock


class Watcher(Clock):
    """Readers, writers and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def turn(self) -> None:
        for writer in list(self.writers):
            writer.doWrite()
        for reader in list(self.readers):
            reader.doRead()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is watched and nothing is to be called."""
        return not (self.readers or self.writers or self.getDelayedCalls())
