"""Turns plain values that Python code gives into the types of the models."""

from __future__ import annotations

from collections.abc import Iterable

from tcpbalance.config.addresses import Address, HostName, NameServer
from tcpbalance.config.names import AlpnName
from tcpbalance.config.quantities import Duration, Fraction, Hold, Size


def duration(value: float | str) -> Duration:
    """Read a number of seconds, or the text of a duration.

    :raises SettingError: for anything else.
    """
    return Duration.parse(value)


def optional_duration(value: float | str | None) -> Duration | None:
    """Read a duration, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else duration(value)


def hold(value: float | str) -> Hold:
    """Read a number of seconds, the text of a duration, or ``"forever"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Hold) else Hold.parse(value)


def optional_size(value: int | str | None) -> Size | None:
    """Read a number of bytes, or the text of a size, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else Size.parse(value)


def optional_fraction(value: float | str | None) -> Fraction | None:
    """Read a part of a whole, 0.9 or the text of a percentage, where one is given.

    :raises SettingError: for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Fraction(value)
    return None if value is None else Fraction.parse(value)


def address(value: Address | str) -> Address:
    """Read an address, such as ``"10.0.0.11:80"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Address) else Address.parse(value)


def optional_host(value: str | None) -> HostName | None:
    """Read a host name or IP address, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else HostName.parse(value)


def name_servers(values: Iterable[NameServer | str]) -> tuple[NameServer, ...]:
    """Read the addresses of name servers, such as ``"10.0.0.2"``.

    :raises SettingError: for anything else.
    """
    return tuple(value if isinstance(value, NameServer) else NameServer.parse(value) for value in values)


def protocols(values: Iterable[str]) -> tuple[AlpnName, ...]:
    """Read the names of protocols for ALPN.

    :raises SettingError: for anything else.
    """
    return tuple(AlpnName.parse(value) for value in values)
