"""What is wrong with a deny file."""

from __future__ import annotations

from collections.abc import Iterable

from tcpbalance.errors import SettingError


class DenyFileError(SettingError):
    """A deny file cannot be used, and nothing in it is.

    :ivar mistakes: the first few, each with the file, its line, what is wrong, and what to do.
    """

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(self.mistakes))
