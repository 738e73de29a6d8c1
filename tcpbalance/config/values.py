"""The forms a value can take in the file: durations, sizes, rates, percentages, addresses, networks.

Each type has ``parse``, which takes what TOML gave and raises ValueError with a message that says the mend,
and ``str()``, which gives the form that the operator writes.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, NoReturn, Self

import attrs
from attrs import frozen

from tcpbalance.config.wording import choices, shown
from tcpbalance.wire.server_names import check_pattern
from tcpbalance.wire.tlv import ALPN, AUTHORITY, CRC32C, NETNS, NOOP, SSL, UNIQUE_ID

LONGEST_DURATION = 10 * 366 * 86400.0
"""Seconds; what is longer than ten years is a slip, and "never" is said by leaving a key out."""

LARGEST_SIZE = 2**63 - 1
"""Bytes; what the system's own calls can express."""

LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path: ``sun_path`` of unix(7) less the final NUL."""

HIGHEST_PORT = 65535

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+)(KiB|MiB|GiB)")
_BANDWIDTH = re.compile(r"([0-9]{1,19})(B|KiB|MiB|GiB)/s")
_RATE = re.compile(r"([0-9]{1,9})/([smh])")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)%")
# RFC 1123, section 2.1, and the underscore that service names carry in practice.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What Linux allows as the name of an interface, without what would spoil a log line.
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_PORT = re.compile(r"[0-9]{1,5}")
_PROTOCOL = re.compile(r"[ -~]{1,255}")
_LONGEST_HOST = 253


class Duration(float):
    """A length of time in seconds; written ``"250ms"``, ``"2s"``, ``"5m"``, ``"1h"``, or as a number."""

    words: ClassVar[str] = "duration"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a duration.

        :raises ValueError: for anything else, a negative number, or more than ten years.
        """
        seconds = _seconds(value)
        if seconds is None or seconds < 0:
            raise ValueError(
                'must be a duration such as "250ms", "2s", "5m", "1h" or a number of seconds, '
                f"got {shown(value)}"
            )
        if seconds > LONGEST_DURATION:
            raise ValueError(f"must be a duration of at most ten years, got {shown(value)}")
        return cls(seconds)

    def __str__(self) -> str:
        for unit, seconds in _SECONDS.items():
            count = round(float(self) / seconds)
            if count * seconds == self and (count or unit == "s"):
                return f"{count}{unit}"
        return format(Decimal(float.__repr__(self)), "f") + "s"

    def __repr__(self) -> str:
        return f"Duration({float.__repr__(self)})"


class Size(int):
    """A number of bytes; written ``"64KiB"``, ``"1MiB"``, ``"1GiB"`` or as a number."""

    words: ClassVar[str] = "size"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a size.

        :raises ValueError: for anything else, a negative number, or more than 63 bits.
        """
        count = _bytes(value)
        if count is None or not 0 <= count <= LARGEST_SIZE:
            raise ValueError(
                f'must be a size such as "64KiB", "1MiB", "1GiB" or a number of bytes, got {shown(value)}'
            )
        return cls(count)

    def __str__(self) -> str:
        for unit, size in _BYTES.items():
            if self and self % size == 0:
                return f"{self // size}{unit}"
        return int.__repr__(self)

    def __repr__(self) -> str:
        return f"Size({int.__repr__(self)})"


class Bandwidth(int):
    """A number of bytes a second; written ``"10MiB/s"``, ``"500KiB/s"``, ``"1GiB/s"`` or ``"100B/s"``."""

    words: ClassVar[str] = "bandwidth"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a bandwidth.

        :raises ValueError: for anything else, a bare number among it, which does not say by what time; for
            nothing at all, or more than 63 bits.
        """
        match = _BANDWIDTH.fullmatch(value) if isinstance(value, str) else None
        count = int(match[1]) * _BYTES.get(match[2], 1) if match else 0
        if not 0 < count <= LARGEST_SIZE:
            raise ValueError(
                f'must be a bandwidth such as "10MiB/s", "500KiB/s" or "100B/s", got {shown(value)}'
            )
        return cls(count)

    def __str__(self) -> str:
        size = str(Size(self))
        return f"{size}B/s" if size.isdecimal() else f"{size}/s"

    def __repr__(self) -> str:
        return f"Bandwidth({int.__repr__(self)})"


