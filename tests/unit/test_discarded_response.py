"""A response that is thrown away ends where it ends, however its bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.http.discarded_response import DiscardedResponse
from tcpbalance.http.upstream import MAX_RESPONSE_LINES
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.errors import BadResponse
from tcpbalance.wire.http.head_reader import ResponseReader

RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil close",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
]


def verdict(pieces: list[bytes], method: bytes) -> tuple[object, ...]:
    """Give what is found out of a response that comes in pieces."""
    reader = ResponseReader(HeadLimits(65536, MAX_RESPONSE_LINES))
    response = DiscardedResponse(reader, method)
    try:
        for piece in pieces:
            if response.whole:
                # What takes care of it has closed the connection, or would see that more has come.
                return response.status, True, None, False
            response.feed(piece)
    except BadResponse:
        return ("bad",)
    return response.status, response.whole, response.reuses_backend, response.ends_with_connection()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("response", RESPONSES)
@given(data=st.data())
def test_cuts_change_nothing(response: bytes, method: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(1, len(response) - 1), max_size=6)))
    pieces = [response[start:end] for start, end in zip([0, *cuts], [*cuts, len(response)], strict=True)]
    found, expected = verdict([piece for piece in pieces if piece], method), verdict([response], method)
    if len(found) == 4 and found[2] is None:
        assert (found[0], found[1]) == (expected[0], expected[1])
    else:
        assert found == expected


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_a_response_or_none(pieces: list[bytes]) -> None:
    assert verdict(pieces, b"GET")
