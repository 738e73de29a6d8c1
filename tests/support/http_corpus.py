"""Requests and responses that two recipients could take for different ones, and valid ones like them.

Written from RFC 9110 and RFC 9112; what is refused that they let pass has ``stricter`` in its name.
"""

from __future__ import annotations

from attrs import frozen

from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.errors import Cause
from tcpbalance.wire.http.framing import NO_BODY, TUNNEL, UNTIL_CLOSE, Body, Framing

ONLY_CHUNKED = Framing(Body.CHUNKED)

LIMITS = HeadLimits(4096, 100)

MARKER = b"GET /marker HTTP/1.1\r\nHost: marker.example\r\n\r\n"
"""Stands behind each message; behind one that is refused, it is not a request."""

HEAD = b"GET / HTTP/1.1\r\nHost: a.example\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@frozen
class BadCase:
    """A message that is refused."""

    name: str
    data: bytes
    cause: Cause
    status: int = 400


def _each(name: str, cause: Cause, *messages: bytes, status: int = 400) -> list[BadCase]:
    return [BadCase(f"{name} {place}", data, cause, status) for place, data in enumerate(messages)]


def _fields(*lines: bytes, method: bytes = b"POST", end: bytes = b"0\r\n\r\n") -> bytes:
    """A request with these lines beside Host."""
    head = method + b" / HTTP/1.1\r\nHost: a.example\r\n"
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + end


_LENGTHS = [
    b"+3",
    b"-1",
    b"0x3",
    b"0_3",
    b"",
    b"3,3",
    b"3, 3",
    b"3 3",
    b"3;",
    b"3.0",
    b"'3'",
    b'"3"',
    b"three",
    b"\xb3",
    b"9223372036854775808",
    b"18446744073709551619",
    b"99999999999999999999999999",
    b"\xa03",
]

_CODINGS = [
    b"identity",
    b"xchunked",
    b"chunkedx",
    b"chunked, chunked",
    b"chunked,",
    b",chunked",
    b'"chunked"',
    b"'chunked'",
    b"chunked;q=1",
    b"chunked, identity",
    b"chunked, gzip",
    b"gzip",
    b"",
    b"\xa0chunked",
    b"chunk\xe4d",
    b"chunked gzip",
    b"g zip, chunked",
    b"gzip;q=1, chunked",
]

_TWO_CODINGS = [b"gzip, chunked", b"deflate,chunked", b"identity, chunked", b"gzip, br, chunked"]

_SIZES = [
    b"0x3",
    b"+3",
    b"-3",
    b"0_3",
    b"",
    b" 3",
    b"3 ",
    b"\t3",
    b"3\t",
    b"3,",
    b"g",
    b"\xb3",
    b"8000000000000000",
    b"FFFFFFFFFFFFFFFF",
    b"10000000000000000",
    b"00000000000000003",
    b"3;",
    b"3 ;a=b",
    b"3;a\x00",
    b"3;a\x7f",
    b"3;a=\r",
    b"3;" + b"a" * 1025,
]

