"""Sets of HTTP status codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError

MIN_STATUS, MAX_STATUS = 200, 599
_PART = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")


@frozen
class StatusSet:
    """A set of status codes, as ranges; its text is what the operator writes.

    :ivar ranges: first and last code of each.
    """

    words: ClassVar[str] = "status codes"

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, value: object) -> StatusSet:
        """Read ``"200"``, ``"200-399"``, ``"200,204,300-302"``, or a number.

        :raises SettingError: for anything else, with what it has to be.
        """
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise SettingError(_must_be(value))
        return cls(tuple(_ranges(str(value))))

    def __contains__(self, code: int) -> bool:
        return any(first <= code <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not MIN_STATUS <= first <= last <= MAX_STATUS:
            raise SettingError(_must_be(text))
        yield first, last


def _must_be(value: object) -> str:
    forms = '"200", "200-399" or "200,204,300-302"'
    return f"must be status codes from {MIN_STATUS} to {MAX_STATUS} such as {forms}, got {value_text(value)}"
