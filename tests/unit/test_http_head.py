"""Heads: what is read of them, what they may be at most, and what reading them in pieces costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.work import work
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.errors import BadRequest, BadResponse, Cause
from tcpbalance.wire.http.head import RequestHead, match_request
from tcpbalance.wire.http.head_reader import RequestReader, ResponseReader

HEAD = (
    b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nAccept:*/*  \r\nconnection: Close, X-Hop, b a d\r\n"
    b"X-Forwarded-For: 192.0.2.1\r\nx-hop: 1\r\nX_Real_Ip: 192.0.2.2\r\nHostile: no\r\n\r\n"
)

LIMITS = HeadLimits()


def read(data: bytes, limits: HeadLimits = LIMITS) -> RequestHead:
    head = RequestReader(limits).read(data)
    assert head is not None
    return head


def test_a_request() -> None:
    head = read(HEAD + b"more")
    assert (head.method, head.target, head.version, head.size) == (b"GET", b"/a?b", b"1.1", len(HEAD))
    assert head.special == {
        b"host": [b"a.example"],
        b"connection": [b"Close, X-Hop, b a d"],
        b"x-forwarded-for": [b"192.0.2.1"],
        b"x_real_ip": [b"192.0.2.2"],
    }
    assert head.options == {b"close", b"x-hop"}
    assert head.rest == b"\r\nAccept:*/*  \r\nx-hop: 1\r\nHostile: no\r\n"
    assert head.fields[1] == (b"Accept", b"accept", b"*/*")
    assert head.values(b"x-hop") == [b"1"]
    assert head.values(b"host") == [b"a.example"]
    assert head.values(b"cookie") == []


def test_a_request_without_fields() -> None:
    head = read(b"GET / HTTP/1.0\r\n\r\n")
    assert (head.version, head.special, head.rest, head.fields) == (b"1.0", {}, b"\r\n", [])
    assert head.options == frozenset()


def test_a_response() -> None:
    data = b"HTTP/1.1 404 Not Here\r\nDate: today\r\nServer: x\r\nContent-Length: 3\r\n\r\n"
    head = ResponseReader(LIMITS).read(bytearray(data + b"abc"))
    assert head is not None
    assert (head.status, head.reason, head.version, head.size) == (404, b"Not Here", b"1.1", len(data))
    assert head.special == {b"content-length": [b"3"]}
    assert head.rest == b"\r\nDate: today\r\nServer: x\r\n"


def test_a_reader_reads_one_head_after_another() -> None:
    reader = RequestReader(LIMITS)
    data = bytearray()
    found = []
    for byte in HEAD * 3:
        data.append(byte)
        head = reader.read(data)
        if head is not None:
            found.append(head.target)
            del data[: head.size]
    assert found == [b"/a?b"] * 3


def test_nothing_is_no_head_yet() -> None:
    assert RequestReader(LIMITS).read(b"") is None
    assert ResponseReader(LIMITS).read(b"") is None


@pytest.mark.parametrize(
    "data",
    [
        b"GE\r",
        b"GET  ",
        b"GET /\r",
        b"GET / HTTP/2",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\n ",
        b"\x16",
        b"\n",
    ],
)
def test_the_first_wrong_byte_is_enough(data: bytes) -> None:
    reader = RequestReader(LIMITS)
    assert reader.read(data[:-1]) is None
    with pytest.raises(BadRequest):
        reader.read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "colon behind it; byte 20 is b' '"),
        (b"GET / HTTP/1.1\r\nX: a\n", r"CR LF; byte 20 is b'\\n'"),
        (b"GET / HTTP/7.0\r\n", "got HTTP/7"),
        (b"\x16\x03\x01", "TLS"),
    ],
)
def test_the_message_names_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        RequestReader(LIMITS).read(data)


@pytest.mark.parametrize(
    "head",
    [
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 40000,
    ],
)
def test_a_buffer_can_be_cut_while_its_error_is_handled(head: bytes) -> None:
    data = bytearray(head)
    try:
        RequestReader(LIMITS).read(data)
    except BadRequest:
        data.clear()
    assert not data


def test_limits_of_a_request() -> None:
    line = b"GET /abc HTTP/1.1\r\n"
    head = line + b"A: b\r\n" * 3 + b"\r\n"
    assert read(head, HeadLimits(len(head), 3)).size == len(head)
    for limits in (HeadLimits(len(head) - 1, 3), HeadLimits(len(head), 2)):
        with pytest.raises(BadRequest) as caught:
            read(head, limits)
        assert (caught.value.status, caught.value.cause) == (431, Cause.HEAD_TOO_LARGE)
    endless = RequestReader(HeadLimits(len(head)))
    assert endless.read(head[:-2] + b"x") is None
    with pytest.raises(BadRequest, match="does not end within 39 bytes"):
        endless.read(head[:-2] + b"xy")
    with pytest.raises(BadRequest) as caught:
        read(b"GET /" + b"a" * 20 + b" HTTP/1.1\r\n\r\n", HeadLimits(40))
    assert (caught.value.status, caught.value.cause) == (414, Cause.TARGET_TOO_LONG)


def test_limits_of_a_response() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 3 + b"\r\n"
    assert ResponseReader(HeadLimits(len(head), 3)).read(head)
    for limits in (HeadLimits(len(head) - 1, 3), HeadLimits(len(head), 2)):
        with pytest.raises(BadResponse):
            ResponseReader(limits).read(head)


class Looked(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, part: bytes, start: int, end: int) -> int:  # type: ignore[override]  # as it is called
        self.searched += min(len(self), end) - start
        return super().find(part, start, end)


def drip(head: bytes) -> int:
    """Read a head a byte at a time; give the bytes that were searched for its end."""
    reader, data = RequestReader(LIMITS), Looked()
    for byte in head[:-1]:
        data.append(byte)
        assert reader.read(data) is None
    return data.searched


def many_fields(size: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"A: b".ljust(size // 50, b"c").join([b"", *[b"\r\n"] * 50]) + b"\r\n"


def one_field(size: int) -> bytes:
    return b"GET / HTTP/1.1\r\nCookie: ".ljust(size, b"a") + b"\r\n\r\n"


def long_target(size: int) -> bytes:
    return b"GET /".ljust(size, b"a") + b" HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("make", [many_fields, one_field, long_target])
def test_a_head_byte_by_byte_costs_the_same_for_each_byte(
    make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    matched: list[int] = []

    def match(data: bytes, start: int, stop: int) -> object:
        matched.append(len(data))
        return match_request(data, start, stop)

    monkeypatch.setattr("tcpbalance.wire.http.head_reader.match_request", match)
    short, long = make(1024), make(8192)
    assert drip(long) <= 4 * len(long)
    # The expression is tried on the first bytes, and would be once more on the whole head.
    assert sum(matched) <= 20
    cost = [work(lambda data=data: drip(data)) / len(data) for data in (short, long)]  # type: ignore[misc]
    assert cost[1] <= 1.1 * cost[0]
