"""Files that are read or written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Self

from tcpbalance.config.wording import shown


class FilePath(str):
    """A file to be read."""

    __slots__ = ()
    words: ClassVar[str] = "file name"
    wanted: ClassVar[str] = "the name of a file"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a file name.

        :raises ValueError: for anything but a string, an empty one, or one with a NUL.
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"must be {cls.wanted}, got {shown(value)}")
        return cls(value)

    def under(self, folder: Path) -> Self:
        """Take a relative name as one in this folder."""
        return type(self)(folder / self)


class LogPath(FilePath):
    """Where lines are written to: a file, or ``"-"`` for standard output."""

    __slots__ = ()
    wanted: ClassVar[str] = 'the name of a file or "-" for standard output'

    def under(self, folder: Path) -> Self:
        """Take a relative name as one in this folder."""
        return self if self == "-" else super().under(folder)


def straight(path: str) -> str:
    """Give the one spelling of an absolute path, so that no listener takes another's file."""
    # POSIX leaves it to the system what two slashes at the front mean; to Linux and the BSDs it is one.
    return "/" + os.path.normpath(path).lstrip("/")
