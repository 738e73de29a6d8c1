"""Looking for bytes in an answer that comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.failure import Failure

from tcpbalance import ProbeFailed
from tcpbalance.health.probes.search import ANSWER_LIMIT, Search


def cause_of(search: Search) -> str | None:
    """Why nothing was found; None when something was."""
    found: list[object] = []
    search.verdict.wait().addBoth(found.append)
    (result,) = found
    if result is None:
        return None
    assert isinstance(result, Failure)
    assert isinstance(result.value, ProbeFailed)
    return result.value.cause


def test_it_finds_what_is_split_between_two_pieces() -> None:
    search = Search(b"PONG")
    search.feed(b"+PO")
    assert not search.verdict.settled
    search.feed(b"NG\r\n")
    assert cause_of(search) is None


def test_it_says_what_is_missing() -> None:
    search = Search(b"PONG")
    search.feed(b"-ERR\r\n")
    search.end()
    assert cause_of(search) == 'no "PONG" in the answer, got "-ERR"'


def test_it_looks_no_further_than_the_limit() -> None:
    search = Search(b"PONG")
    search.feed(b"x" * (ANSWER_LIMIT - 3))
    assert not search.verdict.settled
    search.feed(b"PONG")
    assert cause_of(search) == f'no "PONG" in the first 64 KiB, got "{"x" * 60}..."'


@pytest.mark.parametrize("before", [0, 1, ANSWER_LIMIT - 4])
def test_it_finds_what_ends_within_the_limit(before: int) -> None:
    search = Search(b"PONG")
    search.feed(b"x" * before + b"PONG")
    assert cause_of(search) is None


@given(st.binary(min_size=1, max_size=4), st.lists(st.binary(max_size=5), max_size=20))
def test_pieces_make_no_difference(wanted: bytes, pieces: list[bytes]) -> None:
    search = Search(wanted)
    for piece in pieces:
        search.feed(piece)
    search.end()
    assert (cause_of(search) is None) == (wanted in b"".join(pieces))


def test_it_says_what_has_come_in_a_time() -> None:
    search = Search(b"role:master")
    assert search.missing_within(1.0) == 'no "role:master" within 1 s, got nothing'
    search.feed(b"role:slave\r\n")
    assert search.missing_within(0.25) == 'no "role:master" within 0.25 s, got "role:slave"'


def test_what_it_says_fits_on_a_line() -> None:
    search = Search(b"PONG")
    search.feed(b"\x1b[31m\xff\r\n\x00" * 100)
    assert search.missing_within(1.0).isprintable()
    assert len(search.missing_within(1.0)) < 300
