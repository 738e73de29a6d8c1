"""Addresses, networks and host names."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import ClassVar, NoReturn, Self

import attrs
from attrs import frozen

from tcpbalance.config.messages import value_text
from tcpbalance.config.paths import straight
from tcpbalance.errors import SettingError
from tcpbalance.wire.server_names import LABEL, MAX_NAME, check_pattern

MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path: ``sun_path`` of unix(7) less the final NUL."""

MAX_PORT = 65535

DNS_PORT = 53

NOT_AN_ENDPOINT = 'must be host:port, such as "0.0.0.0:8080", not an endpoint string'

ENDPOINT_KINDS = frozenset({"tcp", "tcp4", "tcp6", "ssl", "tls", "systemd", "haproxy"})
"""The kinds of server endpoints: ``twisted.internet.endpoints``."""

# What Linux allows as the name of an interface, without what would spoil a log line.
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_PORT = re.compile(r"[0-9]{1,5}")


# Each connection looks for one in a dict.
@frozen(cache_hash=True)
class Address:
    """Where to listen or to connect: a host and a port, or a unix socket.

    :param host: an IPv4 or IPv6 address without brackets, or a host name; None for a unix socket.
    :param port: 0 to 65535; None for a unix socket.
    :param path: the unix socket's file, else None.
    """

    words: ClassVar[str] = "address"

    host: str | None = None
    port: int | None = None
    path: str | None = None
    is_numeric: bool = attrs.field(init=False, eq=False, repr=False)
    """Whether the host is an IP address, so that nothing has to be looked up; every dial asks."""

    @is_numeric.default
    def _find_out(self) -> bool:
        return self.host is not None and _ip(self.host) is not None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read an address.

        :returns: with the host in lower case, an IP address in its shortest form, so that the same are equal.
        :raises SettingError: for anything else, with what is wrong with it.
        """
        if not isinstance(value, str):
            _refuse_address(value, "it must be a string")
        if value.startswith("unix:"):
            return cls(path=_socket_path(value))
        host, port = _split(value)
        return cls(host=_host(host, value), port=_port(port, value))

    def under(self, folder: Path) -> Self:
        """Take a relative path as one in this folder, without detours; any other address stays as it is.

        :raises SettingError: when the whole path is longer than the system allows for a unix socket.
        """
        if self.path is None:
            return self
        path = straight(str(folder / self.path))
        length = len(os.fsencode(path))
        if length > MAX_SOCKET_PATH:
            raise SettingError(
                f"must be the path of a unix socket of at most {MAX_SOCKET_PATH} bytes in all, "
                f"got {length}: {value_text(path)}"
            )
        return attrs.evolve(self, path=path)

    @property
    def is_endpoint(self) -> bool:
        """Whether it was meant as an endpoint string of Twisted's, such as ``"tcp:8080"``."""
        return self.host in ENDPOINT_KINDS

    @property
    def is_name(self) -> bool:
        """Whether the host is a name, which has to be looked up."""
        return self.host is not None and not self.is_numeric

    @property
    def is_fixed(self) -> bool:
        """Whether it is always the same to the system: it is no name, and no link-local address of a zone."""
        return self.path is not None or (self.is_numeric and "%" not in str(self.host))

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.path is not None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Network:
    """A range of IP addresses; written ``"10.0.0.0/8"``, ``"2001:db8::/32"``, or as a single address.

    :param network: the standard library's object.
    """

    words: ClassVar[str] = "network"

    network: IpNetwork

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a network.

        :raises SettingError: for anything else, or bits set behind the prefix.
        """
        exact = _network(value, strict=True)
        if exact is None:
            meant = _network(value, strict=False)
            hint = (
                f": no bit may be set behind the prefix, did you mean {value_text(str(meant))}?"
                if meant
                else ""
            )
            raise SettingError(
                f'must be a network such as "10.0.0.0/8" or "2001:db8::/32", got {value_text(value)}{hint}'
            )
        return cls(exact)

    def __str__(self) -> str:
        return str(self.network)


class HostName(str):
    """A host name or an IP address; written ``"web.internal"``, ``"10.0.0.11"`` or ``"2001:db8::1"``."""

    __slots__ = ()
    words: ClassVar[str] = "host name or IP address"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a name or address.

        :returns: in its one spelling, in lower case.
        :raises SettingError: for anything else.
        """
        name = _name_or_ip(value) if isinstance(value, str) else None
        if name is None:
            raise SettingError(
                f'must be a host name such as "web.internal" or an IP address, got {value_text(value)}'
            )
        return cls(name)


