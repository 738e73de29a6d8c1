"""Turns plain values that Python code gives into the types of the models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from tcpbalance.config.addresses import Address, HostName, IpNetwork, NameServer, Network
from tcpbalance.config.draft import UNREAD
from tcpbalance.config.messages import value_text
from tcpbalance.config.names import AlpnName, TlvType
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction, Hold, Rate, Size
from tcpbalance.config.workers import Workers
from tcpbalance.errors import SettingError


class _Parsed(Protocol):
    @classmethod
    def parse(cls, value: object, /) -> Self: ...


V = TypeVar("V", bound=_Parsed)


def duration(value: float | str) -> Duration:
    """Read a number of seconds, or the text of a duration.

    :raises SettingError: for anything else.
    """
    return Duration.parse(value)


def workers(value: int | str) -> Workers:
    """Read a number of processes, or ``"auto"``.

    :raises SettingError: for anything else.
    """
    return Workers.parse(value)


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


def addresses(values: Iterable[Address | str] | Address | str) -> tuple[Address, ...]:
    """Read one address or several, such as ``"10.0.0.11:80"``.

    :raises SettingError: for anything else.
    """
    return _each(Address, (values,) if isinstance(values, Address | str) else values, "addresses")


def networks(values: Iterable[Network | IpNetwork | str]) -> tuple[Network, ...]:
    """Read networks, such as ``"10.0.0.0/8"``.

    :raises SettingError: for anything else.
    """
    return _each(Network, values, "networks")


def name_servers(values: Iterable[NameServer | str]) -> tuple[NameServer, ...]:
    """Read the addresses of name servers, such as ``"10.0.0.2"``.

    :raises SettingError: for anything else.
    """
    return _each(NameServer, values, "name servers")


def protocols(values: Iterable[AlpnName | str]) -> tuple[AlpnName, ...]:
    """Read the names of protocols for ALPN.

    :raises SettingError: for anything else.
    """
    return _each(AlpnName, values, "names of protocols")


def tlv_types(values: Iterable[TlvType | int | str]) -> tuple[TlvType, ...]:
    """Read the types of TLVs, such as ``"alpn"`` or 224.

    :raises SettingError: for anything else.
    """
    return _each(TlvType, values, "names or numbers of TLVs")


def _each(kind: type[V], values: object, things: str) -> tuple[V, ...]:
    """Read the elements of a list; what a file has in it that could not be read stays as it is."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SettingError(f"must be a list of {things}, got {value_text(values)}")
    return tuple(
        value if value is UNREAD or isinstance(value, kind) else kind.parse(value) for value in values
    )
