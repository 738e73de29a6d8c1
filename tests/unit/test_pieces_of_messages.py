"""Lists that workers are sent have space in messages, however long their texts are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.workers.messages import MAX_MESSAGE, MAX_TEXT
from tcpbalance.workers.worker_process import HANDED_AT_ONCE, pieces_of

PATHS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4096)


@given(st.lists(PATHS, max_size=20), st.integers(0, 2 * HANDED_AT_ONCE))
def test_all_come_in_order_in_messages_that_are_short_enough(paths: list[str], short: int) -> None:
    pairs = list(enumerate([*paths, *["x"] * short]))
    pieces = list(pieces_of([(path, number) for number, path in pairs]))
    assert [(number, path) for piece in pieces for path, number in piece] == pairs
    for piece in pieces:
        assert 0 < len(piece) <= HANDED_AT_ONCE
        assert len(json.dumps({"sockets": [path for path, _ in piece]})) <= MAX_MESSAGE


def test_paths_as_long_as_the_system_has_them_need_more_pieces() -> None:
    pieces = list(pieces_of([("x" * 4095, number) for number in range(HANDED_AT_ONCE)]))
    assert len(pieces) > 1


def test_a_text_of_the_longest_characters_has_space() -> None:
    assert len(json.dumps({"refused": 10**9, "error": "\U0001f600" * MAX_TEXT})) < MAX_MESSAGE
