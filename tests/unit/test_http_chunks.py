"""Bodies in chunks: what is body, what is still to come, where the end is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.work import work
from tcpbalance.errors import Fault
from tcpbalance.wire.http.chunks import ChunkWalker, chunk_head, last_chunk, one_chunk
from tcpbalance.wire.http.errors import BadMessage, BadRequest, BadResponse, Cause
from tcpbalance.wire.http.grammar import TOKEN_BYTE
from tcpbalance.wire.http.head import OF_REQUESTS, OF_RESPONSES

BODY = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\nC:\r\n\r\n"


def test_the_parts_that_are_body() -> None:
    walker = ChunkWalker()
    data = BODY + b"GET /"
    assert [data[start:end] for start, end in walker.feed(data)] == [b"hello", b"!"]
    assert (walker.done, walker.consumed, walker.body, walker.left) == (True, len(BODY), 6, 0)
    assert walker.trailers == b"A: b\r\nC:\r\n"


def test_nothing_behind_the_end_is_consumed() -> None:
    walker = ChunkWalker()
    walker.feed(BODY)
    assert walker.feed(b"GET /") == []
    assert walker.consumed == 0


def test_a_long_chunk_may_go_past_it() -> None:
    walker = ChunkWalker()
    assert walker.feed(b"100000\r\nabc") == [(8, 11)]
    assert (walker.left, walker.body) == (0x100000 - 3, 3)
    walker.passed(0x100000 - 4)
    assert walker.left == 1
    assert walker.feed(b"x\r\n0\r\n\r\n") == [(0, 1)]
    assert (walker.done, walker.body) == (True, 0x100000)


def test_the_largest_chunk() -> None:
    walker = ChunkWalker()
    walker.feed(b"7fffFFFFffffFFFF\r\n")
    assert walker.left == 2**63 - 1


@pytest.mark.parametrize(("fault", "error"), [(Fault.CLIENT, BadRequest), (Fault.BACKEND, BadResponse)])
@pytest.mark.parametrize("data", [b"x", b"0\r\n x"])
def test_whose_fault_it_is(data: bytes, fault: Fault, error: type[BadMessage]) -> None:
    with pytest.raises(error) as caught:
        ChunkWalker(fault).feed(data)
    expected = (400, Cause.BAD_CHUNK) if fault is Fault.CLIENT else (502, Cause.BAD_RESPONSE)
    assert (caught.value.status, caught.value.cause) == expected


@pytest.mark.parametrize(
    "body", [b"x", b"1;\x00", b"0\r\n x", b"1\r\nab", b"1" * 17, b"0\r\nHost: a\r\n\r\n"]
)
def test_a_buffer_can_be_cut_while_its_error_is_handled(body: bytes) -> None:
    data = bytearray(body)
    try:
        ChunkWalker().feed(data)
    except BadRequest:
        data.clear()
    assert not data


@pytest.mark.parametrize("fault", [Fault.CLIENT, Fault.BACKEND])
@pytest.mark.parametrize("name", [*OF_REQUESTS, *OF_RESPONSES])
def test_no_field_that_a_proxy_acts_on_is_a_trailer(name: bytes, fault: Fault) -> None:
    plain = name.replace(b"[-_]", b"-").replace(TOKEN_BYTE + b"++", b"for")
    for written in (plain, plain.upper(), plain.replace(b"-", b"_")):
        with pytest.raises(BadMessage, match="a trailer cannot be"):
            ChunkWalker(fault).feed(b"0\r\nA: b\r\n%b: c\r\n\r\n" % written)


def test_the_name_of_a_request_is_no_trailer_of_a_request() -> None:
    for name in (b"X-Request-Id", b"x_request-id"):
        with pytest.raises(BadRequest, match="a trailer cannot be"):
            ChunkWalker().feed(b"0\r\n%b: c\r\n\r\n" % name)
        walker = ChunkWalker(Fault.BACKEND)
        walker.feed(b"0\r\n%b: c\r\n\r\n" % name)
        assert walker.done


@pytest.mark.parametrize("name", [b"Grpc-Status", b"Digest", b"Server-Timing", b"Proxy-Status", b"X_A"])
def test_other_trailers_are_passed(name: bytes) -> None:
    walker = ChunkWalker()
    walker.feed(b"0\r\n%b: c\r\n\r\n" % name)
    assert (walker.done, walker.trailers) == (True, name + b": c\r\n")


def test_what_is_written() -> None:
    assert chunk_head(255) == b"ff\r\n"
    assert one_chunk(b"-ab-cde-", [(1, 3), (4, 7)]) == b"5\r\nabcde\r\n"
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk(b"A: b\r\n") == b"0\r\nA: b\r\n\r\n"


EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"; d', b"; e"])
CHUNKS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=40), EXTENSIONS, st.sampled_from([b"%x", b"%X", b"00%x"]))
)
TRAILERS = st.lists(st.sampled_from([b"A: b\r\n", b"X-Sum:\r\n", b"t:\t\xe4 \r\n"]), max_size=3).map(b"".join)


@given(chunks=CHUNKS, trailers=TRAILERS, sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_any_body_in_any_pieces(
    chunks: list[tuple[bytes, bytes, bytes]], trailers: bytes, sizes: list[int]
) -> None:
    sent = b"".join(
        form % len(data) + extension + b"\r\n" + data + b"\r\n" for data, extension, form in chunks
    )
    sent += last_chunk(trailers)
    walker, again, body, written = ChunkWalker(), ChunkWalker(), b"", b""
    rest, turn = sent + b"more", 0
    while not walker.done:
        piece = rest[: sizes[turn % len(sizes)]]
        spans = walker.feed(piece)
        body += b"".join(piece[start:end] for start, end in spans)
        written += one_chunk(piece, spans) if spans else b""
        rest, turn = rest[walker.consumed :], turn + 1
    assert (body, walker.trailers, rest) == (b"".join(data for data, _, _ in chunks), trailers, b"more")
    written += last_chunk(walker.trailers)
    spans = again.feed(written)
    assert b"".join(written[start:end] for start, end in spans) == body
    assert (again.done, again.trailers, again.consumed) == (True, trailers, len(written))


def verdict(data: bytes, cut: int) -> str:
    walker = ChunkWalker()
    try:
        walker.feed(data[:cut])
        walker.feed(data[cut:])
    except BadRequest:
        return "refused"
    return "done" if walker.done else "more"


PIECES = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"a",
            b"F",
            b"x",
            b";",
            b"=",
            b" ",
            b"\r",
            b"\n",
            b"\r\n",
            b"1\r\nx\r\n",
            b"0\r\n",
            b"A: b\r\n",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(PIECES, st.data())
def test_the_verdict_is_the_same_at_every_cut(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    assert verdict(data, cut) == verdict(data, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: b"1\r\nx\r\n" * (size // 6),
        lambda size: b"0\r\nA: ".ljust(size // 2, b"a"),
        lambda size: b"1;".ljust(900, b"a") + b"\r\nx\r\n",
    ],
)
def test_byte_by_byte_each_byte_costs_the_same(make: object) -> None:
    assert callable(make)

    def feed(data: bytes) -> None:
        walker = ChunkWalker()
        for at in range(len(data)):
            walker.feed(data[at : at + 1])

    short, long = make(1024), make(8192)
    assert work(lambda: feed(long)) / len(long) <= 1.1 * work(lambda: feed(short)) / len(short)
