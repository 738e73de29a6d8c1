"""When a client takes too little of what waits for it."""

from __future__ import annotations

import pytest

from tcpbalance.http.client_look import ClientLook


@pytest.mark.parametrize(
    ("before", "after", "is_too_slow"),
    [
        ((100_000, 0), (100_000, 0), True),
        ((100_000, 0), (99_999, 0), True),
        ((100_000, 0), (74_401, 0), True),
        ((100_000, 0), (74_400, 0), False),
        # More came meanwhile, all of which waits as well, or is taken in part.
        ((100_000, 0), (150_000, 50_001), True),
        ((100_000, 0), (124_400, 50_000), False),
        # There was too little to be as fast as that; but none of it was taken, or all.
        ((10, 0), (10, 0), True),
        ((10, 0), (9, 0), False),
        ((10, 0), (100_000, 100_000), False),
        ((0, 0), (0, 0), False),
        ((0, 0), (200_000, 200_000), False),
    ],
)
def test_it_is_too_slow(before: tuple[int, int], after: tuple[int, int], is_too_slow: bool) -> None:
    first, second = ClientLook(1000.0, *before), ClientLook(1100.0, *after)
    assert second.shows_too_slow(first, 256) is is_too_slow
