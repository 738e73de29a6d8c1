"""No input costs a parser many times what a plain one of its size does, however it is made.

What is searched for is the input that costs most lines of code a byte. Ten times the plain one is the bound:
beyond it a sender has an interest in making such inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from support.der import attribute, certificate, element
from support.hellos import PADDING, alpn, cut, extension, hello, message, records, server_name
from support.hellos import body as hello_body
from support.proxy_headers import DESTINATION, SOURCE, tlv, v2_header
from support.work import work
from tcpbalance.wire.certificate import read_certificate
from tcpbalance.wire.client_hello import MAX_HELLO, MAX_RECORDS, ClientHelloError, HelloReader
from tcpbalance.wire.hello_message import MAX_EXTENSIONS
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.fields import expects_continue, upgrade
from tcpbalance.wire.http.forwarded import (
    FORWARDED_FIELDS,
    ForwardedClient,
    ForwardedWriter,
    through_forwarded,
    through_x_forwarded,
)
from tcpbalance.wire.http.framing import request_framing
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.rewrite import FieldEdits, RequestRewriter
from tcpbalance.wire.http.routing_path import routing_path
from tcpbalance.wire.http.target import read_target
from tcpbalance.wire.proxy_protocol import SslFacts, Tlv, encode_v1, encode_v2, read_header, ssl_tlv
from tcpbalance.wire.ssl_facts import MAX_FIELDS, ssl_facts
from tcpbalance.wire.tlv import SSL, UNIQUE_ID

TIMES = 10

Parser = Callable[[bytes], object]


def a_byte(parse: Parser, data: bytes) -> float:
    """Lines a byte."""
    return work(lambda: parse(data)) / len(data)


# ClientHello


def read_hello(data: bytes) -> object:
    return HelloReader().feed(data)


PLAIN_HELLO = hello(
    server_name("www.example.com"),
    alpn(b"h2", b"http/1.1"),
    *(
        extension(kind, bytes(size))
        for kind, size in zip(range(30, 40), (2, 4, 0, 20, 0, 0, 48, 43, 2, 104), strict=True)
    ),
    extension(PADDING, bytes(100)),
)
"""As large, and in as many parts, as those of OpenSSL and curl."""

_SMALL = st.binary(max_size=4)
_EXTENSIONS = st.one_of(
    st.integers(0, 200).map(lambda count: [extension(1000 + kind) for kind in range(count)]),
    st.lists(st.builds(extension, st.integers(30, 0xFFFF), _SMALL), max_size=20),
    st.integers(1, 300).map(lambda count: [server_name(*[b""] * count, kinds=range(1, 256))]),
    st.text("a.", min_size=1, max_size=255).map(lambda name: [server_name(name)]),
)


@settings(max_examples=50)
@given(extensions=_EXTENSIONS, sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=3))
def test_hello(extensions: list[bytes], sizes: list[int]) -> None:
    data = records(message(hello_body(*extensions, session_id=b"")), sizes)
    cost = a_byte(read_hello, data)
    target(cost)
    assert cost <= TIMES * a_byte(read_hello, PLAIN_HELLO)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_hello_in_tiny_records(size: int) -> None:
    data = records(message(hello_body(server_name("x" * 200 + ".example"))), [size])
    assert a_byte(read_hello, data) <= TIMES * a_byte(read_hello, PLAIN_HELLO)


def many_records(count: int) -> bytes:
    """The beginning of a hello in records of a byte each."""
    return records(message(bytes(MAX_HELLO // 2)), [1])[: 6 * count]


def many_extensions(count: int) -> bytes:
    return hello(*(extension(1000 + number) for number in range(count)))


@pytest.mark.parametrize(("make", "most"), [(many_records, MAX_RECORDS), (many_extensions, MAX_EXTENSIONS)])
def test_a_hello_has_parts_in_bounded_number(make: Callable[[int], bytes], most: int) -> None:
    read_hello(make(most))
    with pytest.raises(ClientHelloError, match=f"more than {most}"):
        read_hello(make(most + 1))
    # What is behind the bound costs no more than the records that it comes in.
    assert work(lambda: read_hello(make(5000))) <= 1.2 * work(lambda: read_hello(make(most + 1)))


def test_a_hello_byte_by_byte_costs_the_same_for_each_byte() -> None:
    def feed(data: bytes) -> None:
        reader = HelloReader()
        for piece in cut(data, [1]):
            reader.feed(piece)

    short, long = (hello(extension(21, bytes(size))) for size in (500, 5000))
    assert a_byte(feed, long) <= 1.1 * a_byte(feed, short)


# PROXY headers

PLAIN_V1 = encode_v1(SOURCE, DESTINATION)
PLAIN_V2 = encode_v2(SOURCE, DESTINATION, [Tlv(UNIQUE_ID, bytes(16))])


@settings(max_examples=50)
@given(st.one_of(st.binary(max_size=120), st.binary(max_size=100).map(lambda rest: b"PROXY TCP4 " + rest)))
def test_v1(data: bytes) -> None:
    data = data or b"P"
    lines = work(lambda: read_header(data))
    target(lines)
    # Counted whole: a line is short, and the first byte that shows what it is ends the work.
    assert lines <= TIMES * work(lambda: read_header(PLAIN_V1))


_TLVS = st.one_of(
    st.lists(st.builds(tlv, st.integers(0xE0, 0xEF), _SMALL), max_size=20).map(b"".join),
    st.integers(0, 2000).map(lambda count: tlv(0xE0, b"") * count),
    st.integers(0, 2000).map(lambda count: tlv(SSL, bytes(5) + tlv(0x22, b"") * count)),
    st.binary(max_size=100),
)


@settings(max_examples=50)
@given(tlvs=_TLVS)
def test_v2(tlvs: bytes) -> None:
    data = v2_header(tlvs=tlvs)
    cost = a_byte(read_header, data)
    target(cost)
    assert cost <= TIMES * a_byte(read_header, PLAIN_V2)


@settings(max_examples=50)
@given(fields=st.integers(0, 5000), kind=st.sampled_from([0x21, 0x22, 0x2F]))
def test_the_facts_of_tls(fields: int, kind: int) -> None:
    value = bytes(5) + tlv(kind, b"") * fields
    plain = ssl_tlv(SslFacts(client_ssl=True, version="TLSv1.3", common_name="client", cipher="x" * 20)).value
    lines = work(lambda: ssl_facts(Tlv(SSL, value)))
    target(lines)
    assert lines / len(value) <= TIMES * work(lambda: ssl_facts(Tlv(SSL, plain))) / len(plain)
    assert lines <= work(lambda: ssl_facts(Tlv(SSL, bytes(5) + tlv(kind, b"") * MAX_FIELDS))) + 5


# Heads of HTTP/1.1

PLAIN_HEAD = (
    b"GET /static/main.js?v=3 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n"
)

_PEER = ForwardedClient(b"http", 80, ("10.0.0.1",))
_HTTP_WRITER = RequestRewriter(
    ForwardedWriter(FORWARDED_FIELDS), FieldEdits([(b"X-Env", b"prod")], [b"Cookie"])
)


def serve_head(data: bytes) -> object:
    """Do with a head all that is done before a backend gets it."""
    head = RequestReader(HeadLimits()).read(data)
    if head is None:
        return None
    target, framing = read_target(head), request_framing(head)
    routing_path(target.path)
    upgrade(head)
    expects_continue(head)
    client = through_forwarded(head.special, _PEER, lambda _: True)
    client = through_x_forwarded(head.special, client, lambda _: True)
    return _HTTP_WRITER.write(head, target, framing, client)


def field_of(text: bytes) -> bytes:
    """Make a head as large as it may be, with one field."""
    name, _, rest = text.partition(b":")
    start = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n" + name + b": "
    return start + rest * ((HeadLimits().size - len(start) - 4) // len(rest)) + b"\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        *map(
            field_of,
            [
                b"A:x",
                b"A: ",
                b"Connection:a,",
                b"Connection:,",
                b"Upgrade:a,",
                b"TE:a,",
                b"Cookie:;",
                b"X-Forwarded-For:10.0.0.1,",
                b"X-Forwarded-Proto:a,",
                b"Forwarded:for=10.0.0.1,",
                b"Forwarded:a=b;",
                b"Forwarded:,",
            ],
        ),
        b"GET " + b"/%61" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET " + b"/.." * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Forwarded-A:\r\n" * 99 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 98,
    ],
    ids=lambda data: repr(data[:90]),
)
def test_http_head(data: bytes) -> None:
    assert a_byte(serve_head, data) <= TIMES * a_byte(serve_head, PLAIN_HEAD)


# Certificates

read_one = read_certificate.__wrapped__  # What is remembered costs nothing.

PLAIN_CERTIFICATE = certificate(
    attribute(b"\x55\x04\x0a", b"Example") + attribute(b"\x55\x04\x03", b"www.example.com"),
    element(0x82, b"www.example.com") + element(0x82, b"example.com"),
    element(0x30, element(0x06, b"\x55\x1d\x0f") + element(0x04, bytes(10))) * 6,
)

_COUNT = st.integers(0, 300)
_CERTIFICATES = st.one_of(
    st.builds(lambda count, oid: certificate(attribute(oid, b"") * count), _COUNT, st.binary(max_size=70)),
    _COUNT.map(lambda count: certificate(element(0x31, b"") * count)),
    _COUNT.map(lambda count: certificate(element(0x31, attribute(b"\x2a", b"")[6:] * count))),
    st.text("\0\x9b\\\\,a", max_size=2000).map(
        lambda text: certificate(attribute(b"\x55\x04\x03", text.encode()))
    ),
    _COUNT.map(lambda count: certificate(b"", b"\x82\x00" * count)),
    _COUNT.map(lambda count: certificate(b"", b"", element(0x30, b"\x06\x00\x04\x00") * count)),
)


@settings(max_examples=50)
@given(_CERTIFICATES)
def test_certificate(der: bytes) -> None:
    def read(data: bytes) -> None:
        with suppress(ValueError):
            read_one(data)

    cost = a_byte(read, der)
    target(cost)
    assert cost <= TIMES * a_byte(read, PLAIN_CERTIFICATE)


def test_a_text_that_is_escaped_from_its_beginning_to_its_end() -> None:
    """However long it is, all of it is one step."""
    short, long = (certificate(attribute(b"\x55\x04\x03", b"\0" * size)) for size in (10, 10_000))
    assert work(lambda: read_one(long)) == work(lambda: read_one(short))
