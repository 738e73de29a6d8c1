"""Refuses values given in Python that a configuration file would be refused for.

Each names what it is for, so that whoever embeds a part learns of the slip where it was made.
"""

from __future__ import annotations

import math
from typing import cast

from tcpbalance.errors import SettingError


def above_zero(what: str, seconds: float) -> None:
    """Refuse a time at which everything would end at once, or that no timer can hold.

    :param what: where the value was given, and its name.
    :raises SettingError: for any other value.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise SettingError(f"{what} must be a finite number of seconds above 0, got {seconds}")


def not_negative(what: str, seconds: float) -> None:
    """Refuse a time before now, or that no timer can hold.

    :raises SettingError: for any other value.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise SettingError(f"{what} must be a finite number of seconds, 0 or more, got {seconds}")


def count(what: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number in a range.

    :param most: the end of the range, None for no end.
    :raises SettingError: for any other value.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and least <= cast(int, value) <= (math.inf if most is None else most):
        return
    in_range = f", {least} or more" if most is None else f" from {least} to {most}"
    raise SettingError(f"{what} must be a whole number{in_range}, got {value!r}")
