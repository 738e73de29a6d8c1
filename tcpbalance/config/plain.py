"""Turns plain values that Python code gives into the types of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tcpbalance.config.addresses import Address, HostName, NameServer
from tcpbalance.config.names import AlpnName
from tcpbalance.config.quantities import Duration, Hold, Size
from tcpbalance.errors import SettingError

T = TypeVar("T")


def duration(value: float | str) -> Duration:
    """Read a number of seconds, or the text of a duration.

    :raises SettingError: for anything else.
    """
    return _parsed(Duration.parse, value)


def optional_duration(value: float | str | None) -> Duration | None:
    """Read a duration, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else duration(value)


def hold(value: float | str) -> Hold:
    """Read a number of seconds, the text of a duration, or ``"forever"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Hold) else _parsed(Hold.parse, value)


def optional_size(value: int | str | None) -> Size | None:
    """Read a number of bytes, or the text of a size, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else _parsed(Size.parse, value)


def address(value: Address | str) -> Address:
    """Read an address, such as ``"10.0.0.11:80"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Address) else _parsed(Address.parse, value)


def optional_host(value: str | None) -> HostName | None:
    """Read a host name or IP address, where one is given.

    :raises SettingError: for anything else.
    """
    return None if value is None else _parsed(HostName.parse, value)


def name_servers(values: Iterable[NameServer | str]) -> tuple[NameServer, ...]:
    """Read the addresses of name servers, such as ``"10.0.0.2"``.

    :raises SettingError: for anything else.
    """
    return tuple(
        value if isinstance(value, NameServer) else _parsed(NameServer.parse, value) for value in values
    )


def protocols(values: Iterable[str]) -> tuple[AlpnName, ...]:
    """Read the names of protocols for ALPN.

    :raises SettingError: for anything else.
    """
    return tuple(_parsed(AlpnName.parse, value) for value in values)


def _parsed(parse: Callable[[object], T], value: object) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise SettingError(str(error)) from error
