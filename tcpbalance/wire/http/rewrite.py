"""Heads written anew: for a backend, and for a client (RFC 9110, section 7.6; RFC 9112, section 6).

What frames a message, names its host or is for one connection is written from facts, never copied. All other
lines go on as they came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tcpbalance.errors import SettingError
from tcpbalance.wire.http.fields import takes_trailers
from tcpbalance.wire.http.forwarded import X_FORWARDED, ForwardedClient, ForwardedWriter
from tcpbalance.wire.http.framing import Body, Framing
from tcpbalance.wire.http.grammar import is_field_value, is_token
from tcpbalance.wire.http.head import Options, RequestHead, ResponseHead
from tcpbalance.wire.http.target import RequestTarget

Field = tuple[bytes, bytes]
"""A name and a value."""

FIXED_FIELDS: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""What can be neither set nor removed by configuration: it is written from facts."""

_OWN_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"))


class FieldEdits:
    """Fields that are set and removed in all heads that take one route. It is not changed.

    :param set_fields: names and values; those that a message comes with are replaced.
    :param remove: names.
    :raises SettingError: for a name that is no token or one of ``FIXED_FIELDS``, or a value with control
        bytes.
    """

    __slots__ = ("_added", "_drop", "remove", "set_fields")

    def __init__(self, set_fields: Sequence[Field] = (), remove: Iterable[bytes] = ()) -> None:
        self.set_fields = (*set_fields,)
        self.remove = (*remove,)
        names = [*(name for name, _ in set_fields), *self.remove]
        for name in names:
            if not is_token(name) or name.lower() in FIXED_FIELDS:
                raise SettingError(f"{name!r} cannot be set or removed")
        for _, value in set_fields:
            if not is_field_value(value):
                raise SettingError(f"{value!r} is no value for a field")
        self._added = b"".join(map(field_line, *zip(*set_fields, strict=True))) if set_fields else b""
        self._drop = _dropper(names).sub if names else None

    def removing(self, *names: bytes) -> FieldEdits:
        """Give edits that remove more."""
        return FieldEdits(self.set_fields, (*self.remove, *names))

    def without(self, name: bytes) -> FieldEdits:
        """Give edits that remove a field and do not set it, whatever these do with it."""
        is_meant = re.compile(_like(name), re.IGNORECASE).fullmatch
        kept = [(other, value) for other, value in self.set_fields if not is_meant(other)]
        return FieldEdits(kept, (*self.remove, name))

    def apply(self, lines: bytes) -> bytes:
        """Edit lines that begin and end with CR LF."""
        if self._drop is not None:
            lines = self._drop(b"", lines)
        return lines + self._added


_has_date = re.compile(rb"\n(?i:date):").search


def _dropper(names: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"\n(?i:" + b"|".join(map(_like, names)) + rb"):[^\n]*+")


def _like(name: bytes) -> bytes:
    """Give an expression for a name and all that CGI, WSGI and PHP take for the same."""
    return b"[-_]".join(map(re.escape, re.split(b"[-_]", name)))


def field_line(name: bytes, value: bytes) -> bytes:
    """Write a field."""
    return b"%b: %b\r\n" % (name, value)


def framing_line(framing: Framing) -> bytes:
    """Write the one field that says how long a body is, if there is one."""
    if framing.body is Body.CHUNKED:
        return b"Transfer-Encoding: chunked\r\n"
    return b"" if framing.length is None else b"Content-Length: %d\r\n" % framing.length


NO_EDITS: Final = FieldEdits()


