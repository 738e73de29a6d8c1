"""Answers of our own: what is wrong, or what a route says without a backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tcpbalance.http.pages import Page
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.dates import http_date
from tcpbalance.wire.http.rewrite import NO_EDITS, FieldEdits
from tcpbalance.wire.http.status import reason as reason_phrase

STATUS_OF: Mapping[EndReason, int] = {
    EndReason.BAD_REQUEST: 400,
    EndReason.REQUEST_REFUSED: 403,
    EndReason.NO_ROUTE: 404,
    EndReason.HEAD_TIMEOUT: 408,
    EndReason.BODY_TIMEOUT: 408,
    EndReason.RATE_LIMITED: 429,
    EndReason.INTERNAL_ERROR: 500,
    EndReason.BAD_RESPONSE: 502,
    EndReason.CONNECT_FAILED: 502,
    EndReason.BACKEND_RESET: 502,
    EndReason.BACKEND_CLOSED: 502,
    EndReason.MAX_REQUESTS: 503,
    EndReason.NO_BACKEND: 503,
    EndReason.QUEUE_FULL: 503,
    EndReason.QUEUE_TIMEOUT: 503,
    EndReason.LOCAL_FAILURE: 503,
    EndReason.OUT_OF_DESCRIPTORS: 503,
    EndReason.TUNNEL_FAILED: 502,
    EndReason.DIAL_TIMEOUT: 504,
    EndReason.TUNNEL_TIMEOUT: 504,
    EndReason.RESPONSE_TIMEOUT: 504,
}
"""What the client gets, by the reason for which the balancer answers a request."""

RETRY_AFTER = b"Retry-After: 1\r\n"
"""With 503: what is lacking may be there in a moment."""

_NO_BODY = frozenset((204, 205, 304))


class DateClock:
    """Gives the time as answers have it.

    :param wall_clock: seconds since the epoch.
    """

    __slots__ = ("_date", "_second", "_wall_clock")

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        second = int(self._wall_clock())
        if second != self._second:
            self._second, self._date = second, http_date(second)
        return self._date


def own_answer(
    status: int,
    date: bytes,
    *,
    page: Page | None = None,
    extra: bytes = b"",
    edits: FieldEdits = NO_EDITS,
    with_body: bool = True,
    keep_alive: bool = True,
    version: bytes = b"1.1",
) -> tuple[bytes, int]:
    """Write an answer.

    :param page: its body; None for a line of text.
    :param extra: more lines, each with CR LF.
    :param edits: of the lines beyond those of the connection.
    :param with_body: whether the body follows, as after all but HEAD.
    :param keep_alive: whether the connection stays open after this.
    :param version: of the request.
    :returns: the answer, and how many of its bytes are the body.
    """
    phrase = reason_phrase(status)
    connection = b""
    if not keep_alive:
        connection = b"Connection: close\r\n"
    elif version == b"1.0":
        connection = b"Connection: keep-alive\r\n"
    if status in _NO_BODY:
        # 205 says that there is nothing; 204 and 304 cannot have a length: RFC 9110, sections 8.6 and 15.3.6.
        body, length = b"", b"Content-Length: 0\r\n" if status == 205 else b""
    else:
        body, media_type = b"%d %b\n" % (status, phrase), b"text/plain; charset=utf-8"
        if page is not None:
            body, media_type = page.body, page.media_type.encode("latin-1")
        extra += b"Content-Type: %b\r\n" % media_type
        length = b"Content-Length: %d\r\n" % len(body)
    lines = edits.apply(b"\r\n" + extra)
    head = b"HTTP/1.1 %d %b%bDate: %b\r\n%b%b\r\n" % (status, phrase, lines, date, length, connection)
    return (head + body, len(body)) if with_body else (head, 0)


def answer_to_plain() -> bytes:
    """Give what a client gets that speaks HTTP without TLS where TLS is spoken."""
    date = http_date(int(time.time()))
    page = Page(b"this port speaks TLS: use https:// in the place of http://\n", "text/plain; charset=utf-8")
    answer, _ = own_answer(400, date, page=page, keep_alive=False)
    return answer