AMBIGUOUS: list[BadCase] = [
    # Both kinds of framing
    *_each(
        "length and chunks",
        Cause.BAD_FRAMING,
        _fields(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        _fields(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        _fields(b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        _fields(b"Transfer-Encoding: identity", b"Content-Length: 5"),
        _fields(b"content-length: 5", b"TRANSFER-ENCODING: chunked"),
        _fields(b"Content-Length:", b"Transfer-Encoding: chunked"),
    ),
    *_each(
        "length", Cause.BAD_FRAMING, *(_fields(b"Content-Length: " + text, end=b"abc") for text in _LENGTHS)
    ),
    *_each(
        "lengths",
        Cause.BAD_FRAMING,
        _fields(b"Content-Length: 3", b"Content-Length: 4", end=b"abc"),
        _fields(b"Content-Length: 3", b"X: y", b"content-length: 0", end=b"abc"),
        _fields(b"Content-Length: 3", b"Content-Length: +3", end=b"abc"),
    ),
    *_each(
        "same lengths, stricter",
        Cause.BAD_FRAMING,
        _fields(b"Content-Length: 3", b"Content-Length: 3", end=b"abc"),
    ),
    *_each("coding", Cause.BAD_FRAMING, *(_fields(b"Transfer-Encoding: " + text) for text in _CODINGS)),
    *_each(
        "codings",
        Cause.BAD_FRAMING,
        _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
    ),
    *_each(
        "coding besides",
        Cause.BAD_FRAMING,
        *(_fields(b"Transfer-Encoding: " + text) for text in _TWO_CODINGS),
        status=501,
    ),
    *_each(
        "codings besides",
        Cause.BAD_FRAMING,
        _fields(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
        status=501,
    ),
    *_each(
        "coding in 1.0",
        Cause.BAD_FRAMING,
        b"POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
    ),
    *_each(
        "look-alikes",
        Cause.BAD_FRAMING,
        _fields(b"Content_Length: 3", end=b"abc"),
        _fields(b"Transfer_Encoding: chunked"),
        _fields(b"Content-Length: 3", b"TRANSFER_ENCODING: chunked", end=b"abc"),
    ),
    *_each(
        "CONNECT with a body",
        Cause.BAD_FRAMING,
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc",
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    # Lines
    *_each(
        "folded lines",
        Cause.BAD_HEAD,
        _fields(b"X: a\r\n b"),
        _fields(b"X: a\r\n\tb"),
        _fields(b"Transfer-Encoding:\r\n chunked"),
        b"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a.example\r\n\r\n",
    ),
    *_each(
        "bare LF",
        Cause.BAD_HEAD,
        b"GET / HTTP/1.1\nHost: a.example\n\n",
        b"GET / HTTP/1.1\r\nHost: a.example\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\n",
        b"GET / HTTP/1.1\nHost: a.example\r\n\r\n",
        _fields(b"X: a\nTransfer-Encoding: chunked"),
        b"\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    *_each(
        "bare CR",
        Cause.BAD_HEAD,
        b"GET / HTTP/1.1\rHost: a.example\r\r",
        b"GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\n",
        _fields(b"X: a\rb"),
        _fields(b"X: a\rTransfer-Encoding: chunked"),
        b"GET / HTTP/1.1\r\r\nHost: a.example\r\n\r\n",
        b"\r\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    *_each(
        "names",
        Cause.BAD_HEAD,
        _fields(b"Content-Length : 3", end=b"abc"),
        _fields(b"Transfer-Encoding\t: chunked"),
        _fields(b"Transfer-Encoding\x0b: chunked"),
        _fields(b"X\x00Y: a"),
        _fields(b"no colon"),
        _fields(b"nocolon"),
        _fields(b": empty"),
        _fields(b"X(Y): a"),
        _fields(b"X[]: a"),
        _fields(b"X\xe4: a"),
        _fields(b'"X": a'),
        _fields(b"X/Y: a"),
        _fields(b"GET / HTTP/1.1"),
    ),
    *_each(
        "values",
        Cause.BAD_HEAD,
        _fields(b"X: a\x00b"),
        _fields(b"X: a\x01b"),
        _fields(b"X: a\x7fb"),
        _fields(b"X: a\x0bb"),
        _fields(b"Transfer-Encoding: \x0bchunked"),
        _fields(b"Transfer-Encoding: chunked\x0c"),
        _fields(b"Content-Length: 3\x00", end=b"abc"),
    ),
    # Host
    *_each(
        "host",
        Cause.BAD_TARGET,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        *(
            b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host
            for host in (
                b"",
                b"a b",
                b"u@a",
                b"a/b",
                b"a?b",
                b"a#b",
                b"a\\b",
                b"a,b",
                b"a, b",
                b"http://a",
                b":80",
                b"a:b",
                b"a:-1",
                b"a:65536",
                b"a:80:80",
                b"a:+80",
                b"a%2fb",
                b"\xe4.example",
                b"[::1",
                b"::1",
                b"[::1]x",
                b"[v1.a]",
                b"[::g]",
                b"[fe80::1%25eth0]",
                b"[]",
                b"[1.2.3.4]",
                b".",
                b"a" * 263,
            )
        ),
        b"GET http://a.example/ HTTP/1.1\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
    ),
    # The first line
    *_each(
        "first line",
        Cause.BAD_HEAD,
        *(
            line + b"\r\nHost: a.example\r\n\r\n"
            for line in (
                b"GET  / HTTP/1.1",
                b"GET /  HTTP/1.1",
                b"GET / HTTP/1.1 ",
                b" GET / HTTP/1.1",
                b"GET\t/\tHTTP/1.1",
                b"GET\t/ HTTP/1.1",
                b"GET /\tHTTP/1.1",
                b"GET\x0b/ HTTP/1.1",
                b"GET /",
                b"GET / ",
                b"GET",
                b"GET / HTTP/0.9",
                b"GET / HTTP/1.32",
                b"GET / HTTP/1.2",
                b"GET / HTTP/11.1",
                b"GET / HTTP/01.1",
                b"GET / HTTP/1",
                b"GET / HTTP/1.",
                b"GET / HTTP/1,1",
                b"GET / HTTP /1.1",
                b"GET / http/1.1",
                b"GET / HTTPS/1.1",
                b"GET / HTTP/+1.1",
                b"GET / a HTTP/1.1",
                b"GET /a b HTTP/1.1",
                b"GET / HTTP/1.1 HTTP/1.1",
                b"G=T / HTTP/1.1",
                b"G\x00T / HTTP/1.1",
                b"G\x16T / HTTP/1.1",
                b"G\xe4T / HTTP/1.1",
                b"GET /\x00 HTTP/1.1",
                b"GET /\x7f HTTP/1.1",
                b"GET /\xe4 HTTP/1.1",
                b"GET /#a HTTP/1.1",
                b"GET /a#b?c HTTP/1.1",
            )
        ),
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\x00GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"{}\r\n",
    ),
    *_each(
        "version",
        Cause.VERSION,
        b"GET / HTTP/2.0\r\nHost: a.example\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: a.example\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        status=505,
    ),
    *_each("TLS", Cause.TLS_ON_PLAIN, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Targets
    *_each(
        "target",
        Cause.BAD_TARGET,
        *(
            line + b" HTTP/1.1\r\nHost: a.example\r\n\r\n"
            for line in (
                b"GET http://",
                b"GET http:///",
                b"GET http://?",
                b"GET http:/a",
                b"GET http:a",
                b"GET *",
                b"POST *",
                b"GET x",
                b"GET ?a",
                b"GET .",
                b"GET a.example",
                b"GET a.example:80",
                b"GET ftp://a.example/",
                b"GET file:///etc/passwd",
                b"GET http://u@a/",
                b"GET http://u:p@a/",
                b"GET http://a%20b/",
                b"GET http://a:b/",
                b"GET http://a:99999/",
                b"GET http://a\\@b/",
                b"GET http://[::1/",
                b"GET \\",
                b"OPTIONS **",
                b"OPTIONS x",
                b"CONNECT /x",
                b"CONNECT *",
                b"CONNECT a.example",
                b"CONNECT a.example:",
                b"CONNECT a.example:0",
                b"CONNECT :443",
                b"CONNECT u@a:443",
                b"CONNECT http://a.example:443/",
                b"CONNECT a.example:443/",
                b"connect a.example:443",
            )
        ),
    ),
    # Chunks
    *_each("chunk size", Cause.BAD_CHUNK, *(CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n" for size in _SIZES)),
    *_each(
        "chunk",
        Cause.BAD_CHUNK,
        CHUNKED + b"3\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3\rabc\r\n0\r\n\r\n",
        CHUNKED + b"3\r\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n',
        CHUNKED + b"3\r\nabc\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r0\r\n\r\n",
        CHUNKED + b"3\r\nabc0\r\n\r\n",
        CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0\n\n",
        CHUNKED + b"0\r\n\n",
        CHUNKED + b"0\n\r\n",
        CHUNKED + b"0\r\n\r\r\n",
        CHUNKED + b"\r\n0\r\n\r\n",
        CHUNKED + b"0;a=" + b"b" * 1100 + b"\r\n\r\n",
        CHUNKED + b"".join(b"1;" + b"a" * 1000 + b"\r\nx\r\n" for _ in range(17)) + b"0\r\n\r\n",
    ),
    *_each(
        "trailer",
        Cause.BAD_CHUNK,
        CHUNKED + b"0\r\nX : y\r\n\r\n",
        CHUNKED + b"0\r\nno colon\r\n\r\n",
        CHUNKED + b"0\r\n X: y\r\n\r\n",
        CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n",
        CHUNKED + b"0\r\nX: y\n\r\n",
        CHUNKED + b"0\r\nX: y\x00\r\n\r\n",
        CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
        CHUNKED + b"0\r\nA: b\r\ntransfer_encoding: chunked\r\n\r\n",
        CHUNKED + b"0\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n",
        CHUNKED + b"0\r\nHost: b.example\r\n\r\n",
        CHUNKED + b"0\r\nX_Forwarded-For: 127.0.0.1\r\n\r\n",
        CHUNKED + b"0\r\nAUTHORIZATION: Basic x\r\n\r\n",
        CHUNKED + b"0\r\nProxy: http://b.example\r\n\r\n",
        CHUNKED + b"0\r\nA: b\r\nProxy-Connection: close\r\n\r\n",
        CHUNKED + b"0\r\nproxy_authorization: Basic x\r\n\r\n",
        CHUNKED + b"0\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        CHUNKED + b"0\r\nhttp2_settings: AAMAAABk\r\n\r\n",
        CHUNKED + b"0\r\nKeep_Alive: timeout=5\r\n\r\n",
        CHUNKED + b"0\r\nSet_Cookie: a=b\r\n\r\n",
        CHUNKED + b"0\r\nX-Request-Id: a\r\n\r\n",
        CHUNKED + b"0\r\nX_REQUEST_ID: a\r\n\r\n",
        CHUNKED + b"0\r\nGET /marker HTTP/1.1\r\nHost: a\r\n\r\n",
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 33 + b"\r\n",
        CHUNKED + b"0\r\nX: " + b"y" * 8192 + b"\r\n\r\n",
    ),
    # Expectations, and limits
    *_each(
        "expectation",
        Cause.EXPECTATION,
        _fields(b"Expect: 200-ok"),
        _fields(b"Expect:"),
        _fields(b"Expect: 100-continue, x"),
        status=417,
    ),
    *_each(
        "too large",
        Cause.HEAD_TOO_LARGE,
        _fields(*[b"X: y"] * 100),
        _fields(b"X: " + b"y" * 4096),
        b"GET / HTTP/1.1\r\n" + b"X: y" * 1024,
        b"A" * 4096,
        status=431,
    ),
    *_each(
        "too long",
        Cause.TARGET_TOO_LONG,
        b"GET /" + b"a" * 2048 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        status=414,
    ),
]

TAKEN: list[tuple[bytes, bytes, bytes]] = [
    (HEAD + b"\r\n", b"/", b""),
    (b"\r\n" + HEAD + b"\r\n", b"/", b""),
    (b"GET / HTTP/1.0\r\n\r\n", b"/", b""),
    (b"GET /a?b=%00|^{}\\ HTTP/1.1\r\nhOsT:a.example:80\t \r\nX:\r\nY: \xe4\r\n\r\n", b"/a?b=%00|^{}\\", b""),
    (b"GET http://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n", b"/", b""),
    (b"GET HTTPS://b.example?x=/ HTTP/1.1\r\nHost: a.example\r\n\r\n", b"/?x=/", b""),
    (b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", b"*", b""),
    (b"OPTIONS http://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n", b"*", b""),
    (b"M-SEARCH /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"/x", b""),
    (_fields(b"Content-Length: 3", end=b"abc"), b"/", b"abc"),
    (_fields(b"Content-Length: 003", end=b"abc"), b"/", b"abc"),
    (_fields(b"Content-Length: 0", end=b""), b"/", b""),
    (_fields(b"Content-Length:\t3 \t", end=b"abc"), b"/", b"abc"),
    (_fields(b"Content-Length: 3", method=b"GET", end=b"abc"), b"/", b"abc"),
    (_fields(b"transfer-encoding:CHUNKED", end=b"3\r\nabc\r\n0\r\n\r\n"), b"/", b"abc"),
    (CHUNKED + b"0\r\n\r\n", b"/", b""),
    (CHUNKED + b"00000003\r\nabc\r\n0000\r\n\r\n", b"/", b"abc"),
    (CHUNKED + b'3;a="b;c"\r\nabc\r\nB;x\r\n0123456789a\r\n0;y\r\n\r\n', b"/", b"abc0123456789a"),
    (CHUNKED + b"0\r\nX-Hosts: a\r\nte2: b\r\nX-Content-Length: 3\r\n\r\n", b"/", b""),
    (CHUNKED + b"3\r\n\r\n0\r\n0\r\nX: y\r\nZ:\r\n\r\n", b"/", b"\r\n0"),
    (CHUNKED + (b"3;" + b"a" * 1024 + b"\r\nabc\r\n") * 2 + b"0\r\n\r\n", b"/", b"abcabc"),
    (_fields(b"Expect: 100-Continue", b"Content-Length: 3", end=b"abc"), b"/", b"abc"),
    (_fields(b"X-Content-Length: 9", b"Content-Length-X: 9", end=b""), b"/", b""),
    (_fields(*[b"X: y"] * 99, end=b""), b"/", b""),
    (b"GET /" + b"a" * 2047 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"/" + b"a" * 2047, b""),
    (b"GET / HTTP/1.0\r\nX: ".ljust(4092, b"y") + b"\r\n\r\n", b"/", b""),
]
"""Valid requests: each with the target for a backend, and its body."""


def _responses(name: str, *messages: bytes) -> list[BadCase]:
    return [BadCase(f"{name} {place}", data, Cause.BAD_RESPONSE, 502) for place, data in enumerate(messages)]


def _answer(*lines: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + end


_CHUNKED_ANSWER = _answer(b"Transfer-Encoding: chunked", end=b"")

HOSTILE: list[BadCase] = [
    *_responses(
        "length and chunks",
        _answer(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        _answer(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        _answer(b"Transfer-Encoding: identity", b"Content-Length: 5"),
    ),
    *_responses("length", *(_answer(b"Content-Length: " + text, end=b"abc") for text in _LENGTHS)),
    *_responses(
        "lengths",
        _answer(b"Content-Length: 3", b"Content-Length: 4", end=b"abc"),
        _answer(b"Content-Length: 3", b"Content-Length: 3", end=b"abc"),
    ),
    *_responses("coding", *(_answer(b"Transfer-Encoding: " + text) for text in _CODINGS + _TWO_CODINGS)),
    *_responses(
        "codings",
        _answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _answer(b"Transfer_Encoding: chunked"),
    ),
    *_responses(
        "lines",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        _answer(b"X: a\x00b"),
        _answer(b"X: a\rSet-Cookie: b"),
        _answer(b"X: a\nSet-Cookie: b"),
        _answer(b"X : a"),
        _answer(b"X: a\r\n b"),
        _answer(b"no colon"),
        _answer(b": empty"),
        _answer(b"X\xe4: a"),
        _answer(*[b"X: y"] * 101),
        _answer(b"X: " + b"y" * 4096),
    ),
    *_responses(
        "first line",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1\t200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.1 2_0 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"<html>not HTTP</html>",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"220 smtp.example ESMTP\r\n",
    ),
    *_responses("chunk size", *(_CHUNKED_ANSWER + size + b"\r\nabc\r\n0\r\n\r\n" for size in _SIZES)),
    *_responses(
        "chunk",
        _CHUNKED_ANSWER + b"3\nabc\r\n0\r\n\r\n",
        _CHUNKED_ANSWER + b"3\r\nabc\n0\r\n\r\n",
        _CHUNKED_ANSWER + b"3\r\nabcd\r\n0\r\n\r\n",
        _CHUNKED_ANSWER + b"0\r\nContent-Length: 3\r\n\r\n",
        _CHUNKED_ANSWER + b"0\r\nX : y\r\n\r\n",
    ),
]
"""Responses to GET."""

ANSWERS: list[tuple[bytes, bytes, Framing]] = [
    (b"GET", _answer(b"Content-Length: 3", end=b""), Framing(Body.LENGTH, 3)),
    (b"GET", _answer(b"Content-Length: 0", end=b""), Framing(Body.LENGTH, 0)),
    (b"GET", _answer(b"Transfer-Encoding: Chunked", end=b""), ONLY_CHUNKED),
    (b"GET", _answer(end=b""), UNTIL_CLOSE),
    (b"GET", b"HTTP/1.0 200 \r\nX:y\r\n\r\n", UNTIL_CLOSE),
    (b"GET", b"HTTP/1.1 200\r\n\r\n", UNTIL_CLOSE),
    (b"GET", b"HTTP/1.1 599 \xe4\t!\r\n\r\n", UNTIL_CLOSE),
    (b"HEAD", _answer(end=b""), NO_BODY),
    (b"HEAD", _answer(b"Content-Length: 3", end=b""), Framing(Body.NONE, 3)),
    (b"HEAD", _answer(b"Transfer-Encoding: chunked", end=b""), NO_BODY),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Framing(Body.NONE, 3)),
    (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", NO_BODY),
    (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n", NO_BODY),
    (b"GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", NO_BODY),
    (b"GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", TUNNEL),
    (b"CONNECT", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", TUNNEL),
    (b"CONNECT", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n", Framing(Body.LENGTH, 3)),
]
"""Valid responses: each with the method of the request, and with what follows its head."""