class RequestRewriter:
    """Writes the heads of requests that take one route, for a backend.

    :param forwarded: what backends get of clients.
    """

    __slots__ = ("_edit", "_forwarded", "_is_plain")

    def __init__(self, forwarded: ForwardedWriter, edits: FieldEdits = NO_EDITS) -> None:
        self._forwarded = forwarded
        self._edit = edits.apply
        self._is_plain = edits is NO_EDITS and forwarded.x_forwarded_alone

    def write(
        self,
        head: RequestHead,
        target: RequestTarget,
        framing: Framing,
        client: ForwardedClient,
        *,
        host: bytes | None = None,
        upstream: bytes | None = None,
        upgrade: bytes = b"",
        close: bool = False,
        extra: bytes = b"",
    ) -> bytes:
        """Write a head.

        :param framing: of the body that is sent.
        :param host: instead of the one that the client asks for.
        :param upstream: instead of the target without scheme and host.
        :param upgrade: protocols that the backend may change to.
        :param close: whether the backend is to close the connection after its response.
        :param extra: more lines, each with CR LF, which no edit removes.
        """
        asked_for = target.authority.text if target.authority else b""
        lines = _without(head.rest, head.options) + self._forwarded.lines(client, asked_for, head.version)
        if client.by_x_forwarded or b"expect" in head.special:
            lines += _kept_of_request(head, passed=client.by_x_forwarded and self._forwarded.x_forwarded)
        options = [b"close"] if close else []
        if upgrade:
            options.append(b"upgrade")
        if b"te" in head.special and takes_trailers(head):
            options.append(b"te")
        return b"".join(
            (
                head.method,
                b" ",
                target.upstream if upstream is None else upstream,
                b" HTTP/1.1\r\nHost: ",
                asked_for if host is None else host,
                self._edit(lines),
                extra,
                framing_line(framing),
                _connection_lines(options, upgrade),
                b"\r\n",
            )
        )

    def write_usual(
        self, head: RequestHead, target: RequestTarget, client: ForwardedClient, extra: bytes = b""
    ) -> bytes:
        """Write what `write` does for a usual request.

        :param target: has a host.
        """
        assert target.authority is not None
        host = target.authority.text
        if self._is_plain:
            asked_for = client.host or host
            lines = b"".join((head.rest, client.x_forwarded, b"X-Forwarded-Host: ", asked_for, b"\r\n"))
        else:
            lines = self._edit(head.rest + self._forwarded.lines(client, host, head.version))
        return b"".join(
            (head.method, b" ", target.upstream, b" HTTP/1.1\r\nHost: ", host, lines, extra, b"\r\n")
        )


class ResponseRewriter:
    """Writes the heads of responses that take one route, for a client."""

    __slots__ = ("_edit", "_edits")

    def __init__(self, edits: FieldEdits = NO_EDITS) -> None:
        self._edit = edits.apply
        self._edits = None if edits is NO_EDITS else edits

    def write(
        self,
        head: ResponseHead,
        framing: Framing,
        *,
        version: bytes,
        keep_alive: bool,
        date: bytes,
        upgrade: bytes = b"",
        extra: bytes = b"",
    ) -> bytes:
        """Write a head.

        :param framing: of the body that is sent.
        :param version: of the request.
        :param keep_alive: whether the connection stays open after this.
        :param date: for a response without one (RFC 9110, section 6.6.1).
        :param upgrade: the protocol that the connection changes to with 101, or that 426 asks for.
        :param extra: more lines, each with CR LF, which no edit removes.
        """
        lines = _without(head.rest, head.options)
        if head.status >= 200 and not _has_date(lines):
            lines += b"Date: %b\r\n" % date
        return b"".join(
            (
                b"HTTP/1.1 %d " % head.status,
                head.reason,
                self._edit(lines),
                extra,
                framing_line(framing),
                _connection_lines(_response_options(head, version, keep_alive, upgrade), upgrade),
                b"\r\n",
            )
        )

    def write_usual(self, head: ResponseHead, body: bytes, date: Callable[[], bytes]) -> bytes:
        """Write what `write` does for a usual response to HTTP/1.1, where the connection stays open; with its
        body behind it.

        :param body: all of it.
        :param date: asked for a response without one.
        """
        lines = head.rest
        if not _has_date(lines):
            lines += b"Date: %b\r\n" % date()
        if self._edits is not None:
            lines = self._edits.apply(lines)
        return b"HTTP/1.1 %d %b%bContent-Length: %d\r\n\r\n%b" % (
            head.status,
            head.reason,
            lines,
            len(body),
            body,
        )


def _response_options(head: ResponseHead, version: bytes, keep_alive: bool, upgrade: bytes) -> list[bytes]:
    options = [b"upgrade"] if upgrade else []
    if head.status >= 200 and not keep_alive:
        options.append(b"close")
    elif head.status >= 200 and version == b"1.0":
        options.append(b"keep-alive")
    return options


def _without(lines: bytes, options: Options) -> bytes:
    """Remove the fields that Connection lists."""
    if options <= _OWN_OPTIONS:
        return lines
    names = options - _OWN_OPTIONS
    return b"\r\n".join(line for line in lines.split(b"\r\n") if line.partition(b":")[0].lower() not in names)


def _kept_of_request(head: RequestHead, *, passed: bool) -> bytes:
    """Write those of the special fields that a backend gets.

    :param passed: whether those of a proxy in front that say something else of its client are among them.
    """
    lines = b""
    if b"expect" in head.special and head.version == b"1.1":
        lines = b"Expect: 100-continue\r\n"
    if passed:
        for name, values in head.special.items():
            if name.startswith(b"x-forwarded-") and name not in X_FORWARDED:
                lines += b"".join(field_line(name, value) for value in values)
    return lines


def _connection_lines(options: list[bytes], upgrade: bytes) -> bytes:
    if not options:
        return b""
    lines = field_line(b"Connection", b", ".join(options))
    if b"te" in options:
        lines += b"TE: trailers\r\n"
    return lines + field_line(b"Upgrade", upgrade) if upgrade else lines
