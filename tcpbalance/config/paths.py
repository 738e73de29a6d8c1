"""Files that are read or written."""

from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path
from typing import ClassVar, Self

from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError

_MODE = re.compile(r"0?[0-7]{3}")


class FileMode(int):
    """Permissions of a file; written ``"0660"``, in octal."""

    __slots__ = ()
    words: ClassVar[str] = "mode of a file"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a mode.

        :raises SettingError: for anything but a string of three octal digits, a zero in front or not.
        """
        if not isinstance(value, str) or not _MODE.fullmatch(value):
            raise SettingError(
                f'must be the mode of a file in octal, such as "0660", got {value_text(value)}'
            )
        return cls(int(value, 8))

    def __str__(self) -> str:
        return f"{int(self):04o}"


class UserName(str):
    """A user of this machine, by name."""

    __slots__ = ()
    words: ClassVar[str] = "user"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the name of a user.

        :raises SettingError: for anything but one that the system knows.
        """
        try:
            pwd.getpwnam(value)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError):
            raise SettingError(
                f"must be the name of a user on this machine, got {value_text(value)}"
            ) from None
        return cls(value)


class GroupName(str):
    """A group of this machine, by name."""

    __slots__ = ()
    words: ClassVar[str] = "group"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the name of a group.

        :raises SettingError: for anything but one that the system knows.
        """
        try:
            grp.getgrnam(value)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError):
            raise SettingError(
                f"must be the name of a group on this machine, got {value_text(value)}"
            ) from None
        return cls(value)


class FilePath(str):
    """A file."""

    __slots__ = ()
    words: ClassVar[str] = "file name"
    wanted: ClassVar[str] = "the name of a file"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a file name.

        :raises SettingError: for anything but a string, an empty one, or one with a NUL.
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise SettingError(f"must be {cls.wanted}, got {value_text(value)}")
        return cls(value)

    def at(self, place: str) -> Self:
        """Give the same file where it can be read at another place."""
        return type(self)(place)

    def under(self, folder: Path) -> Self:
        """Take a relative name as one in this folder."""
        return self.at(str(folder / self))


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
