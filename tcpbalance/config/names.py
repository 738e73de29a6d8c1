"""Names that come over the wire: of servers, protocols and fields of headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Self

from tcpbalance.config.messages import choices, value_text
from tcpbalance.errors import SettingError
from tcpbalance.wire.server_names import check_pattern
from tcpbalance.wire.tlv import ALPN, AUTHORITY, CRC32C, NETNS, NOOP, SSL, UNIQUE_ID

_PROTOCOL = re.compile(r"[ -~]{1,255}")


class NamePattern(str):
    """Server names; written ``"www.example.com"``, or ``"*.example.com"`` for all below one."""

    __slots__ = ()
    words: ClassVar[str] = "server name"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a pattern.

        :returns: in lower case, as names travel.
        :raises SettingError: for anything else.
        """
        if not isinstance(value, str):
            raise SettingError(
                f'must be a server name such as "www.example.com" or "*.example.com", got {value_text(value)}'
            )
        return cls(check_pattern(value))


class AlpnName(str):
    """A protocol that TLS can agree on, such as ``"http/1.1"`` (RFC 7301, section 6)."""

    __slots__ = ()
    words: ClassVar[str] = "protocol"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the name of a protocol.

        :raises SettingError: for anything but 1 to 255 printable characters of ASCII.
        """
        if not isinstance(value, str) or not _PROTOCOL.fullmatch(value):
            raise SettingError(
                'must be the name of a protocol such as "http/1.1", of 1 to 255 printable characters of '
                f"ASCII, got {value_text(value)}"
            )
        return cls(value)


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

        :raises SettingError: for what is neither a name nor a number from 1 to 255, or is that of the
            checksum or of padding, which belong to one header.
        """
        number = cls.names.get(value) if isinstance(value, str) else value
        if type(number) is not int or not 0 < number <= 0xFF or number in (CRC32C, NOOP):
            raise SettingError(
                f"must be {choices(cls.names)}, or the number of another field, 1 to 255, "
                f"got {value_text(value)}"
            )
        return cls(number)
