"""Heads written anew: what goes on, what does not, and what is written from facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.http_heads import REQUESTS, Parts
from tcpbalance.errors import SettingError
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.forwarded import ForwardedClient, ForwardedWriter
from tcpbalance.wire.http.framing import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    Body,
    Framing,
    request_framing,
    response_framing,
)
from tcpbalance.wire.http.head import RequestHead, ResponseHead
from tcpbalance.wire.http.head_reader import RequestReader, ResponseReader
from tcpbalance.wire.http.rewrite import FIXED_FIELDS, FieldEdits, RequestRewriter, ResponseRewriter
from tcpbalance.wire.http.target import read_target

CLIENT = ForwardedClient(b"https", 443, ("192.0.2.1",))
PLAIN = RequestRewriter(ForwardedWriter(()))


def request(data: bytes) -> RequestHead:
    head = RequestReader(HeadLimits()).read(data)
    assert head is not None
    return head


def response(data: bytes) -> ResponseHead:
    head = ResponseReader(HeadLimits()).read(data)
    assert head is not None
    return head


def written(
    data: bytes, rewriter: RequestRewriter = PLAIN, client: ForwardedClient = CLIENT, **more: object
) -> bytes:
    head = request(data)
    return rewriter.write(head, read_target(head), request_framing(head), client, **more)  # type: ignore[arg-type]


def answered(data: bytes, rewriter: ResponseRewriter | None = None, **more: object) -> bytes:
    head = response(data)
    options = {"version": b"1.1", "keep_alive": True, "date": b"now", **more}
    return (rewriter or ResponseRewriter()).write(head, response_framing(head, b"GET"), **options)  # type: ignore[arg-type]


def test_a_request_is_written_from_facts() -> None:
    assert written(
        b"POST http://b.example:81/c?d HTTP/1.0\r\nAccept:*/* \r\nhost: a.example\r\n"
        b"Connection: keep-alive, x-hop, HOST\r\n"
        b"Keep-Alive: 5\r\nX-Hop: 1\r\nProxy-Connection: close\r\nProxy-Authorization: Basic x\r\n"
        b"TE: gzip\r\n"
        b"CONTENT-LENGTH: 005\r\nProxy: evil\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
        b"X-Forwarded-For: 1.2.3.4\r\n"
        b"x_forwarded_proto: https\r\nForwarded: for=x\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-User: root\r\n"
        b"Expect: 100-continue\r\nCookie: a=b\r\nVia: 1.0 other\r\nTrailer: X\r\nX-Forwarded: y\r\n\r\n"
    ) == (
        b"POST /c?d HTTP/1.1\r\nHost: b.example:81\r\nAccept:*/* \r\nCookie: a=b\r\n"
        b"Via: 1.0 other\r\nTrailer: X\r\n"
        b"X-Forwarded: y\r\nContent-Length: 5\r\n\r\n"
    )


def test_what_a_caller_chooses() -> None:
    data = (
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n"
        b"TE: trailers\r\n\r\n"
    )
    assert written(data, upstream=b"/b", host=b"b", upgrade=b"websocket", close=False) == (
        b"GET /b HTTP/1.1\r\nHost: b\r\nConnection: upgrade, te\r\nTE: trailers\r\nUpgrade: websocket\r\n\r\n"
    )
    assert (
        written(b"GET / HTTP/1.0\r\n\r\n", close=True)
        == b"GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 0", b"Content-Length: 0"),
    ],
)
def test_framing_of_a_request(line: bytes, kept: bytes) -> None:
    assert written(b"PUT / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n").endswith(
        b"\r\nHost: a\r\n" + kept + b"\r\n\r\n"
    )


def test_expectations_go_on() -> None:
    data = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nexpect: 100-Continue\r\n\r\n"
    assert b"\r\nExpect: 100-continue\r\n" in written(data)


def test_forwarded_fields() -> None:
    data = (
        b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Prefix: /a\r\n"
        b"X-Forwarded-Prefix: /b\r\nHost: a:1\r\n\r\n"
    )
    ours = (
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
        b"X-Forwarded-Host: a:1\r\n"
    )
    rewriter = RequestRewriter(ForwardedWriter())
    assert written(data, rewriter) == b"GET / HTTP/1.1\r\nHost: a:1\r\n" + ours + b"\r\n"
    behind = ForwardedClient(b"https", 443, ("192.0.2.1",), trusted=True, by_x_forwarded=True)
    passed = b"x-forwarded-prefix: /a\r\nx-forwarded-prefix: /b\r\n"
    assert written(data, rewriter, behind) == b"GET / HTTP/1.1\r\nHost: a:1\r\n" + ours + passed + b"\r\n"
    assert b"orwarded" not in written(data, client=behind)


def test_edits() -> None:
    edits = FieldEdits([(b"X-Env", b"prod"), (b"X-Forwarded-Proto", b"https")], [b"x-debug", b"Expect"])
    rewriter = RequestRewriter(ForwardedWriter(), edits)
    found = written(
        b"PUT / HTTP/1.1\r\nX-Debug: 1\r\nHost: a\r\nx-env: test\r\nX-DEBUG-2: 2\r\nx-debug:3\r\n"
        b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        rewriter,
        ForwardedClient(b"http", 80, ("192.0.2.1",)),
    )
    assert found == (
        b"PUT / HTTP/1.1\r\nHost: a\r\nX-DEBUG-2: 2\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Port: 80\r\n"
        b"X-Forwarded-Host: a\r\nX-Env: prod\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n\r\n"
    )


def test_edits_reach_names_that_applications_take_for_the_same() -> None:
    rewriter = RequestRewriter(ForwardedWriter(()), FieldEdits([(b"X-User", b"a")], [b"X-Debug", b"My_Own"]))
    found = written(
        b"GET / HTTP/1.1\r\nHost: a\r\nX_User: b\r\nx_debug: 1\r\nMy-Own: 2\r\nX-Debug.2: 3\r\n\r\n", rewriter
    )
    assert found == b"GET / HTTP/1.1\r\nHost: a\r\nX-Debug.2: 3\r\nX-User: a\r\n\r\n"


@pytest.mark.parametrize("name", [b"a b", b"", b"Host", b"Content-Length", *sorted(FIXED_FIELDS)])
def test_what_cannot_be_edited(name: bytes) -> None:
    with pytest.raises(SettingError):
        FieldEdits([], [name])
    with pytest.raises(SettingError):
        FieldEdits([(name, b"x")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"\x00"])
def test_what_cannot_be_a_value(value: bytes) -> None:
    with pytest.raises(SettingError):
        FieldEdits([(b"X", value)])


def test_a_response_is_written_from_facts() -> None:
    assert answered(
        b"HTTP/1.0 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Type: a/b\r\n"
        b"content-length: 03\r\n"
        b"Keep-Alive: timeout=5\r\nDATE: then\r\nUpgrade: h2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        b"TE: x\r\n\r\n",
        extra=b"Via: 1.0 tcpbalance\r\n",
    ) == (
        b"HTTP/1.1 200 Fine\r\nContent-Type: a/b\r\nDATE: then\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        b"Via: 1.0 tcpbalance\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("version", "keep_alive", "line"),
    [
        (b"1.1", True, b""),
        (b"1.1", False, b"Connection: close\r\n"),
        (b"1.0", True, b"Connection: keep-alive\r\n"),
        (b"1.0", False, b"Connection: close\r\n"),
    ],
)
def test_whether_the_connection_stays_open(version: bytes, keep_alive: bool, line: bytes) -> None:
    found = answered(b"HTTP/1.1 200\r\n\r\n", version=version, keep_alive=keep_alive)
    assert found == b"HTTP/1.1 200 \r\nDate: now\r\n" + line + b"\r\n"


def test_more_lines_are_not_edited() -> None:
    edits = FieldEdits([(b"A", b"1")], [b"X-Debug"])
    more = edits.removing(b"X-Request-Id", b"Set-Cookie")
    assert (more.set_fields, more.remove) == (edits.set_fields, (b"X-Debug", b"X-Request-Id", b"Set-Cookie"))
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Debug: 1\r\nx-request-id: theirs\r\n\r\n"
    found = written(data, RequestRewriter(ForwardedWriter(()), more), extra=b"X-Request-Id: ours\r\n")
    assert found == b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nX-Request-Id: ours\r\n\r\n"
    data = b"HTTP/1.1 204 x\r\nSet-Cookie: a\r\nDate: now\r\n\r\n"
    found = answered(data, ResponseRewriter(more), extra=b"Set-Cookie: b\r\n")
    assert found == b"HTTP/1.1 204 x\r\nDate: now\r\nA: 1\r\nSet-Cookie: b\r\n\r\n"


def test_interim_responses_and_upgrades() -> None:
    assert answered(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", keep_alive=False) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    )
    data = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n"
    )
    assert answered(data, upgrade=b"websocket") == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n"
    )


def test_426_asks_for_a_protocol() -> None:
    found = answered(
        b"HTTP/1.1 426 x\r\nUpgrade: a\r\nContent-Length: 0\r\n\r\n", upgrade=b"a", keep_alive=False
    )
    assert found.endswith(b"Content-Length: 0\r\nConnection: upgrade, close\r\nUpgrade: a\r\n\r\n")


@pytest.mark.parametrize(
    ("framing", "line"),
    [
        (CHUNKED, b"Transfer-Encoding: chunked\r\n"),
        (UNTIL_CLOSE, b""),
        (NO_BODY, b""),
        (Framing(Body.NONE, 7), b"Content-Length: 7\r\n"),
        (Framing(Body.LENGTH, 2**63 - 1), b"Content-Length: 9223372036854775807\r\n"),
    ],
)
def test_framing_of_a_response(framing: Framing, line: bytes) -> None:
    head = response(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    found = ResponseRewriter().write(head, framing, version=b"1.1", keep_alive=True, date=b"now")
    assert found == b"HTTP/1.1 200 OK\r\nDate: now\r\n" + line + b"\r\n"


def test_edits_of_a_response() -> None:
    rewriter = ResponseRewriter(FieldEdits([(b"Date", b"never")], [b"Server"]))
    data = b"HTTP/1.1 200 OK\r\nserver: x\r\nX-Server: y\r\nDate: now\r\n\r\n"
    assert answered(data, rewriter) == b"HTTP/1.1 200 OK\r\nX-Server: y\r\nDate: never\r\n\r\n"


@given(REQUESTS, st.booleans())
def test_any_request_is_the_same_behind_us(parts: Parts, close: bool) -> None:
    before = request(parts.head())
    after = request(written(parts.head(), close=close))
    assert (after.method, after.target, after.version) == (parts.method, parts.target, b"1.1")
    assert after.special.get(b"host") == [parts.host]
    assert request_framing(after) == request_framing(before)
    assert after.options == ({b"close"} if close else frozenset())
    assert [(name, value) for name, _, value in before.fields][1 : 1 + len(parts.fields)] == parts.fields
    kept = [(name, value) for name, lower, value in after.fields if lower not in after.special]
    assert kept == [(name, value) for name, lower, value in before.fields if lower not in before.special]
