"""A descriptor held back for the moment when the process has no other."""

from __future__ import annotations

import contextlib
import os


class SpareDescriptor:
    """One descriptor, which is given up for a moment when there is no other to accept with."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        self._number: int | None = None

    def reserve(self) -> None:
        """Hold one back, if there is one and none is held already."""
        if self._number is None:
            with contextlib.suppress(OSError):
                self._number = os.open(os.devnull, os.O_RDONLY)

    def release(self) -> bool:
        """Give it up.

        :returns: whether there was one.
        """
        number, self._number = self._number, None
        if number is not None:
            os.close(number)
        return number is not None
