"""Small values of HTTP that an operator writes: names and values of fields, methods, status codes, files of
answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import ClassVar, Self

from tcpbalance.config.messages import choices, value_text
from tcpbalance.config.paths import FilePath
from tcpbalance.errors import SettingError

MAX_FIELD_NAME = 256
"""Characters; what is longer is a slip."""

MAX_FIELD_VALUE = 4096
"""Characters; the head of a request has to hold the fields of all rules."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t -~]*")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"})
_NEVER_ROUTED = frozenset({"CONNECT", "TRACE"})


class FieldName(str):
    """The name of a header field, such as ``"X-Env"``; case does not matter, and stays as it is written."""

    __slots__ = ()
    words: ClassVar[str] = "header name"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a name.

        :raises SettingError: for anything but a token of HTTP.
        """
        if not isinstance(value, str) or len(value) > MAX_FIELD_NAME or not _TOKEN.fullmatch(value):
            raise SettingError(
                'must be the name of a header such as "X-Env", of letters, digits and "-", '
                f"got {value_text(value)}"
            )
        return cls(value)


class FieldValue(str):
    """The value of a header field."""

    __slots__ = ()
    words: ClassVar[str] = "header value"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a value.

        :raises SettingError: for a line end or another control character, what is not ASCII, or a space at
            either end, which no receiver would see.
        """
        if not isinstance(value, str):
            raise SettingError(f"must be a string, the value of the header, got {value_text(value)}")
        if len(value) > MAX_FIELD_VALUE:
            raise SettingError(
                f"must be a header value of at most {MAX_FIELD_VALUE} characters, got {len(value)}"
            )
        if not _VALUE.fullmatch(value):
            raise SettingError(
                "must be a header value: printable ASCII without line ends and control characters, "
                f"got {value_text(value)}"
            )
        if value != value.strip(" \t"):
            raise SettingError(f"must be a header value without a space at its ends, got {value_text(value)}")
        return cls(value)


class CookieName(str):
    """The name of a cookie, such as ``"backend"``."""

    __slots__ = ()
    words: ClassVar[str] = "cookie name"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a name.

        :raises SettingError: for anything but a token of HTTP (RFC 6265, section 4.1.1).
        """
        if not isinstance(value, str) or len(value) > MAX_FIELD_NAME or not _TOKEN.fullmatch(value):
            raise SettingError(
                'must be the name of a cookie such as "backend", of letters, digits, "-" and "_", '
                f"got {value_text(value)}"
            )
        return cls(value)


class MethodName(str):
    """A method, such as ``"GET"``."""

    __slots__ = ()
    words: ClassVar[str] = "method"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a method.

        :raises SettingError: for what is no token; a usual method in lower case, because methods are compared
            as they are written; one that no request is routed with.
        """
        if not isinstance(value, str) or len(value) > MAX_FIELD_NAME or not _TOKEN.fullmatch(value):
            raise SettingError(f'must be a method such as "GET", got {value_text(value)}')
        upper = value.upper()
        if upper in _USUAL_METHODS and upper != value:
            raise SettingError(
                f"must be a method in upper case, got {value_text(value)}, did you mean {value_text(upper)}?"
            )
        if value in _NEVER_ROUTED:
            raise SettingError(f"must be a method other than {value}, which is answered with 405")
        return cls(value)


class UpgradeName(str):
    """A protocol that a client may switch its connection to, such as ``"websocket"``; in lower case."""

    __slots__ = ()
    words: ClassVar[str] = "protocol"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a protocol.

        :raises SettingError: for what is no token, or another version of HTTP: requests inside of that would
            come to backends past routes and rules.
        """
        text = value.lower() if isinstance(value, str) else ""
        if not _TOKEN.fullmatch(text) or len(text) > MAX_FIELD_NAME:
            raise SettingError(f'must be a protocol such as "websocket", got {value_text(value)}')
        if text.startswith(("h2", "http", "tls")):
            raise SettingError(
                f"must be a protocol other than HTTP itself and TLS, got {value_text(value)}: its requests "
                "would pass by routes and rules"
            )
        return cls(text)


class StatusRange(str):
    """Status codes of errors: ``"404"``, or ``"502-504"`` for all from the one to the other."""

    __slots__ = ()
    words: ClassVar[str] = "status code"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read one code or a range.

        :raises SettingError: for anything else, or a code that is no error.
        """
        match = _STATUS.fullmatch(value) if isinstance(value, str) else None
        if match is None or not 400 <= int(match[1]) <= int(match[2] or match[1]):
            raise SettingError(
                f'must be a status code from 400 to 599 such as "404", or a range such as "502-504", '
                f"got {value_text(value)}"
            )
        return cls(value)

    @property
    def codes(self) -> range:
        """All codes that are meant."""
        first, _, last = self.partition("-")
        return range(int(first), int(last or first) + 1)


class PagePath(FilePath):
    """The file of an answer, whose name says what is in it.

    :ivar media_type: the value of Content-Type; it stays where the content is read from another place.
    """

    wanted: ClassVar[str] = "the name of a file"
    media_types: ClassVar[Mapping[str, str]] = {
        ".html": "text/html; charset=utf-8",
        ".htm": "text/html; charset=utf-8",
        ".txt": "text/plain; charset=utf-8",
        ".json": "application/json",
        ".xml": "application/xml",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".gif": "image/gif",
        ".webp": "image/webp",
        ".ico": "image/x-icon",
        ".webmanifest": "application/manifest+json",
    }

    media_type: str

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a file name.

        :raises SettingError: for what is none, or has an ending that does not say what is in the file.
        """
        path = super().parse(value)
        media_type = cls.media_types.get(PurePath(path).suffix.lower())
        if media_type is None:
            raise SettingError(
                f"must be the name of a file that ends in {choices(cls.media_types)}, from which its "
                f"Content-Type follows, got {value_text(value)}"
            )
        path.media_type = media_type
        return path

    def at(self, place: str) -> Self:
        """Give the same file where it can be read at another place."""
        other = super().at(place)
        other.media_type = self.media_type
        return other
