"""Refuses values given in Python that a configuration file would be refused for.

Each names what it is for, so that whoever embeds a part learns of the slip where it was made.
"""

from __future__ import annotations

import math
from typing import TypeGuard

from tcpbalance.errors import SettingError


def above_zero(what: str, seconds: object) -> None:
    """Refuse a time at which everything would end at once, or that no timer can hold.

    :param what: where the value was given, and its name.
    :raises SettingError: for any other value.
    """
    if not (_is_finite(seconds) and seconds > 0):
        raise SettingError(f"{what} must be a finite number of seconds above 0, got {seconds!r}")


def not_negative(what: str, seconds: object) -> None:
    """Refuse a time before now, or that no timer can hold.

    :raises SettingError: for any other value.
    """
    if not (_is_finite(seconds) and seconds >= 0):
        raise SettingError(f"{what} must be a finite number of seconds, 0 or more, got {seconds!r}")


def count(what: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number in a range.

    :param most: the end of the range, None for no end.
    :raises SettingError: for any other value.
    """
    if is_whole(value) and least <= value <= (math.inf if most is None else most):
        return
    in_range = f", {least} or more" if most is None else f" from {least} to {most}"
    raise SettingError(f"{what} must be a whole number{in_range}, got {value!r}")


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number; Python counts True among them."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
