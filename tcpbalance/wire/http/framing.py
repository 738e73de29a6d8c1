"""How long a body is (RFC 9112, section 6), without the benefit of any doubt.

Where two recipients could disagree, the message is refused: Content-Length with Transfer-Encoding, twice, or
in another form than digits; Transfer-Encoding other than ``chunked``, or in HTTP/1.0. RFC 9112 lets some of
that pass.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final

from attrs import frozen

from tcpbalance.wire.http.errors import BadMessage, BadRequest, BadResponse, Cause
from tcpbalance.wire.http.grammar import is_token, members
from tcpbalance.wire.http.head import Head, RequestHead, ResponseHead

MAX_LENGTH: Final = 2**63 - 1
"""Bytes of a body, or of a chunk: what programs with numbers of 64 bits can count to."""


class Body(enum.Enum):
    """What ends a body."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "tunnel"


@frozen
class Framing:
    """What follows a head.

    :ivar body: what ends it.
    :ivar length: what Content-Length says, if it is there; a response to HEAD has one and no body.
    """

    body: Body
    length: int | None = None


NO_BODY: Final = Framing(Body.NONE)
CHUNKED: Final = Framing(Body.CHUNKED)
UNTIL_CLOSE: Final = Framing(Body.UNTIL_CLOSE)
TUNNEL: Final = Framing(Body.TUNNEL)

_is_length = re.compile(rb"[0-9]{1,19}").fullmatch

_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_LOOK_ALIKES = (b"content_length", b"transfer_encoding")

_Refuse = Callable[[str], BadMessage]


def request_framing(head: RequestHead) -> Framing:
    """Find what follows the head of a request.

    :returns: no body, a length, or chunks.
    :raises BadRequest: when it is in doubt (400), or has a coding besides chunked (501).
    """
    framing = _declared(head, _bad_request)
    if framing is None:
        return NO_BODY
    if head.method == b"CONNECT" and framing.length != 0:
        # What follows is for the tunnel: RFC 9110, section 9.3.6.
        raise _bad_request("CONNECT comes with a body")
    return framing


def response_framing(head: ResponseHead, method: bytes) -> Framing:
    """Find what follows the head of a response.

    A 101 is the beginning of a tunnel, also where no upgrade was asked for: that is for the caller to refuse.

    :param method: of the request.
    :raises BadResponse: when it is in doubt.
    """
    framing = _declared(head, BadResponse)
    status = head.status
    if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
        return TUNNEL
    if status < 200 or status == 204:
        return NO_BODY
    if status == 304 or method == b"HEAD":
        return Framing(Body.NONE, framing.length) if framing else NO_BODY
    return framing or UNTIL_CLOSE


def _bad_request(message: str) -> BadRequest:
    return BadRequest(400, Cause.BAD_FRAMING, message)


def _declared(head: Head, refuse: _Refuse) -> Framing | None:
    """Read what a head itself says of its body."""
    special = head.special
    lengths, codings = special.get(_LENGTH), special.get(_CODING)
    if not special.keys().isdisjoint(_LOOK_ALIKES):
        raise refuse("a field looks like Content-Length or Transfer-Encoding")
    if lengths is None:
        return None if codings is None else _chunked(head, codings, refuse)
    if codings is not None:
        raise refuse("Content-Length and Transfer-Encoding come together")
    return _of_length(lengths, refuse)


def _of_length(values: list[bytes], refuse: _Refuse) -> Framing:
    if len(values) > 1:
        raise refuse("Content-Length comes more than once")
    if not _is_length(values[0]) or int(values[0]) > MAX_LENGTH:
        raise refuse(f"Content-Length is a number up to 2^63 - 1, got {values[0][:40]!r}")
    return Framing(Body.LENGTH, int(values[0]))


def _chunked(head: Head, values: list[bytes], refuse: _Refuse) -> Framing:
    if head.version == b"1.0":
        raise refuse("Transfer-Encoding comes in HTTP/1.0")
    # The usual form first; names of codings have no case.
    if len(values) == 1 and values[0].lower() == b"chunked":
        return CHUNKED
    *others, last = [coding.lower() for coding in members(values)] or [b""]
    if last == b"chunked" and others and b"chunked" not in others and all(map(is_token, others)):
        error = refuse("Transfer-Encoding has a coding besides chunked")
        # RFC 9112, section 6.1: a server that does not know a coding responds with 501.
        error.status = 501 if isinstance(error, BadRequest) else error.status
        raise error
    raise refuse(f"Transfer-Encoding is chunked and nothing else, got {values[0][:40]!r}")
