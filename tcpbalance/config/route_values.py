"""What routes are written with: hosts, paths, and the targets of redirects."""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar, NoReturn, Self
from urllib.parse import quote

from attrs import field, frozen

from tcpbalance.config.addresses import MAX_PORT
from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError
from tcpbalance.wire.http.routing_path import routing_path
from tcpbalance.wire.server_names import check_pattern

MAX_PATH_PATTERN = 2048
"""Characters; a longer path hardly comes."""

MAX_REDIRECT_TARGET = 2048
"""Characters; what is put in for the placeholders is added to that."""

PLACEHOLDERS = ("host", "target", "path", "query")

_ALL_BELOW = "/*"
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_IN_PATHS = "/*~!$&'()+,;=:@%"
# pchar of RFC 3986, section 3.3, without the asterisk.
_PATH_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-Fa-f]{2})*")
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%{}-]*")  # RFC 3986, and braces
_IN_BRACES = re.compile(r"\{([^{}]*)\}")
_ORIGIN = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class HostPattern(str):
    """Hosts: ``"www.example.com"``, ``"*.example.com"`` for all below one, or an IP address."""

    __slots__ = ()
    words: ClassVar[str] = "host"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a host.

        :returns: as it stands in requests: in lower case, in ASCII, an IPv6 address in brackets.
        :raises SettingError: for anything else, a port among it.
        """
        if not isinstance(value, str):
            raise SettingError(
                f'must be a host such as "www.example.com" or "*.example.com", got {value_text(value)}'
            )
        try:
            ip = ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
        except ValueError:
            return cls(check_pattern(value))
        if getattr(ip, "scope_id", None):
            raise SettingError(f"must be an address without a zone, got {value_text(value)}")
        return cls(f"[{ip}]" if ip.version == 6 else str(ip))


class SentHost(str):
    """The ``Host`` that backends get: ``"client"``, ``"backend"``, or a host, with a port or without one."""

    __slots__ = ()
    words: ClassVar[str] = '`"client"`, `"backend"` or host'

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read it.

        :raises SettingError: for anything else.
        """
        match = _HOST_AND_PORT.fullmatch(value) if isinstance(value, str) else None
        host = None if match is None else _one_host(match[1])
        if match is None or host is None or not 0 < int(match[2] or 1) <= MAX_PORT:
            raise SettingError(
                'must be "client", "backend" or a host such as "web.internal" or "web.internal:8080", '
                f"got {value_text(value)}"
            )
        return cls(f"{host}:{int(match[2])}" if match[2] else host)


def _one_host(text: str) -> str | None:
    try:
        return None if text.startswith("*") else HostPattern.parse(text)
    except SettingError:
        return None


