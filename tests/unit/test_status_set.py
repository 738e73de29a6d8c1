"""Sets of HTTP status codes as the operator writes them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.config.statuses import MAX_STATUS, MIN_STATUS, StatusSet


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("200", [200], [201, 404]),
        ("200-399", [200, 302, 399], [400, 500]),
        ("200,204,300-302", [200, 204, 300, 301, 302], [201, 203, 303]),
        ("200, 404", [200, 404], [201]),
        (204, [204], [200]),
    ],
)
def test_a_set_holds_its_codes(text: object, inside: list[int], outside: list[int]) -> None:
    codes = StatusSet.parse(text)
    assert all(code in codes for code in inside)
    assert not any(code in codes for code in outside)


@pytest.mark.parametrize(
    "text",
    ["", "ok", "20", "2000", "199", "600", "399-200", "200-", "-200", "2,,3", "2;3", "٢٠٠", 42, True, None],
)
def test_what_is_no_set_is_refused_with_the_mend(text: object) -> None:
    with pytest.raises(ValueError, match=r'^must be status codes from 200 to 599 such as "200", .*, got '):
        StatusSet.parse(text)


codes = st.integers(MIN_STATUS, MAX_STATUS)
ranges = st.lists(st.tuples(codes, codes).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=5)


@given(ranges)
def test_what_it_prints_it_reads_again(written: list[tuple[int, int]]) -> None:
    codes = StatusSet(tuple(written))
    assert StatusSet.parse(str(codes)) == codes


@given(st.text(max_size=20))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        StatusSet.parse(text)
