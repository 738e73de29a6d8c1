"""A program and its arguments, as the operator writes them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError

EXAMPLE = '["/usr/local/bin/check", "{host}", "{port}"]'


class Argv(tuple[str, ...]):
    """A program and its arguments; a program with a slash in it is a path, others are sought in `PATH`."""

    __slots__ = ()
    words: ClassVar[str] = "list of strings"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a list of strings.

        :raises SettingError: for anything else, an empty list, no program, or a NUL.
        """
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
            raise SettingError(f"must be a list of strings, got {value_text(value)}")
        if not value or not value[0]:
            raise SettingError(f"must begin with a program, such as {EXAMPLE}")
        if any("\0" in part for part in value):
            raise SettingError("must not contain NUL")
        return cls(value)

    def under(self, folder: Path) -> Self:
        """Take a relative path of the program as one in this folder."""
        return type(self)((str(folder / self[0]), *self[1:])) if "/" in self[0] else self
