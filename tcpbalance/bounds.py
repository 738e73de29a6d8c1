"""Refuses values given in Python that a configuration file would be refused for.

Each names what it is for, so that whoever embeds a part learns of the slip where it was made.
"""

from __future__ import annotations

import math

from tcpbalance.errors import SettingError


def above_zero(what: str, seconds: float, error: type[SettingError] = SettingError) -> None:
    """Refuse a time at which everything would end at once, or that no timer can hold.

    :param what: where the value was given, and its name.
    :raises SettingError: of the kind asked for.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise error(f"{what} must be a finite number of seconds above 0, got {seconds}")


def not_negative(what: str, seconds: float, error: type[SettingError] = SettingError) -> None:
    """Refuse a time before now, or that no timer can hold.

    :raises SettingError: of the kind asked for.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise error(f"{what} must be a finite number of seconds, 0 or more, got {seconds}")


def count(
    what: str, value: object, least: int, most: int | None = None, error: type[SettingError] = SettingError
) -> None:
    """Refuse what is no whole number in a range.

    :param most: the end of the range, None for no end.
    :raises SettingError: of the kind asked for.
    """
    if isinstance(value, int) and least <= value and (most is None or value <= most):
        return
    in_range = f", {least} or more" if most is None else f" from {least} to {most}"
    raise error(f"{what} must be a whole number{in_range}, got {value!r}")