@frozen
class NameServer:
    """A name server; written ``"10.0.0.2"``, ``"10.0.0.2:5353"`` or ``"[2001:db8::53]:53"``.

    :param host: its IP address.
    :param port: 1 to 65535.
    """

    words: ClassVar[str] = "name server"

    host: str
    port: int = DNS_PORT

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a name server.

        :raises SettingError: for anything else.
        """
        host, port = _server_parts(value) if isinstance(value, str) else ("", "")
        address = _ip(host)
        if address is None or not port_of(port):
            raise SettingError(
                'must be the IP address of a name server such as "10.0.0.2", "10.0.0.2:5353" or '
                f'"[2001:db8::53]:53", got {value_text(value)}'
            )
        return cls(str(address), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _refuse_address(value: object, why: str) -> NoReturn:
    raise SettingError(
        'must be an address such as "10.0.0.11:5432", "[2001:db8::1]:443", "db1.internal:5432" or '
        f'"unix:/run/app.sock", got {value_text(value)}: {why}'
    )


def _socket_path(value: str) -> str:
    path = value.removeprefix("unix:")
    if not path or "\0" in path:
        _refuse_address(value, "the path of the socket is missing" if not path else "a path has no NUL")
    return path


def _split(value: str) -> tuple[str, str]:
    """Part host and port; the host keeps its brackets."""
    host, _, port = value.rpartition(":")
    if _ip(value) is not None or value.endswith("]") or ":" not in value:
        hint = ", and an IPv6 address needs brackets" if ":" in value else ""
        _refuse_address(value, "the port is missing" + hint)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        _refuse_address(value, "the host has a colon, as only an IPv6 address in brackets may")
    return host, port


def _host(host: str, value: str) -> str:
    if host.startswith("["):
        ip = _ip(host[1:-1])
        if not isinstance(ip, ipaddress.IPv6Address) or not _ZONE.fullmatch(ip.scope_id or "0"):
            _refuse_address(value, "what is in brackets is not an IPv6 address")
        return str(ip)
    if host in ("", "*"):
        _refuse_address(value, "the host is missing, all addresses are 0.0.0.0 or [::]")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal() and _ip(host) is None:
        _refuse_address(value, "the host is not an IPv4 address")
    if len(host) > MAX_NAME or not all(LABEL.fullmatch(label) for label in labels):
        _refuse_address(value, "the host is neither an IP address nor a host name")
    return host.lower()


def _port(port: str, value: str) -> int:
    number = port_of(port)
    if number is None:
        _refuse_address(value, f"the port must be 1 to {MAX_PORT}")
    return number


def port_of(text: str) -> int | None:
    """Read the number of a port, 0 among them; None for what is none."""
    return int(text) if _PORT.fullmatch(text) and int(text) <= MAX_PORT else None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _server_parts(value: str) -> tuple[str, str]:
    if value.startswith("["):
        host, _, rest = value.removeprefix("[").partition("]")
        colon, port = rest[:1], rest[1:]
        return (host, port) if colon == ":" else (host, "" if rest else str(DNS_PORT))
    if value.count(":") == 1:
        host, _, port = value.partition(":")
        return host, port
    return value, str(DNS_PORT)


def _name_or_ip(value: str) -> str | None:
    """Give the one spelling of what a certificate can be for: no wildcard, and no address with a zone."""
    ip = _ip(value)
    if ip is not None:
        return None if getattr(ip, "scope_id", None) else str(ip)
    try:
        return None if value.startswith("*") else check_pattern(value)
    except ValueError:
        return None


def _network(value: object, *, strict: bool) -> IpNetwork | None:
    # Anything else is left out: the number 1 would be taken for 0.0.0.1.
    try:
        return ipaddress.ip_network(value, strict=strict) if isinstance(value, str | IpNetwork) else None
    except ValueError:
        return None
