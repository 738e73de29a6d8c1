"""Turns plain values that Python code gives into the types of the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, Self, TypeVar

from tcpbalance.config.addresses import Address, HostName, IpNetwork, NameServer, Network
from tcpbalance.config.destinations import Destination
from tcpbalance.config.draft import UNREAD
from tcpbalance.config.http_values import (
    CookieName,
    FieldName,
    FieldValue,
    MethodName,
    PagePath,
    StatusRange,
    UpgradeName,
)
from tcpbalance.config.messages import value_text
from tcpbalance.config.names import AlpnName, TlvType
from tcpbalance.config.quantities import Bandwidth, CookieTtl, Duration, Fraction, Hold, Rate, Size
from tcpbalance.config.route_values import HostPattern, PathPattern, RedirectTarget, SentHost
from tcpbalance.config.statuses import StatusSet
from tcpbalance.config.workers import Workers
from tcpbalance.errors import SettingError


class _Parsed(Protocol):
    @classmethod
    def parse(cls, value: object, /) -> Self: ...


K = TypeVar("K", bound=_Parsed)
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


def cookie_ttl(value: float | str) -> CookieTtl:
    """Read a number of seconds, the text of a duration, or ``"session"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, CookieTtl) else CookieTtl.parse(value)


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


def destinations(values: Iterable[Destination | str]) -> tuple[Destination, ...]:
    """Read where tunnels may lead, such as ``"www.example.com:443"``.

    :raises SettingError: for anything else.
    """
    return _each(Destination, values, "destinations")


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


def hosts(values: Iterable[HostPattern | str]) -> tuple[HostPattern, ...]:
    """Read hosts, such as ``"www.example.com"``.

    :raises SettingError: for anything else.
    """
    return _each(HostPattern, values, "hosts")


def sent_host(value: str) -> SentHost:
    """Read ``"client"``, ``"backend"`` or a host.

    :raises SettingError: for anything else.
    """
    return SentHost.parse(value)


def path(value: PathPattern | str) -> PathPattern:
    """Read a path, such as ``"/api"``.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, PathPattern) else PathPattern.parse(value)


def paths(values: Iterable[PathPattern | str]) -> tuple[PathPattern, ...]:
    """Read paths, such as ``"/api/*"``.

    :raises SettingError: for anything else.
    """
    return _each(PathPattern, values, "paths")


def methods(values: Iterable[MethodName | str]) -> tuple[MethodName, ...]:
    """Read methods, such as ``"GET"``.

    :raises SettingError: for anything else.
    """
    return _each(MethodName, values, "methods")


def upgrades(values: Iterable[UpgradeName | str]) -> tuple[UpgradeName, ...]:
    """Read the names of protocols for upgrades.

    :raises SettingError: for anything else.
    """
    return _each(UpgradeName, values, "protocols")


def header_names(values: Iterable[FieldName | str]) -> tuple[FieldName, ...]:
    """Read the names of headers.

    :raises SettingError: for anything else.
    """
    return _each(FieldName, values, "names of headers")


def header_fields(values: Mapping[FieldName | str, FieldValue | str]) -> Mapping[FieldName, FieldValue]:
    """Read the names of headers with their values.

    :raises SettingError: for anything else.
    """
    return _mapping(FieldName, FieldValue, values, "names of headers and values")


def cookie_name(value: CookieName | str) -> CookieName:
    """Read the name of a cookie.

    :raises SettingError: for anything else.
    """
    return CookieName.parse(value)


def redirect_target(value: RedirectTarget | str) -> RedirectTarget:
    """Read where a redirect leads.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, RedirectTarget) else RedirectTarget.parse(value)


def statuses(value: StatusSet | int | str) -> StatusSet:
    """Read a status code, or several.

    :raises SettingError: for anything else.
    """
    return value if value is UNREAD or isinstance(value, StatusSet) else StatusSet.parse(value)


def page(value: PagePath | str) -> PagePath:
    """Read the name of the file of an answer.

    :raises SettingError: for anything else.
    """
    return value if isinstance(value, PagePath) else PagePath.parse(value)


def pages(values: Mapping[StatusRange | str, PagePath | str]) -> Mapping[StatusRange, PagePath]:
    """Read status codes, each with the name of a file.

    :raises SettingError: for anything else.
    """
    return _mapping(StatusRange, PagePath, values, "status codes and files")


def _mapping(keys: type[K], kind: type[V], values: object, things: str) -> Mapping[K, V]:
    if not isinstance(values, Mapping):
        raise SettingError(f"must be a table of {things}, got {value_text(values)}")
    read = zip(_each(keys, list(values), things), _each(kind, list(values.values()), things), strict=True)
    return dict(read)


def _each(kind: type[V], values: object, things: str) -> tuple[V, ...]:
    """Read the elements of a list; what a file has in it that could not be read stays as it is."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SettingError(f"must be a list of {things}, got {value_text(values)}")
    return tuple(
        value if value is UNREAD or isinstance(value, kind) else kind.parse(value) for value in values
    )
