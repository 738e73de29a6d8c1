"""The ClientHello as a message: what a balancer goes by, taken from its bytes once they are all there.

Only the shape is judged: lengths have to add up and nothing may stand in it twice. Whether versions, cipher
suites and the other extensions are acceptable is decided by the server that answers.
"""

from __future__ import annotations

import ipaddress

from attrs import frozen

from tcpbalance.errors import Fault, TcpbalanceError

MAX_HOST_NAME = 255
"""Bytes; RFC 1035, section 2.3.4."""

MAX_EXTENSIONS = 128
"""Twice as many as there are: IANA's registry has some 60 types, of which browsers send fewer than 20."""

_VERSION_AND_RANDOM = 2 + 32
_MAX_SESSION_ID = 32
_SERVER_NAME = 0  # extension, RFC 6066, section 3
_HOST_NAME = 0  # name type, RFC 6066, section 3
_TYPES_OF_NAMES = 256
_VISIBLE = range(0x21, 0x7F)


class HelloError(TcpbalanceError):
    """The bytes of a client hold no ClientHello that can be read."""

    fault = Fault.CLIENT


class NotTls(HelloError):
    """What the client sends is not the start of a TLS handshake."""


class ClientHelloError(HelloError):
    """What starts as a TLS handshake is malformed, or longer than is waited for."""


@frozen
class ClientHello:
    """What a client says about where it wants to go; with encrypted ClientHello, what the outer one says.

    :param server_name: the host name, in lower case and without a final dot; None when it names none.
    """

    server_name: str | None = None


def parse_body(body: bytes) -> ClientHello:
    """Read a ClientHello; RFC 8446, section 4.1.2, and RFC 5246, section 7.4.1.2.

    :param body: the message without its type and length.
    :raises ClientHelloError: when it is malformed.
    """
    parts = _Parts(body, "the hello")
    parts.take(_VERSION_AND_RANDOM)
    _refuse_if(len(parts.vector(1)) > _MAX_SESSION_ID, "the session id is longer than 32 bytes")
    suites = parts.vector(2)
    _refuse_if(not suites or len(suites) % 2 == 1, "the cipher suites are none or end in half of one")
    _refuse_if(not parts.vector(1), "there is no compression method, not even none")
    extensions = _extensions(parts.vector(2)) if parts else {}  # before TLS 1.3 there may be none
    parts.end()
    return ClientHello(_server_name(extensions.get(_SERVER_NAME)))


class _Parts:
    """Takes a structure apart from its front; RFC 8446, section 3.

    :param data: all of it.
    :param what: its name, for messages.
    """

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        return self._part(self._at, self._at + size)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """Take what a length of *size* bytes stands before."""
        start = self._at + size
        return self._part(start, start + int.from_bytes(self._data[self._at : start]))

    def _part(self, start: int, end: int) -> bytes:
        if end > len(self._data):
            raise _malformed(f"{self._what} ends in the middle of something")
        self._at = end
        return self._data[start:end]

    def end(self) -> None:
        _refuse_if(bool(self), f"{self._what} has bytes left behind its end")


def _extensions(block: bytes) -> dict[int, bytes]:
    """Give extensions by their type, of which each comes at most once: RFC 8446, section 4.2."""
    return _by_type(block, 2, "the block of extensions", MAX_EXTENSIONS)


def _server_name(data: bytes | None) -> str | None:
    if data is None:
        return None
    what = "the list of server names"
    # A name of another type begins with its length all the same: RFC 6066, section 3.
    names = _by_type(_listed(data, what), 1, what, _TYPES_OF_NAMES)
    return _host_name(names[_HOST_NAME]) if _HOST_NAME in names else None


def _listed(data: bytes, what: str) -> bytes:
    """Give what is in an extension that is nothing but one list."""
    parts = _Parts(data, what)
    entries = parts.vector(2)
    parts.end()
    _refuse_if(not entries, f"{what} is empty")
    return entries


def _by_type(data: bytes, size: int, what: str, max_entries: int) -> dict[int, bytes]:
    """Read up to *max_entries* that begin with their type, of *size* bytes, and their length, of 2."""
    parts = _Parts(data, what)
    found: dict[int, bytes] = {}
    while parts:
        kind = parts.number(size)
        if kind in found:
            raise _malformed(f"{what} has two of type {kind}")
        _refuse_if(len(found) == max_entries, f"{what} has more than {max_entries}")
        found[kind] = parts.vector(2)
    return found


def _host_name(name: bytes) -> str | None:
    """Give the name in its one spelling.

    :returns: None for an IP address. RFC 6066 does not permit it, but there are clients that send it, and
        it means the same as no name: the default of that address.
    """
    _refuse_if(len(name) > MAX_HOST_NAME, f"the host name is longer than {MAX_HOST_NAME} bytes")
    # What is not visible is never part of a name, and would spoil log lines.
    _refuse_if(any(byte not in _VISIBLE for byte in name), "the host name is not of visible ASCII characters")
    host = name.decode("ascii").lower().removesuffix(".")
    _refuse_if("" in host.split("."), "the host name is empty, or a label of it is")
    return None if _is_ip(host) else host


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refuse_if(wrong: bool, why: str) -> None:
    if wrong:
        raise _malformed(why)


def _malformed(why: str) -> ClientHelloError:
    return ClientHelloError(f"malformed ClientHello: {why}")
