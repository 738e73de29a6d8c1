"""How long, how much and how often: durations, sizes, bandwidths, percentages and rates."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Self

from attrs import frozen

from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError

MAX_DURATION = 10 * 366 * 86400.0
"""Seconds; what is longer than ten years is a slip, and "never" is said by leaving a key out."""

MAX_SIZE = 2**63 - 1
"""Bytes; what the system's own calls can express."""

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+)(KiB|MiB|GiB)")
_BANDWIDTH = re.compile(r"([0-9]{1,19})(B|KiB|MiB|GiB)/s")
_RATE = re.compile(r"([0-9]{1,9})/([smh])")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)%")


class Duration(float):
    """A length of time in seconds; written ``"250ms"``, ``"2s"``, ``"5m"``, ``"1h"``, or as a number."""

    words: ClassVar[str] = "duration"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a duration.

        :raises SettingError: for anything else, a negative number, or more than ten years.
        """
        seconds = _seconds(value)
        if seconds is None or seconds < 0:
            raise SettingError(
                'must be a duration such as "250ms", "2s", "5m", "1h" or a number of seconds, '
                f"got {value_text(value)}"
            )
        if seconds > MAX_DURATION:
            raise SettingError(f"must be a duration of at most ten years, got {value_text(value)}")
        return cls(seconds)

    def __str__(self) -> str:
        for unit, seconds in _SECONDS.items():
            count = round(float(self) / seconds)
            if count * seconds == self and (count or unit == "s"):
                return f"{count}{unit}"
        # Few durations are shown, and hardly one of them is no whole number of milliseconds.
        from decimal import Decimal

        return format(Decimal(float.__repr__(self)), "f") + "s"

    def __repr__(self) -> str:
        return f"Duration({float.__repr__(self)})"


class Hold(Duration):
    """How long to keep something; written as a duration, or ``"forever"``."""

    words: ClassVar[str] = 'duration or `"forever"`'
    endless: ClassVar[str] = "forever"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a duration or ``"forever"``.

        :raises SettingError: for anything else.
        """
        if value == cls.endless:
            return cls(math.inf)
        try:
            return super().parse(value)
        except ValueError as error:
            raise SettingError(str(error).replace("must be", f'must be "{cls.endless}" or', 1)) from None

    def __str__(self) -> str:
        return self.endless if math.isinf(self) else super().__str__()


class CookieTtl(Hold):
    """How long clients keep a cookie; written as a duration, or ``"session"``."""

    words: ClassVar[str] = 'duration or `"session"`'
    endless: ClassVar[str] = "session"

    @property
    def max_age(self) -> int | None:
        """Seconds for ``Max-Age``; None for as long as the session of the client lasts."""
        return None if math.isinf(self) else math.ceil(self)


class Size(int):
    """A number of bytes; written ``"64KiB"``, ``"1MiB"``, ``"1GiB"`` or as a number."""

    words: ClassVar[str] = "size"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a size.

        :raises SettingError: for anything else, a negative number, or more than 63 bits.
        """
        count = _bytes(value)
        if count is None or not 0 <= count <= MAX_SIZE:
            raise SettingError(
                f'must be a size such as "64KiB", "1MiB", "1GiB" or a number of bytes, '
                f"got {value_text(value)}"
            )
        return cls(count)

    def __str__(self) -> str:
        for unit, size in _BYTES.items():
            if self and self % size == 0:
                return f"{self // size}{unit}"
        return int.__repr__(self)

    def __repr__(self) -> str:
        return f"Size({int.__repr__(self)})"


class Bandwidth(int):
    """A number of bytes a second; written ``"10MiB/s"``, ``"500KiB/s"``, ``"1GiB/s"`` or ``"100B/s"``."""

    words: ClassVar[str] = "bandwidth"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a bandwidth.

        :raises SettingError: for anything else, a bare number among it, which does not say by what time; for
            nothing at all, or more than 63 bits.
        """
        match = _BANDWIDTH.fullmatch(value) if isinstance(value, str) else None
        count = int(match[1]) * _BYTES.get(match[2], 1) if match else 0
        if not 0 < count <= MAX_SIZE:
            raise SettingError(
                f'must be a bandwidth such as "10MiB/s", "500KiB/s" or "100B/s", got {value_text(value)}'
            )
        return cls(count)

    def __str__(self) -> str:
        size = str(Size(self))
        return f"{size}B/s" if size.isdecimal() else f"{size}/s"

    def __repr__(self) -> str:
        return f"Bandwidth({int.__repr__(self)})"


class Fraction(float):
    """A part of a whole, 0.0 to 1.0; written ``"50%"``, or 0."""

    words: ClassVar[str] = "percentage"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a percentage; of bare numbers only 0, because 1 might mean 1 % or all.

        :raises SettingError: for anything else or more than 100 %.
        """
        match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
        if match and float(match[1]) <= 100:
            return cls(float(match[1]) / 100)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            return cls(0)
        raise SettingError(f'must be a percentage from "0%" to "100%", got {value_text(value)}')

    def __str__(self) -> str:
        return f"{self * 100:.10g}%"

    def __repr__(self) -> str:
        return f"Fraction({float.__repr__(self)})"


@frozen
class Rate:
    """So many events in so much time; written ``"50/s"``, ``"600/m"`` or ``"1000/h"``.

    :param count: events; with *per*, a finite number a second, above 0.
    :param per: seconds.
    :raises SettingError: for any other numbers.
    """

    words: ClassVar[str] = "rate"

    count: float
    per: float = 1.0

    def __attrs_post_init__(self) -> None:
        if not 0 < self.per < math.inf or not 0 < self.count / self.per < math.inf:
            raise SettingError(f"must be a finite number a second above 0, got {self}")

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.count / self.per

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a rate.

        :raises SettingError: for anything else, or no event at all.
        """
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None or int(match[1]) == 0:
            raise SettingError(f'must be a rate such as "50/s", "600/m" or "1000/h", got {value_text(value)}')
        return cls(int(match[1]), _SECONDS[match[2]])

    def __str__(self) -> str:
        unit = next((name for name, seconds in _SECONDS.items() if seconds == self.per), f"{self.per:g}s")
        return f"{self.count}/{unit}"


def _seconds(value: object) -> float | None:
    """Give the seconds that are meant, or None when the value has no such form."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        return float(match[1]) * _SECONDS[match[2]] if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _bytes(value: object) -> int | None:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        # More digits than a size can have, and Python refuses to read very many.
        return int(match[1]) * _BYTES[match[2]] if match and len(match[1]) < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
