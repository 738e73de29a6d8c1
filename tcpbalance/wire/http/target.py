"""What a request is for: forms of the target, and the host.

Sources: RFC 9112, section 3.2 (forms of the target, Host); RFC 3986, section 3.2.2 (hosts).
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import re

from attrs import field, frozen

from tcpbalance.wire.http.errors import BadRequest, Cause
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.routing_path import routing_path


class TargetForm(enum.Enum):
    """Forms of a target: RFC 9112, section 3.2."""

    ORIGIN = "origin"
    ABSOLUTE = "absolute"
    AUTHORITY = "authority"
    ASTERISK = "asterisk"


@frozen
class Authority:
    """A host, perhaps with a port.

    :ivar text: what a Host field carries.
    :ivar host: in lower case, without a dot at its end; an IPv6 address is in brackets.
    :ivar port: None where there is none.
    :ivar shown: the text, for people.
    """

    text: bytes
    host: bytes
    port: int | None
    shown: str = field(init=False, eq=False, repr=False)

    @shown.default
    def _decode_text(self) -> str:
        return self.text.decode("latin-1")


class RequestTarget:
    """What a request is for. It is not changed.

    :ivar form: how it was written.
    :ivar authority: from the target if that has one, else from Host; None where HTTP/1.0 has neither.
    :ivar upstream: the target that a backend gets: as written, but without scheme and host.
    :ivar path: that without its query; empty for CONNECT, ``*`` for the server as a whole.
    """

    __slots__ = ("authority", "form", "path", "upstream")

    def __init__(self, form: TargetForm, authority: Authority | None, upstream: bytes, path: bytes) -> None:
        self.form = form
        self.authority = authority
        self.upstream = upstream
        self.path = path


MAX_AUTHORITY = 262
"""Bytes: a name of 253 with a dot at its end (RFC 1035), a colon and a port, and some to spare."""

# RFC 3986 has escapes and commas in names, too. Names in use have neither, and a comma is what a recipient
# makes of two Host fields.
_match_authority = re.compile(
    rb"([0-9A-Za-z\-._~!$&'()*+;=]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+"
).fullmatch

_match_absolute = re.compile(rb"https?+://([^/?]*+)(/[^?]*+)?+(\?.*+)?+", re.IGNORECASE).fullmatch


ORIGIN = TargetForm.ORIGIN


def read_target(head: RequestHead) -> RequestTarget:
    """Find what a request is for.

    :raises BadRequest: when Host is missing, comes twice or is malformed, or the target has none of the forms
        that its method allows.
    """
    authority = _host(head)
    target = head.target
    if head.method == b"CONNECT":
        return RequestTarget(TargetForm.AUTHORITY, _tunnel_end(target), target, b"")
    if target.startswith(b"/"):
        return RequestTarget(ORIGIN, authority, target, target.partition(b"?")[0])
    if target == b"*" and head.method == b"OPTIONS":
        return RequestTarget(TargetForm.ASTERISK, authority, target, target)
    return _absolute(head)


def read_authority(text: bytes) -> Authority:
    """Read a host with or without a port, such as a Host field has.

    :raises BadRequest: when it is malformed.
    """
    # The bound keeps what is cached small.
    if len(text) > MAX_AUTHORITY:
        raise _bad_target(f"a host takes more than {MAX_AUTHORITY} bytes")
    return _authority(text)


@functools.lru_cache(maxsize=512)
def _authority(text: bytes) -> Authority:
    found = _match_authority(text)
    if found is None:
        raise _bad_target(f"{text[:80]!r} is no host with or without a port")
    name, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise _bad_target(f"{digits!r} is no port")
    host = _ipv6(name) if name.startswith(b"[") else name.lower().removesuffix(b".")
    if not host:
        raise _bad_target("a host is empty")
    return Authority(name if port is None else text, host, port)


def _ipv6(literal: bytes) -> bytes:
    try:
        return b"[%b]" % ipaddress.IPv6Address(literal[1:-1].decode("ascii")).compressed.encode("ascii")
    except ValueError:
        raise _bad_target(f"{literal[:80]!r} is no IPv6 address") from None


def _host(head: RequestHead) -> Authority | None:
    values = head.special.get(b"host")
    if values is None:
        if head.version == b"1.0":
            return None
        raise _bad_target("Host is missing")
    if len(values) > 1:
        raise _bad_target("Host comes more than once")
    return read_authority(values[0])


def _tunnel_end(target: bytes) -> Authority:
    authority = read_authority(target)
    if not authority.port:
        raise _bad_target("CONNECT is for a host and a port")
    return authority


def _absolute(head: RequestHead) -> RequestTarget:
    found = _match_absolute(head.target)
    if found is None:
        raise _bad_target(f"{head.target[:80]!r} is no target for {head.method[:20].decode('ascii')}")
    text, path, query = found.groups()
    authority = read_authority(text)
    if path is None and query is None and head.method == b"OPTIONS":
        return RequestTarget(TargetForm.ABSOLUTE, authority, b"*", b"*")  # RFC 9112, section 3.2.4
    path = path or b"/"
    return RequestTarget(TargetForm.ABSOLUTE, authority, path + (query or b""), path)


def _bad_target(message: str) -> BadRequest:
    return BadRequest(400, Cause.BAD_TARGET, message)


def without_prefix(target: RequestTarget, prefix: bytes) -> bytes:
    """Give the target for a backend without the beginning of its path.

    :param prefix: whole segments, without a slash at the end; the routing path begins with it.
    """
    path, query = target.path, target.upstream[len(target.path) :]
    cleaned = routing_path(path).path.removeprefix(prefix)
    # As many segments as the prefix has, which may be written in another way and have parameters.
    count = prefix.count(b"/")
    segments = path.split(b"/", count + 1)
    left = b"/" + segments[-1] if len(segments) > count + 1 else b""
    # Where what is left would lead elsewhere, as in /api/../api/x, it is written as routes see it.
    if routing_path(left).path != cleaned:
        left = cleaned
    return (left or b"/") + query
