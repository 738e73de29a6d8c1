"""Turns plain values that Python code gives into the types of the models."""

from __future__ import annotations

from collections.abc import Iterable

from tcpbalance.config.addresses import Address, HostName, NameServer, Network
from tcpbalance.config.messages import shown
from tcpbalance.config.names import AlpnName
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction, Hold, Rate, Size
from tcpbalance.errors import SettingError


def duration(value: float | str) -> Duration:
    """Read a number of seconds, or the text of a duration.

    :raises SettingError: for anything else.
    """
    return Duration.parse(value)


def hold(value: float | str) -> Hold:
    """Read a number of seconds, the text of a duration, or ``"forever"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Hold) else Hold.parse(value)


def size(value: int | str) -> Size:
    """Read a number of bytes, or the text of a size.

    :raises SettingError: for anything else.
    """
    return Size.parse(value)


def bandwidth(value: int | str) -> Bandwidth:
    """Read a number of bytes a second, or the text of a bandwidth.

    :raises SettingError: for anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return Bandwidth(value)
    return Bandwidth.parse(value)


def fraction(value: float | str) -> Fraction:
    """Read a part of a whole, 0.9, or the text of a percentage.

    :raises SettingError: for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Fraction(value)
    return Fraction.parse(value)


def rate(value: Rate | float | str) -> Rate:
    """Read a number of events a second, or the text of a rate.

    :raises SettingError: for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Rate(value)
    return value if isinstance(value, Rate) else Rate.parse(value)


def address(value: Address | str) -> Address:
    """Read an address, such as ``"10.0.0.11:80"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, Address) else Address.parse(value)


def host(value: str) -> HostName:
    """Read a host name or IP address.

    :raises SettingError: for anything else.
    """
    return HostName.parse(value)


def networks(values: Iterable[Network | str]) -> tuple[Network, ...]:
    """Read networks, such as ``"10.0.0.0/8"``.

    :raises SettingError: for anything else.
    """
    if isinstance(values, str):
        raise SettingError(f"must be a list of networks, got {shown(values)}")
    return tuple(value if isinstance(value, Network) else Network.parse(value) for value in values)


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