class Fraction(float):
    """A part of a whole, 0.0 to 1.0; written ``"50%"``, or 0."""

    words: ClassVar[str] = "percentage"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a percentage; of bare numbers only 0, because 1 might mean 1 % or all.

        :raises ValueError: for anything else or more than 100 %.
        """
        match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
        if match and float(match[1]) <= 100:
            return cls(float(match[1]) / 100)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            return cls(0)
        raise ValueError(f'must be a percentage from "0%" to "100%", got {shown(value)}')

    def __str__(self) -> str:
        return f"{self * 100:.10g}%"

    def __repr__(self) -> str:
        return f"Fraction({float.__repr__(self)})"


@frozen
class Rate:
    """So many events in so much time; written ``"50/s"``, ``"600/m"`` or ``"1000/h"``.

    :param count: events, at least 1.
    :param per: seconds.
    """

    words: ClassVar[str] = "rate"

    count: int
    per: float

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a rate.

        :raises ValueError: for anything else, or no event at all.
        """
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None or int(match[1]) == 0:
            raise ValueError(f'must be a rate such as "50/s", "600/m" or "1000/h", got {shown(value)}')
        return cls(int(match[1]), _SECONDS[match[2]])

    def __str__(self) -> str:
        unit = next((name for name, seconds in _SECONDS.items() if seconds == self.per), f"{self.per:g}s")
        return f"{self.count}/{unit}"


@frozen
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
        :raises ValueError: for anything else, with what is wrong with it.
        """
        if not isinstance(value, str):
            _refuse_address(value, "it must be a string")
        if value.startswith("unix:"):
            return cls(path=_socket_path(value))
        host, port = _split(value)
        return cls(host=_host(host, value), port=_port(port, value))

    def under(self, folder: Path) -> Self:
        """Take a relative path as one in this folder, without detours; any other address stays as it is.

        :raises ValueError: when the whole path is longer than the system allows for a unix socket.
        """
        if self.path is None:
            return self
        path = _straight(_absolute(self.path, folder))
        length = len(os.fsencode(path))
        if length > LONGEST_SOCKET_PATH:
            raise ValueError(
                f"must be the path of a unix socket of at most {LONGEST_SOCKET_PATH} bytes in all, "
                f"got {length}: {shown(path)}"
            )
        return attrs.evolve(self, path=path)

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.path is not None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


@frozen
class Network:
    """A range of IP addresses; written ``"10.0.0.0/8"``, ``"2001:db8::/32"``, or as a single address.

    :param network: the standard library's object.
    """

    words: ClassVar[str] = "network"

    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a network.

        :raises ValueError: for anything else, or bits set behind the prefix.
        """
        exact = _network(value, strict=True)
        if exact is None:
            meant = _network(value, strict=False)
            hint = (
                f": no bit may be set behind the prefix, did you mean {shown(str(meant))}?" if meant else ""
            )
            raise ValueError(
                f'must be a network such as "10.0.0.0/8" or "2001:db8::/32", got {shown(value)}{hint}'
            )
        return cls(exact)

    def __str__(self) -> str:
        return str(self.network)


class NamePattern(str):
    """Server names; written ``"www.example.com"``, or ``"*.example.com"`` for all below one."""

    __slots__ = ()
    words: ClassVar[str] = "server name"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a pattern.

        :returns: in lower case, as names travel.
        :raises ValueError: for anything else.
        """
        if not isinstance(value, str):
            raise ValueError(
                f'must be a server name such as "www.example.com" or "*.example.com", got {shown(value)}'
            )
        return cls(check_pattern(value))


class TlvType(int):
    """A field of PROXY headers; written by its name, such as ``"authority"``, or as its number."""

    __slots__ = ()
    words: ClassVar[str] = "name or number of a field"
    names: ClassVar[Mapping[str, int]] = {
        "alpn": ALPN,
        "authority": AUTHORITY,
        "unique_id": UNIQUE_ID,
        "ssl": SSL,
        "netns": NETNS,
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a type.

        :raises ValueError: for what is neither a name nor a number from 1 to 255, or is that of the checksum
            or of padding, which belong to one header.
        """
        number = cls.names.get(value) if isinstance(value, str) else value
        if type(number) is not int or not 0 < number <= 0xFF or number in (CRC32C, NOOP):
            raise ValueError(
                f"must be {choices(cls.names)}, or the number of another field, 1 to 255, got {shown(value)}"
            )
        return cls(number)


