"""Usual heads are read by an expression of their own: as all others are, or not at all."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.errors import BadMessage
from tcpbalance.wire.http.head import Head, RequestHead
from tcpbalance.wire.http.head_reader import RequestReader, ResponseReader
from tcpbalance.wire.http.usual_head import UsualRequestHead, UsualResponseHead

LIMITS = HeadLimits()
SHORT = HeadLimits(120, 4)

NAMES = [
    *[b"Host", b"host", b"HOST", b"Connection", b"connection", b"Content-Length", b"content-length"],
    *[b"Content_Length", b"Transfer-Encoding", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Te", b"Upgrade"],
    *[b"Upgrade-Insecure-Requests", b"Expect", b"HTTP2-Settings", b"Proxy", b"Proxy-Authorization"],
    *[b"Proxy-X", b"Forwarded", b"X-Forwarded-For", b"x_forwarded-a", b"X-Real-IP", b"X-Real-IPs", b"X-A"],
    *[b"Hosts", b"A", b"Accept", b"User-Agent", b"Connections", b"Teal", b" A", b"A ", b"", b"Co\x00"],
]
VALUES = [
    *[
        b" a",
        b"a",
        b" a ",
        b"\ta",
        b"",
        b" keep-alive",
        b" Keep-Alive",
        b"keep-alive",
        b" keep-alive ",
        b" 5",
    ],
    *[
        b" 05",
        b" 0",
        b" 1234567890",
        b" a:1",
        b" [::1]",
        b" a b",
        b" a/b",
        b" \x80",
        b" a\rb",
        b" a\nb",
        b" \x00",
    ],
]
LINE = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(b":".join)
USUAL_LINE = st.sampled_from(
    [
        *[b"Host: a.example", b"Content-Length: 5", b"Connection: keep-alive", b"Accept: */*", b"X: y"],
        b"Keep-Alive: timeout=5",
    ]
)
LINES = st.lists(st.one_of(USUAL_LINE, USUAL_LINE, LINE), max_size=6)
TARGETS = st.sampled_from(
    [
        b"/",
        b"/a?b",
        b"/?",
        b"/a?b?c",
        b"/a#b",
        b"*",
        b"a",
        b"http://a/",
        b"/ b",
        b'/"|',
        b"/\x80",
        b"//",
        b"/%2f",
    ]
)
ENDS = st.sampled_from([b"\r\n\r\n"] * 6 + [b"\r\n", b"\n\n", b"\r\n \r\n", b"\r\n\r\nbody", b"\r\n\r\n\r\n"])


def facts(reader: RequestReader | ResponseReader, data: bytes | bytearray) -> Any:
    """Give all that is known of a head; what is wrong where it is none, or None while it is not whole."""
    try:
        head = reader.read(data)
    except BadMessage as error:
        return str(error)
    return head and (
        (head.method, head.target) if isinstance(head, RequestHead) else (head.status, head.reason),
        (head.version, head.size, head.special, head.options, head.rest, head.fields),
    )


def check(reader: type[RequestReader | ResponseReader], data: bytes, limits: HeadLimits) -> None:
    with (
        patch("tcpbalance.wire.http.head_reader.usual_request", return_value=None),
        patch("tcpbalance.wire.http.head_reader.usual_response", return_value=None),
    ):
        expected = facts(reader(limits), data)
    assert facts(reader(limits), data) == expected
    assert facts(reader(limits), bytearray(data)) == expected


@settings(max_examples=500)
@given(
    st.sampled_from([b"GET", b"GET", b"GET", b"get", b"HEAD", b"\r\nGET"]),
    TARGETS,
    st.sampled_from([b"1.1", b"1.1", b"1.0", b"2.0"]),
    LINES,
    ENDS,
    st.sampled_from([LIMITS, SHORT]),
)
@example(
    b"GET", b"/a?b", b"1.1", [b"Host: a", b"X: y", b"Connection: keep-alive", b"Y: z"], b"\r\n\r\n", LIMITS
)
@example(b"GET", b"/", b"1.1", [b"Host: a", *[b"X: y"] * 4], b"\r\n\r\n", SHORT)
@example(b"GET", b"/".ljust(61, b"a"), b"1.1", [b"Host: a"], b"\r\n\r\n", SHORT)
@example(b"GET", b"/", b"1.1", [b"Host: ".ljust(130, b"a")], b"\r\n\r\n", SHORT)
def test_a_request(
    method: bytes, target: bytes, version: bytes, lines: list[bytes], end: bytes, limits: HeadLimits
) -> None:
    first = b"%b %b HTTP/%b" % (method, target, version)
    check(RequestReader, b"\r\n".join((first, *lines)) + end, limits)


@settings(max_examples=500)
@given(
    st.sampled_from([b"1.1", b"1.1", b"1.0", b"2.0"]),
    st.sampled_from(
        [b"200 OK", b"200 ", b"200", b"404 Not Found", b"204 A", b"304 A", b"199 A", b"100 A", b"2x0 A"]
    ),
    LINES,
    ENDS,
    st.sampled_from([LIMITS, SHORT]),
)
@example(
    b"1.1",
    b"200 OK",
    [b"X: y", b"Content-Length: 5", b"Connection: keep-alive", b"Y: z"],
    b"\r\n\r\n",
    LIMITS,
)
@example(b"1.1", b"200 OK", [b"Content-Length: 5", *[b"X: y"] * 4], b"\r\n\r\n", SHORT)
def test_a_response(
    version: bytes, status: bytes, lines: list[bytes], end: bytes, limits: HeadLimits
) -> None:
    check(ResponseReader, b"\r\n".join((b"HTTP/%b %b" % (version, status), *lines)) + end, limits)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Host: a.example"],
        [b"host: a.example:81", b"user-agent: a", b"accept: */*"],
        [b"Accept: */*", b"Host: a", b"Upgrade-Insecure-Requests: 1", b"Cookie: a=b", b"If-None-Match: x"],
        [b"Host: a", b"Connection: keep-alive", b"Cache-Control: max-age=0", b"Pragma: no-cache"],
        [b"Host: a", b"User-Agent: b", b"Connection: Keep-Alive"],
    ],
)
def test_what_is_usual_of_requests(lines: list[bytes]) -> None:
    head = RequestReader(LIMITS).read(b"\r\n".join((b"GET /a?b HTTP/1.1", *lines)) + b"\r\n\r\n")
    assert isinstance(head, UsualRequestHead)
    assert (head.path, [head.host]) == (b"/a", head.special[b"host"])


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5"],
        [b"date: then", b"server: uvicorn", b"content-length: 5", b"content-type: application/json"],
        [
            b"Server: nginx",
            b"Content-Length: 5",
            b"Connection: keep-alive",
            b"ETag: x",
            b"Cache-Control: no-store",
        ],
        [b"Content-Length: 5", b"Date: then", b"Connection: keep-alive", b"Keep-Alive: timeout=5"],
    ],
)
def test_what_is_usual_of_responses(lines: list[bytes]) -> None:
    head = ResponseReader(LIMITS).read(b"\r\n".join((b"HTTP/1.1 404 Not Found", *lines)) + b"\r\n\r\nhello")
    assert isinstance(head, UsualResponseHead)
    assert (head.length, head.status, head.reason) == (5, 404, b"Not Found")


def test_a_head_that_has_begun_to_come_is_read_as_all_others() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    reader = RequestReader(LIMITS)
    assert reader.read(data[:-1]) is None
    head: Head | None = reader.read(data)
    assert isinstance(head, RequestHead)
    assert not isinstance(head, UsualRequestHead)
    assert isinstance(reader.read(data), UsualRequestHead)
    assert not isinstance(
        ResponseReader(LIMITS).read(b"HTTP/1.1 204 A\r\nContent-Length: 5\r\n\r\n"), UsualResponseHead
    )
