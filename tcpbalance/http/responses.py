"""The body of a response, as it goes on to a client."""

from __future__ import annotations

import re

from tcpbalance.errors import Fault
from tcpbalance.http.bodies import ChunkedBody, EndlessBody, LengthBody, PassedBody
from tcpbalance.wire.http.framing import CHUNKED, UNTIL_CLOSE, Body, Framing
from tcpbalance.wire.http.head import ResponseHead

_find_event_stream = re.compile(rb"\n(?i:content-type:[ \t]*+text/event-stream)(?![^\s;])").search


def passed_framing(framing: Framing, version: bytes) -> Framing:
    """Give how a body is framed for a client: where its length is not known, in chunks, which HTTP/1.0 lacks.

    :param framing: of the response.
    :param version: of the request.
    """
    if framing is CHUNKED or framing is UNTIL_CLOSE:
        return UNTIL_CLOSE if version == b"1.0" else CHUNKED
    return framing


def is_event_stream(head: ResponseHead) -> bool:
    """Whether a response is a stream of events, in which pauses of any length are usual."""
    return _find_event_stream(head.rest) is not None


def passed_body(framing: Framing, version: bytes) -> PassedBody | None:
    """Give the body of a response; None for none.

    For the parameters see above.
    """
    if framing.body is Body.LENGTH:
        return LengthBody(framing.length) if framing.length else None
    if framing.body is Body.CHUNKED:
        return ChunkedBody(Fault.BACKEND, version != b"1.0")
    return EndlessBody(version != b"1.0") if framing.body is Body.UNTIL_CLOSE else None