class HostName(str):
    """Who is at the other end; written ``"web.internal"``, ``"10.0.0.11"`` or ``"2001:db8::1"``."""

    __slots__ = ()
    words: ClassVar[str] = "host name or IP address"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a name or address.

        :returns: in its one spelling, in lower case.
        :raises ValueError: for anything else.
        """
        name = _name_or_ip(value) if isinstance(value, str) else None
        if name is None:
            raise ValueError(
                f'must be a host name such as "web.internal" or an IP address, got {shown(value)}'
            )
        return cls(name)


class AlpnName(str):
    """A protocol that TLS can agree on, such as ``"http/1.1"`` (RFC 7301, section 6)."""

    __slots__ = ()
    words: ClassVar[str] = "protocol"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the name of a protocol.

        :raises ValueError: for anything but 1 to 255 printable characters of ASCII.
        """
        if not isinstance(value, str) or not _PROTOCOL.fullmatch(value):
            raise ValueError(
                'must be the name of a protocol such as "http/1.1", of 1 to 255 printable characters of '
                f"ASCII, got {shown(value)}"
            )
        return cls(value)


class FilePath(str):
    """A file to be read."""

    __slots__ = ()
    words: ClassVar[str] = "file name"
    wanted: ClassVar[str] = "the name of a file"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a file name.

        :raises ValueError: for anything but a string, an empty one, or one with a NUL.
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"must be {cls.wanted}, got {shown(value)}")
        return cls(value)

    def under(self, folder: Path) -> Self:
        """Take a relative name as one in this folder."""
        return type(self)(_absolute(self, folder))


class LogPath(FilePath):
    """Where lines are written to: a file, or ``"-"`` for standard output."""

    __slots__ = ()
    wanted: ClassVar[str] = 'the name of a file or "-" for standard output'

    def under(self, folder: Path) -> Self:
        """Take a relative name as one in this folder."""
        return self if self == "-" else super().under(folder)


def _seconds(value: object) -> float | None:
    """Give the seconds that are meant, or None when the value has no such form."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        return float(match[1]) * _SECONDS[match[2]] if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _bytes(value: object) -> int | None:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        # More digits than a size can have, and Python refuses to read very many.
        return int(match[1]) * _BYTES[match[2]] if match and len(match[1]) < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _refuse_address(value: object, why: str) -> NoReturn:
    raise ValueError(
        'must be an address such as "10.0.0.11:5432", "[2001:db8::1]:443", "db1.internal:5432" or '
        f'"unix:/run/app.sock", got {shown(value)}: {why}'
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
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse_address(value, "the host is neither an IP address nor a host name")
    return host.lower()


def _port(port: str, value: str) -> int:
    if not _PORT.fullmatch(port) or int(port) > HIGHEST_PORT:
        _refuse_address(value, f"the port must be 1 to {HIGHEST_PORT}")
    return int(port)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _name_or_ip(value: str) -> str | None:
    """Give the one spelling of what a certificate can be for: no wildcard, and no address with a zone."""
    ip = _ip(value)
    if ip is not None:
        return None if getattr(ip, "scope_id", None) else str(ip)
    try:
        return None if value.startswith("*") else check_pattern(value)
    except ValueError:
        return None


def _network(value: object, *, strict: bool) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    # Anything but a string is left out: the number 1 would be taken for 0.0.0.1.
    try:
        return ipaddress.ip_network(value, strict=strict) if isinstance(value, str) else None
    except ValueError:
        return None


def _absolute(path: str, folder: Path) -> str:
    return str(folder / path)


def _straight(path: str) -> str:
    """Give the one spelling of an absolute path, so that no listener takes another's file."""
    # POSIX leaves it to the system what two slashes at the front mean; to Linux and the BSDs it is one.
    return "/" + os.path.normpath(path).lstrip("/")
