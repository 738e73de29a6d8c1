"""Answers of the balancer: to HEAD, each has the head that it has to GET, and no body."""

from __future__ import annotations

import pytest

from tcpbalance.http.answers import STATUS_OF, own_answer
from tcpbalance.http.pages import Page

STATUSES = sorted({*STATUS_OF.values(), 200, 308, 405, 407, 413, 414, 417, 421, 431, 501, 505})
PAGE = Page(b"<p>something is wrong</p>", "text/html")
DATE = b"Tue, 01 Dec 2026 12:00:00 GMT"


@pytest.mark.parametrize("page", [None, PAGE], ids=["text", "page"])
@pytest.mark.parametrize("status", STATUSES)
def test_to_head_the_body_is_left_out_and_nothing_else(status: int, page: Page | None) -> None:
    whole, size = own_answer(status, DATE, page=page)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert len(body) == size > 0
    assert (body == PAGE.body) is (page is PAGE)
    assert own_answer(status, DATE, page=page, with_body=False) == (head + b"\r\n\r\n", 0)


@pytest.mark.parametrize("with_body", [True, False])
@pytest.mark.parametrize(("status", "lengths"), [(204, 0), (205, 1), (304, 0)])
def test_some_have_no_body_at_all(status: int, lengths: int, with_body: bool) -> None:
    answer, size = own_answer(status, DATE, page=PAGE, with_body=with_body)
    assert size == 0
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"Content-Length: 0\r\n") == answer.count(b"Content-") == lengths
