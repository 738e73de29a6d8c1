"""What we take, another implementation, h11, takes for the same; what it alone takes is named here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.http_corpus import AMBIGUOUS, TAKEN
from support.http_heads import spoiled
from support.http_receiver import Receiver
from tcpbalance.wire.http.chunks import last_chunk, one_chunk
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.forwarded import FORWARDED_FIELDS, ForwardedClient, ForwardedWriter
from tcpbalance.wire.http.framing import NO_BODY, Body, request_framing
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.rewrite import RequestRewriter
from tcpbalance.wire.http.target import read_target

REWRITER = RequestRewriter(ForwardedWriter(FORWARDED_FIELDS))

Taken = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]
"""Method, target, fields with names in lower case, body."""


def h11_takes(data: bytes) -> Taken | None:
    """Give the first request, None when it is refused or not whole."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    return request.method, request.target, list(request.headers), body


def we_take(data: bytes) -> Taken | None:
    received = Receiver().feed([data])
    if not received.messages:
        return None
    head = RequestReader(HeadLimits()).read(data)
    assert head is not None
    fields = [(lower, value) for _, lower, value in head.fields]
    return head.method, head.target, fields, received.messages[0][1]


def found(pattern: bytes) -> Callable[[bytes], bool]:
    return lambda data: re.search(pattern, data, re.IGNORECASE) is not None


_PORT = rb"(?::(?:[0-9]{0,4}|[0-5][0-9]{4}))?"
_AUTHORITY = rb"(?:[\w.-]*\w[\w.-]*|\[[0-9a-f:]+\])" + _PORT

_BRACKETS = re.compile(rb"\[([0-9a-f:]+)\]", re.IGNORECASE)


def _is_ipv6(text: bytes) -> bool:
    try:
        ipaddress.IPv6Address(text.decode("ascii"))
    except ValueError:
        return False
    return True


WE_ALLOW = {"an empty line before a request": found(rb"\A\r\n")}
"""What h11 refuses."""

STRICTER = {
    "a line without CR": found(rb"(?<!\r)\n"),
    "a folded line": found(rb"\n[ \t]"),
    "a control byte in a value": found(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)"),
    "a target with # or beyond ASCII": found(rb"\A\S+ \S*[#\x7f-\xff]"),
    "a target without a form": found(rb"\A\S+ (?!/|https?://" + _AUTHORITY + rb"[/? ])"),
    "a method for another form": found(rb"\ACONNECT "),
    "no such version": found(rb" HTTP/(?!1\.[01]\r)"),
    "a malformed host": found(rb"\nHost:(?![ \t]*" + _AUTHORITY + rb"[ \t]*\r)"),
    "brackets around no IPv6 address": lambda data: not all(map(_is_ipv6, _BRACKETS.findall(data))),
    "a length that is a list": found(rb"\nContent-Length:[^\n]*,"),
    "two lengths": found(rb"\nContent-Length:(?s:.)*\nContent-Length:"),
    "length and coding": found(
        rb"\n(Content-Length|Transfer-Encoding):(?s:.)*\n(Content-Length|Transfer-Encoding):"
    ),
    "a coding in HTTP/1.0": found(rb"HTTP/1\.0\r(?s:.)*\nTransfer-Encoding:"),
    "a look-alike": found(rb"\n(Content_Length|Transfer_Encoding):"),
    "another expectation": found(rb"\nExpect:(?![ \t]*100-continue[ \t]*\r)"),
    "white space behind the size of a chunk": found(rb"[0-9a-f][ \t]+[\r;]"),
    "a long size of a chunk": found(rb"\n0{16}|[0-9a-f]{16}"),
    "extensions without limits": found(rb"\n[0-9a-f]+;([^\n]{1000}|\r)"),
    "a trailer that frames": found(
        rb"0\r\n(?s:.)*(Content-Length|Transfer[-_]Encoding|Host|Forwarded|Authorization|Proxy|HTTP2[-_]Settings"
        rb"|Keep[-_]Alive|Set[-_]Cookie|X[-_]Request[-_]Id)"
    ),
    "limits of a head or of trailers": lambda data: len(data) > 4096 or data.count(b"\n") > 32,
}
"""What h11 allows, and two recipients could understand in two ways, or is not bounded."""


def compare(data: bytes) -> None:
    ours, theirs = we_take(data), h11_takes(data)
    if ours is None:
        assert theirs is None or [reason for reason, applies in STRICTER.items() if applies(data)]
    elif theirs is None:
        assert [reason for reason, applies in WE_ALLOW.items() if applies(data)]
    else:
        normal = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in ours[2]]
        assert (*ours[:2], normal, ours[3]) == theirs


BODIES = st.sampled_from(
    [
        b"",
        b"0\r\n\r\n",
        b"0123456789abcdefg",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1;a\r\nx\r\n0\r\nA: b\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
    ]
)


@settings(max_examples=500)
@given(spoiled(), BODIES)
@example(b"0 / HTTP/1.1\r\nHost:[20db8::1]:8080\r\n\r\n", b"")
def test_it_takes_what_we_write(head: bytes, body: bytes) -> None:
    taken = we_take(head + body)
    if taken is None or taken[0] == b"CONNECT":
        return
    request = RequestReader(HeadLimits()).read(head + body)
    assert request is not None
    target, framing = read_target(request), request_framing(request)
    client = ForwardedClient(b"https", 443, ("2001:db8::1", "192.0.2.1"))
    written = REWRITER.write(request, target, framing, client)
    chunked = one_chunk(taken[3], [(0, len(taken[3]))]) if taken[3] else b""
    theirs = h11_takes(written + (chunked + last_chunk() if framing.body is Body.CHUNKED else taken[3]))
    assert theirs is not None
    assert (theirs[0], theirs[1], theirs[3]) == (request.method, target.upstream, taken[3])
    names = [name for name, _ in theirs[2]]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") == (framing is not NO_BODY)
    assert b"connection" not in names


@settings(max_examples=500)
@given(spoiled(), BODIES)
@example(b"0 / HTTP/1.1\r\nHost:[20db8::1]:8080\r\n\r\n", b"")
def test_a_spoiled_request(head: bytes, body: bytes) -> None:
    compare(head + body)


@pytest.mark.parametrize("data", [*(case.data for case in AMBIGUOUS), *(data for data, _, _ in TAKEN)])
def test_a_request_of_the_corpus(data: bytes) -> None:
    compare(data)
