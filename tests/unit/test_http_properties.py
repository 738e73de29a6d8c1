"""Any head: what is valid is read, and the two ways to look at a head come to the same verdict."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from support.http_heads import REQUESTS, Parts, spoiled
from support.http_receiver import Receiver
from tcpbalance.wire.http.diagnose import HeadLimits, RequestWalk, ResponseWalk, Walk
from tcpbalance.wire.http.errors import BadMessage
from tcpbalance.wire.http.head_reader import RequestReader, ResponseReader

LIMITS = HeadLimits(300, 6)


def walked(walk: Walk, data: bytes) -> tuple[int, str] | int:
    """The verdict of a walk: where the end is, 0 without one."""
    try:
        return walk.at if walk.walk(data) else 0
    except BadMessage as error:
        return error.status, error.cause.value


def read(reader: RequestReader | ResponseReader, data: bytes) -> tuple[int, str] | int:
    try:
        head = reader.read(data)
    except BadMessage as error:
        return error.status, error.cause.value
    return head.size if head else 0


@given(REQUESTS)
def test_a_valid_head_is_read(parts: Parts) -> None:
    head = RequestReader(HeadLimits()).read(parts.head())
    assert head is not None
    assert (head.method, head.target, head.version, head.size) == (
        parts.method,
        parts.target,
        b"1.1",
        len(parts.head()),
    )
    body = [parts.body] if parts.body[0] else []
    assert [(name, value) for name, _, value in head.fields] == [(b"Host", parts.host), *parts.fields, *body]


@given(REQUESTS)
def test_no_beginning_of_a_valid_head_is_refused(parts: Parts) -> None:
    data = parts.head()
    for end in range(len(data)):
        assert RequestReader(HeadLimits()).read(data[:end]) is None


@settings(max_examples=300)
@given(spoiled() | st.binary(max_size=40))
def test_expression_and_walk_agree_on_requests(data: bytes) -> None:
    assert read(RequestReader(LIMITS), data) == walked(RequestWalk(LIMITS), data)


ANSWERS = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1",
            b"HTTP/1.",
            b"0",
            b" ",
            b"200",
            b" OK",
            b"\r\n",
            b"A: b\r\n",
            b"\r",
            b"\n",
            b":",
            b"x",
            b"\x00",
            b"\r\n\r\n",
        ]
    ),
    max_size=10,
).map(lambda parts: b"HTTP/1.1 200" * (len(parts) % 2) + b"".join(parts))


@settings(max_examples=300)
@given(ANSWERS)
def test_expression_and_walk_agree_on_responses(data: bytes) -> None:
    assert read(ResponseReader(LIMITS), data) == walked(ResponseWalk(LIMITS), data)


@settings(max_examples=300)
@given(spoiled(), st.data())
def test_the_verdict_is_the_same_at_every_cut(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    whole, cut_once = Receiver().feed([data]), Receiver().feed([data[:cut], data[cut:]])
    dripped = Receiver().feed([data[at : at + 1] for at in range(len(data))])
    assert whole.verdict == cut_once.verdict == dripped.verdict
    assert whole.messages == cut_once.messages == dripped.messages