class PathPattern(str):
    """Paths: ``"/health"`` for one, ``"/api/*"`` for ``/api`` and all below it; as routes see them."""

    __slots__ = ()
    words: ClassVar[str] = "path"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a path.

        :raises SettingError: for what does not begin with a slash, has an asterisk anywhere but alone at the
            end, or is no path that a request can have once it is cleaned.
        """
        if not isinstance(value, str):
            _refuse_path(value, "it must be a string")
        if not value.startswith("/"):
            _refuse_path(value, 'it must begin with "/"')
        if len(value) > MAX_PATH_PATTERN:
            _refuse_path(value, f"it is longer than {MAX_PATH_PATTERN} characters")
        path = value.removesuffix("*") if value.endswith(_ALL_BELOW) else value
        for segment in path[1:].split("/"):
            _check_segment(segment, value)
        cleaned, is_ambiguous = routing_path(path.encode("ascii"))
        if is_ambiguous:
            _refuse_path(value, "servers may take it for several paths, write the one that is meant")
        return cls(cleaned.decode("ascii") + value.removeprefix(path))

    @property
    def is_prefix(self) -> bool:
        """Whether it stands for all below a path, too."""
        return self.endswith(_ALL_BELOW)

    @property
    def base(self) -> str:
        """The one path, or that above all others; empty for that of ``/*``."""
        return self.removesuffix(_ALL_BELOW) if self.is_prefix else str(self)

    def lies_below(self, prefix: str) -> bool:
        """Whether all that it stands for begins with the segments of a path."""
        return self.base == prefix or self.base.startswith(f"{prefix}/")


def _check_segment(segment: str, value: str) -> None:
    if segment in (".", ".."):
        _refuse_path(value, f'"{segment}" goes to another path, write that')
    if "*" in segment:
        _refuse_path(value, 'the * can only be all that stands behind the last "/"')
    if "?" in segment or "#" in segment:
        _refuse_path(value, 'a path ends before "?" and "#"')
    if ";" in segment:
        _refuse_path(value, 'routes do not look at parameters, leave out ";" and what follows in the segment')
    if not _PATH_SEGMENT.fullmatch(segment):
        meant = quote(value, _IN_PATHS)
        hint = f"did you mean {value_text(meant)}?" if meant != value else "two hexadecimal digits follow a %"
        _refuse_path(value, hint)


def _refuse_path(value: object, why: str) -> NoReturn:
    raise SettingError(
        f'must be a path such as "/health" or "/api/*" for all below one, got {value_text(value)}: {why}'
    )


@frozen
class RedirectTarget:
    """Where a redirect leads: a URL, or a path on the same host, with placeholders.

    ``{host}`` is the host that was asked for, without its port; ``{path}`` the path and ``{query}`` the query
    with its ``?``, both as they came; ``{target}`` is path and query.

    :param text: as it is written.
    :ivar pieces: text and names of placeholders in turn; text comes first.
    """

    words: ClassVar[str] = "URL or path with placeholders"

    text: str
    pieces: tuple[str, ...] = field(init=False, eq=False, repr=False)

    @pieces.default
    def _split(self) -> tuple[str, ...]:
        return tuple(_IN_BRACES.split(self.text))

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a target.

        :raises SettingError: for another placeholder, what is no URL, or what a client's path could turn into
            a URL of another host.
        """
        if not isinstance(value, str):
            _refuse_target(value, "it must be a string")
        if len(value) > MAX_REDIRECT_TARGET:
            _refuse_target(value, f"it is longer than {MAX_REDIRECT_TARGET} characters")
        if not _URL.fullmatch(value):
            _refuse_target(value, "what a URL cannot have is written as % and two digits, as %20 for a space")
        target = cls(value)
        if wrong := target._mistake():
            _refuse_target(value, wrong)
        return target

    def _mistake(self) -> str | None:
        for name in self.pieces[1::2]:
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                return f"{{{name}}} is none of the placeholders {known}"
        if any("{" in text or "}" in text for text in self.pieces[::2]):
            return "a brace belongs to a placeholder, another one is written as %7B or %7D"
        if any(text.endswith("?") for text, name in self._before_placeholders() if name == "query"):
            return "a query is put in with its ?, leave out the ? before it"
        return self._wrong_origin()

    def _before_placeholders(self) -> zip[tuple[str, str]]:
        return zip(self.pieces[::2], self.pieces[1::2], strict=False)

    def _wrong_origin(self) -> str | None:
        """Find what is wrong with the host that the client is sent to."""
        sample = self.filled("host.example", "/", "?")
        if origin := _ORIGIN.match(sample):
            return None if _AUTHORITY.fullmatch(origin[1]) else "a host has to stand behind ://"
        if not self.text.startswith("/"):
            return "it must begin with https://, http:// or /"
        return "a path that begins with two slashes is a host to browsers" if sample[1:2] == "/" else None

    def filled(self, host: str, path: str, query: str) -> str:
        """Put values in the place of the placeholders.

        :param query: with its ``?``, or empty.
        """
        values = {"host": host, "path": path, "query": query, "target": path + query}
        return "".join(values[piece] if number % 2 else piece for number, piece in enumerate(self.pieces))

    @property
    def needs_host(self) -> bool:
        """Whether the host that was asked for is in it."""
        return "host" in self.pieces[1::2]

    def __str__(self) -> str:
        return self.text


def _refuse_target(value: object, why: str) -> NoReturn:
    raise SettingError(
        f'must be where to go instead, such as "https://{{host}}{{target}}" or "/new{{query}}", '
        f"got {value_text(value)}: {why}"
    )
