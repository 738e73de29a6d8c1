"""How amounts, rates and times read in tables."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

_PARTS_OF_TIME = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def bytes_text(count: float) -> str:
    """Word a number of bytes with three digits: ``"1.23 MiB"``."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{_three_digits(count)} {unit}"


def _three_digits(count: float) -> str:
    decimals = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{decimals}f}"


def rate_text(rate: float | None) -> str:
    """Word how often something happens a second."""
    if rate is None:
        return "-"
    return "0" if rate == 0 else _three_digits(rate)


def byte_rate_text(rate: float | None) -> str:
    """Word a number of bytes a second; the title of the column says so."""
    return "-" if rate is None else bytes_text(rate)


def time_text(seconds: float) -> str:
    """Word a time with its two largest parts: ``"3 d 4 h"``."""
    left = int(max(seconds, 0))
    parts: list[str] = []
    for size, unit in _PARTS_OF_TIME:
        count, left = divmod(left, size)
        if count or (parts and unit != "s"):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"
